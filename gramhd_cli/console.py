"""The only place that prints: results on stdout, everything else on stderr.

Rich is imported when a bar is drawn, not before; NO_COLOR is respected.
"""

from __future__ import annotations

import contextlib
import json as json_format
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gramhd_core.progress import Progress

QUIET_SECONDS = 2.0  # a job shorter than this says nothing where there is no terminal
LINE_SECONDS = 5.0  # between two plain lines


def result(value: Any, *, json: bool) -> None:
    """What the command made: one JSON document, or a path (or a `name: value`) per line."""
    if json:
        _write(json_format.dumps(value, indent=2, default=str))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _write(f"{name}: {item}")
    else:
        for item in [value] if isinstance(value, (str, Path)) else value:
            _write(str(item))


def note(line: str) -> None:
    """A line of information."""
    print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """A line that somebody should read: the sentence of an error, a file that was left out."""
    red = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    note(f"\033[31m{line}\033[0m" if red else line)


def show_traceback() -> None:
    """Where the exception being handled came from (only with --debug)."""
    traceback.print_exc()


def _write(text: str) -> None:
    print(text, flush=True)  # flushed: a closed pipe is noticed here, where it can be handled


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """A bar with rate and remaining time on a terminal, a plain line every few seconds elsewhere."""
    drawn = _Bar() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()
    try:
        yield drawn
    finally:
        drawn.close()


class Lines:
    """Progress in plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self.title, self.total, self.begun, self.done = "", 0, 0, 0
        self.note = ""
        self.started = self.last = 0.0
        self.wrote = self.running = False

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        self.title, self.total, self.begun, self.done, self.note = title, total, done, done, ""
        self.started = self.last = time.monotonic()
        self.wrote, self.running = False, True

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= (LINE_SECONDS if self.wrote else QUIET_SECONDS):
            self._write_line(now)

    def say(self, line: str) -> None:
        note(line)

    def finish(self) -> None:
        if self.running and time.monotonic() - self.started >= QUIET_SECONDS:
            self._write_line(time.monotonic())
        self.running = False

    def close(self) -> None:
        """Nothing is left to clean up."""

    def _write_line(self, now: float) -> None:
        self.last, self.wrote = now, True
        rate = (self.done - self.begun) / max(now - self.started, 1e-9)  # steps per second, this run only
        left = f", {duration((self.total - self.done) / rate)} left" if 0 < rate and self.done < self.total else ""
        tail = f"  {self.note}" if self.note else ""
        note(f"{self.title}: {self.done:,}/{self.total:,}  {rate:.3g}/s{left}{tail}")


class _Bar:
    """Progress drawn with rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.drawn = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=Console(stderr=True, highlight=False),
        )
        self.task = None

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        self.task = self.drawn.add_task(title, total=total, completed=done, note="", rate="")
        self.drawn.start()

    def advance(self, steps: int = 1, note: str = "") -> None:
        assert self.task is not None, "start comes before advance"
        self.drawn.advance(self.task, steps)
        task = next(task for task in self.drawn.tasks if task.id == self.task)
        rate = f"{task.speed:.3g}/s" if task.speed else ""  # steps per second, recent ones
        self.drawn.update(self.task, rate=rate, note=note or task.fields["note"])

    def say(self, line: str) -> None:
        self.drawn.console.print(line, markup=False)

    def finish(self) -> None:
        self.task = None

    def close(self) -> None:
        self.drawn.stop()


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s", 4000 -> "1 h 7 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
