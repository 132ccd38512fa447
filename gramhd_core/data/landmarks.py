"""Where the parts of heads are in a photograph, whoever found them.

H x W photograph; K landmarks. Pixels: x right, y down, the centre of the first pixel is (0.5, 0.5). Left and right are
those of the picture, not of the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scheme:
    """Which K landmarks there are. mirror: int [K], the landmark that each one becomes in the mirrored picture."""

    name: str
    mirror: tuple[int, ...]

    def __post_init__(self) -> None:
        assert sorted(self.mirror) == list(range(len(self.mirror))), self.mirror
        assert all(self.mirror[m] == k for k, m in enumerate(self.mirror)), self.mirror

    def __len__(self) -> int:
        return len(self.mirror)


@dataclass(frozen=True)
class Face:
    """One head in one photograph.

    points: float64 [K, 2] pixels, NaN where a landmark was not found. confidence: float64 [K] in [0, 1].
    box: left, top, right, bottom of the head in pixels.
    """

    scheme: Scheme
    points: NDArray[np.float64]
    confidence: NDArray[np.float64]
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        assert self.points.shape == (len(self.scheme), 2) and self.confidence.shape == (len(self.scheme),)

    @property
    def found(self) -> NDArray[np.bool_]:
        """[K] which landmarks are known."""
        return np.isfinite(self.points).all(axis=1) & (self.confidence > 0)

    @property
    def area(self) -> float:
        """Of the box, square pixels: the largest face of a photograph is the one nearest to its camera."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


class LandmarkDetector(Protocol):
    """Finds heads. `name` is how the command line calls it; `coarse`: good enough to crop by, hardly for a pose."""

    @property
    def name(self) -> str: ...
    @property
    def scheme(self) -> Scheme: ...
    @property
    def coarse(self) -> bool: ...

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        """Photograph [H, W, 3] RGB -> its heads, the largest first. name: how messages (and label files) call it."""
        ...


def box_of(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The smallest box around those points [K, 2] that are finite."""
    known = points[np.isfinite(points).all(axis=1)]
    (left, top), (right, bottom) = known.min(axis=0), known.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def mirrored(face: Face, width: int) -> Face:
    """The same head in the mirrored photograph, which is `width` pixels wide."""
    order = list(face.scheme.mirror)
    left, top, right, bottom = face.box
    points = face.points[order] * (-1, 1) + (width, 0)
    return Face(face.scheme, points, face.confidence[order], (width - right, top, width - left, bottom))


def _pairs(count: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    order = list(range(count))
    for a, b in pairs:
        order[a], order[b] = b, a
    return tuple(order)


_JAW = tuple((k, 16 - k) for k in range(8))
_BROWS = tuple((17 + k, 26 - k) for k in range(5))
_NOSE = ((31, 35), (32, 34))
_EYES = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
_MOUTH = ((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67))
IBUG_68 = Scheme("ibug-68", _pairs(68, *_JAW, *_BROWS, *_NOSE, *_EYES, *_MOUTH))  # jaw 0-16, brows, nose, eyes, mouth
FACE_5 = Scheme("face-5", _pairs(5, (0, 1), (3, 4)))  # left eye, right eye, nose tip, left and right mouth corner
CAT_9 = Scheme("cat-9", _pairs(9, (0, 1), (3, 8), (4, 7), (5, 6)))  # eyes, mouth, 3 of the left, 3 of the right ear
EYES_2 = Scheme("eyes-2", _pairs(2, (0, 1)))  # left and right eye
SCHEMES = {scheme.name: scheme for scheme in (IBUG_68, FACE_5, CAT_9, EYES_2)}
