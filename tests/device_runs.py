"""Short trainings that one process and two must do alike. As a program: one of two processes that does them.

python tests/device_runs.py HEADS LOW_RUN OUT      (told its place as `gramhd_cli.launch` tells it)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gramhd_core.training.config import RunConfig
from gramhd_core.training.presets import run_config
from gramhd_core.training.train_hr import train_hr
from gramhd_core.training.train_lr import train_lr
from gramhd_core.world import ALONE, World, joined

LENGTH = ["train.images=48", "train.batch=8", "train.log_every=1", "train.sample_every=1000000"]
SPREAD = "discriminator.minibatch_std=true"
BOTH = ["train.reconstruction=1", "train.adversary=true", "train.discriminator_from=8", "train.adversarial_from=16"]
JOBS = {  # preset, stage, settings; six steps each
    "spread": ("tiny", "lr", [SPREAD, "train.sample_every=48", "train.save_every=24"]),
    "pieces": ("tiny", "lr", [SPREAD, "train.micro_batches=8", "train.fresh_fakes=false", "train.reconstruction=1"]),
    "teams": ("tiny", "lr", [SPREAD, "train.batch=12", "train.micro_batches=3", "train.images=72"]),
    "high": ("tiny", "hr", []),
    "demo": ("demo", "lr", BOTH),
}
GOES_ON = "spread"


def config(name: str, *more: str) -> RunConfig:
    preset, stage, settings = JOBS[name]
    assert stage in ("lr", "hr")
    return run_config(preset, stage, [*LENGTH, *settings, *more])


def train(name: str, heads: Path, low: Path, out: Path, *more: str, world: World = ALONE) -> Path:
    """Train job `name` in the folder `out`."""
    changed = config(name, *more)
    if changed.stage == "hr":
        return train_hr(heads, out, lr_checkpoint=low, config=changed, world=world)
    return train_lr(heads, out, config=changed, world=world)


if __name__ == "__main__":
    heads, low, out = map(Path, sys.argv[1:])
    with joined("cpu", rank=int(os.environ["RANK"]), size=2, meeting=os.environ["GRAMHD_MEETING"]) as both:
        for job in JOBS:
            train(job, heads, low, out / job, world=both)
        train(GOES_ON, heads, low, out / "begun by two", "train.images=24", world=both)
        train(GOES_ON, heads, low, out / "begun by one", world=both)
