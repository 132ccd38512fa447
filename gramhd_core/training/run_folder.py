"""A run folder: whose it is, and its checkpoints.

config.json, what run_log.py writes, samples/ (fixed seeds x three yaws), and checkpoints/ with step*.safetensors (EMA
weights: the model), step*.state.safetensors (everything to resume) and, where models are scored, best.json.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from gramhd_core.checkpoints.checkpoint import checkpoint_steps
from gramhd_core.errors import BadConfig
from gramhd_core.files import OURS, sweep, write_text
from gramhd_core.training.config import RunConfig, TrainConfig


class Saved(NamedTuple):
    """The two files of one checkpoint; the state is written first: a model file promises that its state exists."""

    model: Path
    state: Path


class RunFolder:
    """Where one training leaves what it makes. Making one writes nothing."""

    def __init__(self, path: Path):
        self.path = path

    def claim(self, config: RunConfig) -> None:
        """BadConfig if the folder holds another run, or something that is no run. Writes nothing."""
        known_path = self.path / "config.json"
        if known_path.exists():
            try:
                known = json.loads(known_path.read_text())
            except json.JSONDecodeError:
                known = {}
            differing = _differences(config.identity(), known)
            if differing and checkpoint_steps(self.path):  # a run that has saved nothing yet binds nobody
                raise BadConfig(
                    f"{self.path} holds a run with other settings ({'; '.join(differing[:3])})",
                    expected="a run goes on with the settings it was started with",
                    remedy="repeat its command, or give another --out",
                )
        elif self.path.exists() and not (self.path.is_dir() and _empty(self.path)):
            raise BadConfig(
                f"{self.path} is there and holds no run",
                expected="a new or an earlier run's folder is needed",
                remedy="give another --out",
            )

    def write_config(self, config: RunConfig) -> None:
        write_text(self.path / "config.json", json.dumps(config.describe(), indent=2) + "\n")

    def saved(self, step: int) -> Saved:
        """Where the checkpoint of `step` is, or would be."""
        folder = self.path / "checkpoints"
        return Saved(folder / f"step{step:08d}.safetensors", folder / f"step{step:08d}.state.safetensors")

    def resumable(self) -> list[int]:
        """Steps whose model and state are both there, ascending."""
        return [step for step in checkpoint_steps(self.path) if self.saved(step).state.exists()]

    def sweep(self) -> None:
        """Remove what killed writers left: temporary files, and states whose model was never written."""
        folder = self.path / "checkpoints"
        for place in (self.path, folder, self.path / "samples"):
            sweep(place)
        models = checkpoint_steps(self.path)
        for file in folder.glob("step*.state.safetensors"):
            if not any(file == self.saved(step).state for step in models):
                file.unlink(missing_ok=True)

    def drop_after(self, step: int) -> None:
        """Drop the checkpoints of later steps."""
        for later in checkpoint_steps(self.path):
            if later > step:
                self._drop(later)

    def prune(self, train: TrainConfig) -> None:
        """Drop old checkpoints.

        What stays: the newest `keep`; the best, where somebody said which it is; the first one at or after every
        multiple of `keep_every` images. Only the newest `keep` can be gone on with: of the others the model stays.
        """
        steps = checkpoint_steps(self.path)
        newest = steps[-train.keep :]
        stay = {*newest, self.best()[0]}
        if train.keep_every:
            marks = [step * train.batch // train.keep_every for step in steps]
            stay |= {step for i, step in enumerate(steps) if marks[i] > (marks[i - 1] if i else 0)}
        for step in steps:
            if step not in stay:
                self._drop(step)
            elif step not in newest:
                self.saved(step).state.unlink(missing_ok=True)

    def scored(self, step: int, score: float) -> None:
        """Remember the checkpoint of `step` as the best if its score is the lowest so far."""
        if score < self.best()[1]:
            write_text(self._best, json.dumps({"step": step, "score": score}) + "\n")

    def best(self) -> tuple[int, float]:
        """Step and score of the best checkpoint that is still there; (-1, infinity) if none was scored."""
        try:
            known = json.loads(self._best.read_text("utf-8"))
            if self.saved(known["step"]).model.exists():
                return known["step"], known["score"]
        except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
            pass
        return -1, math.inf

    @property
    def _best(self) -> Path:
        return self.path / "checkpoints" / "best.json"

    def _drop(self, step: int) -> None:
        for file in self.saved(step):  # the model first: it promises the state
            file.unlink(missing_ok=True)


def _empty(folder: Path) -> bool:
    """Whether nothing is there but what a run left that was killed before it had a config."""
    return all(OURS.fullmatch(file.name) for file in folder.iterdir())


def _differences(wanted: Any, known: Any, name: str = "") -> list[str]:
    """`name was a, now b` for every field of `wanted` that differs (what may change between sittings is not in it)."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        parts = [_differences(value, known.get(key), f"{name}.{key}".strip(".")) for key, value in wanted.items()]
        return [line for part in parts for line in part]
    return [] if wanted == known else [f"{name} was {known}, now {wanted}"]
