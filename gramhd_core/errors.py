"""What can be wrong with the things people hand us, each said in one sentence.

A user error is a `GramhdError`: what was given, what was expected, what to do. The command line prints the
sentence and exits with `exit_code`; it never prints a traceback for one. Programmer errors are assertions.
"""

from __future__ import annotations


class GramhdError(Exception):
    """One sentence built from three parts: `given`, `expected`, `remedy` (none of them ends with a full stop)."""

    exit_code = 2

    def __init__(self, given: str, *, expected: str, remedy: str):
        self.given, self.expected, self.remedy = given, expected, remedy
        super().__init__(f"{given}, but {expected}: {remedy}.")

    def __reduce__(self):  # keyword-only arguments need help to cross a process pool
        return _rebuild, (type(self), self.given, self.expected, self.remedy)


def _rebuild(kind: type[GramhdError], given: str, expected: str, remedy: str) -> GramhdError:
    return kind(given, expected=expected, remedy=remedy)


class BadArgument(GramhdError):
    """An option or argument whose value cannot be used (seeds like `3-`, sizes that do not divide)."""


class BadImage(GramhdError):
    """An image file that cannot be read, is truncated, or has the wrong shape."""


class BadLabels(GramhdError):
    """A label file that does not parse, has the wrong length, or names images that are not there."""


class BadDataset(GramhdError):
    """A data set folder or archive that is missing, empty or inconsistent."""


class BadConfig(GramhdError):
    """A preset, config field or combination of fields that cannot work."""


class BadCheckpoint(GramhdError):
    """A checkpoint that is missing, damaged, of another family, or whose weights do not fit its config."""


class BadScene(GramhdError):
    """A scene file that is missing, damaged or of another version, or a scene that cannot be saved."""


class MissingDependency(GramhdError):
    """An optional library (or its weights) is needed here and is not installed."""


class CannotWrite(GramhdError):
    """The disk is full or the place is not writable; whatever was there before is untouched."""


class LostProcess(GramhdError):
    """Another process that shares the work is gone: not the user's fault, but everybody's end."""

    exit_code = 1


class Diverged(GramhdError):
    """A training that meets numbers that are not finite again and again, whatever was done about it."""

    exit_code = 1


class GramhdWarning(UserWarning):
    """Something that works, but not as well as one would expect; said in one sentence."""
