"""How the library tells a caller how far it is. The command line draws this; the default is silence."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One job with a known number of steps."""

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        """A job named `title` begins; `done` of its `total` steps were finished by an earlier run."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short text to show beside the bar (losses, the current file)."""

    def say(self, line: str) -> None:
        """A line worth keeping, printed above the bar."""

    def finish(self) -> None:
        """The job that was started is over."""


class Silent:
    """The progress that shows nothing."""

    def start(self, title: str, total: int, *, done: int = 0) -> None: ...
    def advance(self, steps: int = 1, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...
    def finish(self) -> None: ...
