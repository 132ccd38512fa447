"""A run folder: whose it is, its checkpoints, its log.

config.json, stats.jsonl (one line per `log_every` steps), TensorBoard events, samples/ (fixed seeds x three yaws),
checkpoints/step*.safetensors (EMA weights: the model) and step*.state.safetensors (everything to resume).
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gramhd_core.checkpoints.checkpoint import checkpoint_steps
from gramhd_core.errors import BadConfig
from gramhd_core.files import cannot_write, sweep, write_text
from gramhd_core.training.config import RunConfig


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
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
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
        """Remove what a killed writer left among the checkpoints."""
        sweep(self.path / "checkpoints")

    def prune(self, *, keep: int) -> None:
        """Drop all checkpoints but the newest `keep`."""
        for step in checkpoint_steps(self.path)[:-keep]:
            for file in self.saved(step):
                file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def log(self, *, since: int, config: RunConfig) -> Iterator[Callable[[dict[str, float]], None]]:
        """Appends to stats.jsonl (cut back to step `since` first) and to TensorBoard."""
        from torch.utils.tensorboard import SummaryWriter

        path = self.path / "stats.jsonl"
        self.path.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= since]
            write_text(path, "".join(line + "\n" for line in kept))
        board = SummaryWriter(str(self.path), purge_step=since + 1)
        every, batch = config.train.log_every, config.train.batch
        started = time.monotonic()
        with path.open("a", encoding="utf-8") as stats:

            def log(values: dict[str, float]) -> None:
                step = int(values["step"])
                if step % every:
                    return
                rate = (step - since) * batch / (time.monotonic() - started)
                try:
                    stats.write(json.dumps({**values, "images_per_s": round(rate, 2)}) + "\n")
                    stats.flush()
                    for name in values.keys() - {"step", "images"}:
                        board.add_scalar(name, values[name], step)
                except OSError as error:
                    raise cannot_write(path, error) from error

            try:
                yield log
            finally:
                board.close()


def _differences(wanted: Any, known: Any, name: str = "") -> list[str]:
    """`name was a, now b` for every field of `wanted` that differs (what may change between sittings is not in it)."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        parts = [_differences(value, known.get(key), f"{name}.{key}".strip(".")) for key, value in wanted.items()]
        return [line for part in parts for line in part]
    return [] if wanted == known else [f"{name} was {known}, now {wanted}"]


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):  # a line cut off by a kill
        return math.inf
