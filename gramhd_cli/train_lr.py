"""`gramhd train-lr`, and the option plumbing that both training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gramhd_cli import console, launch, options
from gramhd_core.errors import BadArgument

if TYPE_CHECKING:
    from gramhd_core.training.recipe import Score

# Both are needed to train, neither to look at a config.
MaybeData = Annotated[
    Path | None, typer.Option("--data", help="The data set: a folder or an uncompressed zip.", show_default=False)
]
MaybeOut = Annotated[
    Path | None,
    typer.Option("--out", "--outdir", help="The run folder; one that exists is gone on with.", show_default=False),
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of weights, latents and data order.", show_default=False)
]
Images = Annotated[
    int | None, typer.Option("--images", help="Stop after this many real images were shown.", show_default=False)
]
MaxMinutes = Annotated[
    float | None, typer.Option("--max-minutes", help="Stop, with a checkpoint, after this long.", show_default=False)
]
Vram = Annotated[
    float | None,
    typer.Option(
        "--vram", min=0, help="GB of memory per device: the batch goes through in pieces that fit.", show_default=False
    ),
]
KeepBest = Annotated[
    int | None,
    typer.Option(
        "--keep-best",
        metavar="SAMPLES",
        help="Score every checkpoint by FID (procedural features, see eval) of so many heads; the best one stays.",
        show_default=False,
    ),
]
Start = Annotated[
    Path | None,
    typer.Option("--start", help="Begin with the weights of this run or checkpoint.", show_default=False),
]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the preset with every change applied, as JSON, and stop.")
]


def train_lr(
    data: MaybeData = None,
    out: MaybeOut = None,
    start: Start = None,
    preset: options.Preset = "demo",
    settings: options.Settings = None,
    seed: Seed = None,
    images: Images = None,
    max_minutes: MaxMinutes = None,
    vram: Vram = None,
    keep_best: KeepBest = None,
    device: options.Device = "auto",
    devices: launch.Devices = 1,
    show_config: ShowConfig = False,
    json: options.Json = False,
) -> None:
    """Train the low-resolution stage (GRAM).

    Prints the newest checkpoint. The same command again goes on from the last checkpoint in --out;
    Ctrl-C saves one first.

    With --devices, or under torchrun, several GPUs share every batch: the result
    is the same, and a run may go on with another number of them.

    Examples:
      gramhd train-lr --data heads --out runs/lr
      gramhd train-lr --data heads --out lr --images 9000 --set train.batch=16
      gramhd train-lr --data ffhq64.zip --out runs/ffhq --preset gram64-ffhq
      gramhd train-lr --data ffhq64.zip --out r --preset gram64-ffhq --devices 8
      gramhd train-lr --data heads --out runs/lr32 --start runs/lr --preset demo32
      gramhd train-lr --preset gram64-ffhq --show-config
    """
    from dataclasses import replace

    from gramhd_core.training.loop import train
    from gramhd_core.training.memory import fitted
    from gramhd_core.training.presets import run_config
    from gramhd_core.training.train_lr import recipe_lr

    own = overrides(settings, seed=seed, images=images, max_minutes=max_minutes)
    config = run_config(preset, "lr", [*measured_cameras(data, "generator.cameras"), *own])
    config = fitted(config, vram)
    if show_config:
        console.result(config.describe(), json=True)
        return
    data, out = need(data, "--data heads"), need(out, "--out runs/lr")
    score = judge_of(data, keep_best)
    launch.shared(devices)
    place = launch.place(device)
    with launch.world(place) as world, launch.progress() as progress:
        recipe = replace(recipe_lr(config, start), score=score)
        checkpoint = train(recipe, data, out, device=place, progress=progress, world=world)
    if launch.speaks():
        report(checkpoint, stage="lr", out=out, json=json)


def need(path: Path | None, example: str) -> Path:
    """An option that only --show-config can do without."""
    if path is None:
        option = example.split()[0]
        raise BadArgument(f"{option} is missing", expected="training needs one", remedy=f"give for example {example}")
    return path


def measured_cameras(data: Path | None, prefix: str) -> list[str]:
    """Settings of the cameras that the data set measured (`prep-data --prior measured`), before anybody's own."""
    from gramhd_core.data.set_files import camera_settings

    settings = [] if data is None or not data.exists() else camera_settings(data, prefix=prefix)
    if settings:
        console.note(f"Cameras as measured in {data}: {' '.join(settings)}")
    return settings


def judge_of(data: Path, samples: int | None) -> Score | None:
    """How checkpoints are scored, if they are."""
    if samples is None:
        return None
    from gramhd_core.metrics.quality import judge

    return judge(data, samples)


def overrides(
    settings: list[str] | None, *, seed: int | None, images: int | None, max_minutes: float | None
) -> list[str]:
    """`--set` as given, then the options that have a name of their own."""
    named = {"train.seed": seed, "train.images": images, "train.max_minutes": max_minutes}
    return [*(settings or []), *(f"{name}={value}" for name, value in named.items() if value is not None)]


def report(checkpoint: Path, *, stage: Literal["lr", "hr"], out: Path, json: bool) -> None:
    """The newest checkpoint on stdout."""
    document = {"stage": stage, "run": str(out), "checkpoint": str(checkpoint)}
    console.result(document if json else checkpoint, json=json)
