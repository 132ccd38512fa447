"""What a run writes down while it goes: stats.jsonl, alarms.jsonl, TensorBoard events.

stats.jsonl has one line per `log_every` steps and one per sheet of samples; a number that is not finite is null there.
alarms.jsonl has one line per alarm and per return to an earlier checkpoint. What a run will do again is cut out first,
so that stats.jsonl reads as if it had never stopped.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gramhd_core.files import cannot_write, write_text
from gramhd_core.training.alarms import Alarm
from gramhd_core.training.config import TrainConfig
from gramhd_core.training.event_file import EventFile


class RunLog:
    """The log of the run in `folder`. A full disk is a CannotWrite."""

    def __init__(self, folder: Path, config: TrainConfig, *, step: int, returns: int):
        """The run stands at `step` and went back `returns` times before."""
        self.folder, self.config = folder, config
        self._begin(step, returns)

    def write(self, values: Mapping[str, float], *, always: bool = False) -> None:
        """The losses of a step, if it is one to be written down."""
        step = int(values["step"])
        if step % self.config.log_every and not always:
            return
        rate = (step - self.since) * self.config.batch / (time.monotonic() - self.started)
        known = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._append("stats.jsonl", {**known, "images_per_s": round(rate, 2)})
        points = {name: x for name, x in known.items() if name not in ("step", "images") and x is not None}
        with self._writing("TensorBoard events"):
            self.events.scalars(points, step=step)

    def alarm(self, alarm: Alarm, *, step: int) -> None:
        """Keep an alarm that was told."""
        self._append("alarms.jsonl", {"step": step, **alarm._asdict()})

    def went_back(self, *, lost: int, step: int, returns: int, sentence: str) -> None:
        """The run went back from step `lost` to `step`, for the `returns`-th time: forget what came between."""
        self.close()
        self._begin(step, returns - 1)
        told = {"step": step, "name": "return", "returns": returns, "lost": lost, "sentence": sentence}
        self._append("alarms.jsonl", told)

    def close(self) -> None:
        """Everything is written already."""
        self.events.close()

    def _begin(self, step: int, returns: int) -> None:
        self._cut("stats.jsonl", lambda line: line["step"] <= step)
        self._cut("alarms.jsonl", lambda line: line["step"] <= step and line.get("returns", 0) <= returns)
        self.since, self.started = step, time.monotonic()
        with self._writing("TensorBoard events"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.events = EventFile(self.folder, purge=step + 1)

    def _cut(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop lines, and one that a kill or a full disk cut off."""
        path = self.folder / name
        if not path.exists():
            return
        kept = [line for line in path.read_text("utf-8").splitlines() if (known := _parsed(line)) and keep(known)]
        write_text(path, "".join(line + "\n" for line in kept))

    def _append(self, name: str, values: dict[str, Any]) -> None:
        with self._writing(name), (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.folder / name, error) from error


def _parsed(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(json.JSONDecodeError):
        known = json.loads(line)
        if isinstance(known, dict) and "step" in known:
            return known
    return None
