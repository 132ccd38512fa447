"""One training step of both stages against a plain implementation of the published step: images/s, memory, parts.

    python benchmarks/bench_training_step.py [published|tiny|demo] [--stages lr,hr] [--batch 1] [--repeats 1]

`published` is gram64-ffhq for stage 1 and gramhd256-ffhq for stage 2 (--hr names another). Every measurement has a
process of its own; plain and fast ones take turns, and the best of the repeats counts. Prints one JSON line: seconds of
a step, memory in MB (`peak` absolute, `above` what the process had before its first step), ratio = plain seconds over
fast ones, memory = fast `above` over plain `above`, and seconds spent in parts, which overlap: data; D's half (`d`) and
the forward pass of R1 in it (`r1`); the backward pass of G with D in it (`g`); forward passes of predictor (hits),
field and super-resolution for both halves.

The plain side is the published procedure, written as its paper and reference describe it:

* compatible conventions (`.compatible()` configs, another model than ours): colours depend on the camera; in stage 2
  hits are searched at 64 x 64 rays and interpolated;
* the predictor is evaluated at 64 points of every ray, also of the gridding rays, in every forward pass;
* every point is asked of the field, by plain autograd: products, sines and cosines in turn, all activations kept;
* in stage 2 the field renders the low-resolution picture in every forward pass, for D as well as for G;
* super-resolution of all maps at once by plain autograd, modulation as a grouped convolution with a weight per map;
* R1 at every step; the generator's half computes gradients of D's weights and drops them;
* torch as it comes: no allocator setting.

The fast side is what `gramhd train-lr` and `train-hr` do with the same preset and R1 at every 16th step (`--lazy 1` for
every step; its seconds are then those of every step, else one in 16 is slower: `seconds` is weighted accordingly).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from report import peak_mb, report
from training_runs import new_run

PRESETS_OF = {"published": {"lr": "gram64-ffhq", "hr": "gramhd256-ffhq"}}
SIDES = ("fast", "plain")


def main(options: argparse.Namespace) -> None:
    figures: dict[str, dict[str, Any]] = {name: {} for name in ("images_per_s", "seconds", "peak", "above", "parts")}
    ratio, memory = {}, {}
    for stage in options.stages.split(","):
        preset = PRESETS_OF.get(options.preset, {"lr": options.preset, "hr": options.preset})[stage]
        preset = options.hr if stage == "hr" and options.hr else preset
        task = {"preset": preset, "stage": stage, "steps": options.steps, "batch": options.batch, "lazy": options.lazy}
        found: dict[str, list[dict]] = {side: [] for side in SIDES}
        for _ in range(options.repeats):
            for side in options.sides.split(","):
                found[side].append(in_fresh_process({**task, "side": side}))
        best = {side: min(runs, key=lambda run: run["seconds"]) for side, runs in found.items() if runs}
        for name in ("seconds", "peak", "above", "parts"):
            figures[name][stage] = {side: one[name] for side, one in best.items()}
        figures["images_per_s"][stage] = {side: round(one["batch"] / one["seconds"], 4) for side, one in best.items()}
        if len(best) == len(SIDES):
            ratio[stage] = round(best["plain"]["seconds"] / best["fast"]["seconds"], 2)
            memory[stage] = round(best["fast"]["above"] / best["plain"]["above"], 3)
    report(benchmark="training_step", preset=options.preset, lazy=options.lazy, ratio=ratio, memory=memory, **figures)


def in_fresh_process(task: dict) -> dict:
    environment = {**os.environ, "GRAMHD_ALLOCATOR": "keep" if task["side"] == "fast" else "system"}
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def work(task: dict) -> dict:
    """One side of one stage, in this process."""
    from gramhd_cli import allocator

    allocator.install()
    with tempfile.TemporaryDirectory() as name:
        run = prepared(task, Path(name))
        before, parts = peak_mb(), defaultdict(float)
        with timed(parts), plain() if task["side"] == "plain" else contextlib.nullcontext():
            seconds = [one_step(run) for _ in range(1 + task["steps"])]
            usual = min(seconds[1:] or seconds)
            apart = task["side"] == "fast" and task["lazy"] > 1 and task["steps"] > 0
            if apart:  # the first step had R1, these do not: add its share
                run.step = 0
                usual += max(0.0, one_step(run) - usual) / task["lazy"]
        run.stream.close()
        count = 1 + task["steps"] + apart
        return {
            "batch": run.recipe.config.train.batch,
            "seconds": round(usual, 4),
            "peak": round(peak_mb()),
            "above": round(peak_mb() - before),
            "parts": {part: round(spent / count, 3) for part, spent in parts.items()},
        }


def one_step(run: Any) -> float:
    started = time.perf_counter()
    run.advance()  # its losses come back as numbers: nothing is still running
    return time.perf_counter() - started


def settings_of(task: dict) -> list[str]:
    """Both sides do the whole step of the adversarial training; small presets would leave parts of it out."""
    batch, lazy = task["batch"], 1 if task["side"] == "plain" else task["lazy"]
    return [
        *([f"train.batch={batch}", "train.micro_batches=1"] if batch else []),
        f"train.r1_every={lazy}",
        "train.fresh_fakes=true",
        "train.grow_discriminator=false",
        "train.reconstruction=0",
        "train.adversary=true",
        "train.discriminator_from=0",
        "train.adversarial_from=0",
    ]


def prepared(task: dict, folder: Path) -> Any:
    """A run that can begin."""
    from gramhd_core.training.presets import run_config

    config = run_config(task["preset"], task["stage"], settings_of(task))
    if task["side"] == "plain":
        config = replace(config, generator=config.generator.compatible())
    return new_run(config, folder)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """The measures that cannot be switched off by a config are, inside."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from gramhd_core.generators.gram import Gram, Grid
    from gramhd_core.generators.gram_hd import GramHd
    from gramhd_core.networks import forgetful
    from gramhd_core.networks.fields import Field
    from gramhd_core.networks.predictors import MlpPredictor
    from gramhd_core.networks.super_resolution import ModulatedConv
    from gramhd_core.scenes import views
    from gramhd_core.training import gan_step

    ask, keep, made = Field.forward, Gram.grid, GramHd.high_resolution

    def searched(self: MlpPredictor, rays: Any, positions: Tensor) -> Tensor:
        return self(rays.at(positions.expand(*rays.directions.shape[:2], -1)))

    def gridded(self: Gram, size: int) -> Grid:
        self.forget_geometry()
        grid = keep(self, size)
        points = torch.cat([grid.hits.points, grid.backdrop[:, :, None]], dim=2).flatten(1, 2)
        return grid._replace(distinct=points, place=torch.arange(points.shape[1]))

    def with_low_picture(self: GramHd, latent: Any, *, view_from: Any = None) -> Any:
        if view_from is not None and not torch.is_grad_enabled():  # with gradients the consistency loss asks for it
            self.low_scene(latent, locked=False).render(view_from.with_size(self.config.low.image_size))
        return made(self, latent, view_from=view_from)

    def grouped(self: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
        weight = self.modulated(style).repeat_interleave(len(x) // len(style), dim=0)
        bias = None if self.bias is None else self.bias.repeat(len(x))
        out = F.conv2d(
            x.flatten(0, 1)[None], weight.flatten(0, 1), bias, padding=self.kernel_size[0] // 2, groups=len(x)
        )
        return out[0].unflatten(0, (len(x), -1))

    def all_at_once(self: GramHd, low: Any, style: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.foreground(low.maps.flatten(0, 1), style)
        return maps.unflatten(0, low.maps.shape[:2]), self.background(low.background)

    changes: list[tuple[Any, str, Any]] = [
        (Field, "forward", lambda self, points, directions, film: ask(self, points, directions, film, twin="readable")),
        (MlpPredictor, "_sample", searched),
        (Gram, "grid", gridded),
        (GramHd, "high_resolution", with_low_picture),
        (GramHd, "_super_resolved", all_at_once),
        (ModulatedConv, "forward", grouped),
        (forgetful, "ROOM", 1 << 62),
        (views, "REMEMBERED", 1 << 62),
        (gan_step, "frozen", lambda parameters: contextlib.nullcontext()),
    ]
    with replaced(changes):
        yield


@contextlib.contextmanager
def timed(parts: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds spent in parts of a step."""
    from gramhd_core.data.dataset import BatchStream
    from gramhd_core.generators.gram_hd import GramHd
    from gramhd_core.networks.fields import Field
    from gramhd_core.networks.predictors import MlpPredictor
    from gramhd_core.scenes.refined import RefinedSurfaces
    from gramhd_core.training.gan_step import GanStep

    names = [
        (BatchStream, "__next__", "data"),
        (GanStep, "_discriminator_piece", "d"),
        (GanStep, "_r1", "r1"),
        (GanStep, "_generator_piece", "g"),
        (MlpPredictor, "hits", "predictor"),
        (RefinedSurfaces, "hits", "predictor"),
        (Field, "forward", "field"),
        (GramHd, "_super_resolved", "sr"),
    ]

    def watched(function: Callable, part: str) -> Callable:
        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                parts[part] += time.perf_counter() - started

        return call

    with replaced([(owner, name, watched(getattr(owner, name), part)) for owner, name, part in names]):
        yield


@contextlib.contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="published", choices=["published", "tiny", "demo"])
    parser.add_argument("--stages", default="lr,hr")
    parser.add_argument("--sides", default="fast,plain")
    parser.add_argument("--hr", help="preset of stage 2, e.g. gramhd1024-ffhq")
    parser.add_argument("--steps", type=int, default=1, help="after the first; 0: memory is what counts")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="0: that of the preset")
    parser.add_argument("--lazy", type=int, default=16, help="R1 at every so many steps")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker)))
    else:
        main(options)
