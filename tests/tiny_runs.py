"""Training at the smallest size, and what its run folder says."""

from __future__ import annotations

import json
from pathlib import Path

from gramhd_core.training.config import RunConfig
from gramhd_core.training.presets import run_config

LENGTH = ["train.images=96", "train.sample_every=64", "train.save_every=64"]  # 6 steps of 16
PLAIN = ["train.batch=2", "train.sample_every=1000000"]  # quicker steps, and no pictures
WATCHED = ("images_per_s", "variety", "opacity")  # the first is of the clock, the others of the averaged weights


def lr(*more: str) -> RunConfig:
    return run_config("tiny", "lr", [*LENGTH, *more])


def hr(*more: str) -> RunConfig:
    return run_config("tiny", "hr", ["train.images=32", "train.save_every=16", "train.sample_every=16", *more])


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def losses(run: Path) -> list[dict]:
    return [{name: x for name, x in line.items() if name not in WATCHED} for line in lines(run / "stats.jsonl")]
