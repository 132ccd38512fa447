"""`gramhd train-hr`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, launch, options
from gramhd_cli.train_lr import (
    Images,
    KeepBest,
    MaxMinutes,
    MaybeData,
    MaybeOut,
    Seed,
    ShowConfig,
    Vram,
    judge_of,
    measured_cameras,
    need,
    overrides,
    report,
)

LrCkpt = Annotated[
    Path | None,
    typer.Option("--lr-ckpt", "--lr_ckpt", help="The first stage: a checkpoint or a run folder.", show_default=False),
]


def train_hr(
    data: MaybeData = None,
    out: MaybeOut = None,
    lr_ckpt: LrCkpt = None,
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
    """Train the high-resolution stage (GRAM-HD).

    The first stage stays as it is; its maps are super-resolved. Prints the newest checkpoint.
    The same command again goes on from the last checkpoint in --out; Ctrl-C saves one first.

    Examples:
      gramhd train-hr --data heads --out runs/hr --lr-ckpt runs/lr
      gramhd train-hr --data heads --out hr --lr-ckpt lr --max-minutes 20
      gramhd train-hr --data ffhq --out hr --lr-ckpt lr --preset gramhd256-ffhq
      gramhd train-hr --data ffhq --out hr --lr-ckpt lr --vram 24
      gramhd train-hr --data ffhq --out hr --lr-ckpt lr --devices 8
      gramhd train-hr --preset gramhd512-ffhq --show-config
    """
    from dataclasses import replace

    from gramhd_core.training.loop import train
    from gramhd_core.training.memory import fitted
    from gramhd_core.training.presets import run_config
    from gramhd_core.training.train_hr import recipe_hr

    own = overrides(settings, seed=seed, images=images, max_minutes=max_minutes)
    config = run_config(preset, "hr", [*measured_cameras(data, "generator.low.cameras"), *own])
    config = fitted(config, vram)
    if show_config:
        console.result(config.describe(), json=True)
        return
    data, out, lr_ckpt = need(data, "--data heads"), need(out, "--out runs/hr"), need(lr_ckpt, "--lr-ckpt runs/lr")
    score = judge_of(data, keep_best)
    launch.shared(devices)
    place = launch.place(device)
    with launch.world(place) as world, launch.progress() as progress:
        recipe = replace(recipe_hr(config, lr_ckpt), score=score)
        checkpoint = train(recipe, data, out, device=place, progress=progress, world=world)
    if launch.speaks():
        report(checkpoint, stage="hr", out=out, json=json)
