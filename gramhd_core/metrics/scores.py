"""What a metric says: numbers with names, how sure they are, how they were measured, pictures to believe them.

n values, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

CONFIDENCE = 0.95
REACH = "reach of pitch and yaw"  # of a protocol: between the outermost views, radians
MOST = 500  # single numbers that a report keeps
LIMITS = {  # of scores with such a word in their names
    "SSIM": (-1.0, 1.0),
    "ordered": (0.0, 1.0),
    "seen_by_both": (0.0, 1.0),
    "percentage": (0.0, 100.0),
    "followed": (0.0, 100.0),
    "error": (0.0, math.inf),
    "flicker": (0.0, math.inf),
    "drift": (0.0, math.inf),
}


class Picture(NamedTuple):
    """image: uint8 [H, W, 3]; caption: one line."""

    image: np.ndarray
    caption: str


class Seen(NamedTuple):
    """Of one head: numbers by name, and pictures."""

    numbers: dict[str, float]
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Score:
    """values: by name. intervals: low and high end at `CONFIDENCE`, of some of them. ceiling: the same names, what
    perfect heads (the analytic ones) get from the same code. each: one number per identity or view, `MOST` at the most.
    protocol: what has to be equal for two scores to be comparable. times: figures of this machine and moment. found:
    how many things needed not be made again, by name.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    each: dict[str, list[float]] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)


class Mean(NamedTuple):
    """A mean and the interval around it."""

    mean: float
    interval: tuple[float, float] | None


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of n numbers, and where it lies at `CONFIDENCE` if they are draws from a normal distribution (Student's
    t; none for fewer than two). Numbers that are not finite are left out; the mean of none is nan."""
    from scipy.special import stdtrit

    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return Mean(math.nan, None)
    mean = float(known.mean())
    if len(known) < 2:
        return Mean(mean, None)
    reach = float(stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2) * known.std(ddof=1) / math.sqrt(len(known)))
    return Mean(mean, (mean - reach, mean + reach))


def score_of_each(
    each: Mapping[str, Sequence[float]], *, ceiling: Mapping[str, Sequence[float]] | None = None, **more: Any
) -> Score:
    """Means and intervals (within `LIMITS`) of numbers per identity; `ceiling` has the same of the analytic heads."""
    means = {name: mean_of(values) for name, values in each.items()}
    return Score(
        {name: found.mean for name, found in means.items()},
        {name: _possible(name, found.interval) for name, found in means.items() if found.interval is not None},
        {name: mean_of(values).mean for name, values in (ceiling or {}).items()},
        {name: list(map(float, values[:MOST])) for name, values in each.items()},
        **more,
    )


def _possible(name: str, interval: tuple[float, float]) -> tuple[float, float]:
    """What of an interval such a score can take."""
    least, most = next((ends for word, ends in LIMITS.items() if word in name), (-math.inf, math.inf))
    return max(interval[0], least), min(interval[1], most)
