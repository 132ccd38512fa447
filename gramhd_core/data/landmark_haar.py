"""The `haar` backend: OpenCV's cascades, which its wheel brings along. Works anywhere; finds frontal faces, two eyes.

A box and two eyes are enough to crop by; pitch and yaw are hardly in them, so this backend is coarse. Detection runs on
a photograph reduced to WORKING pixels. Cascades count pixels from their corners, as we do.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.landmarks import EYES_2, Face, Scheme
from gramhd_core.errors import MissingDependency

WORKING = 640  # pixels of the longer side
SMALLEST = 24  # pixels of a face: the window of the cascade
FACE_WIDTH = 200  # pixels that a face is enlarged or reduced to before its eyes are sought
EYES_AT = ((0.31, 0.385), (0.69, 0.385))  # where eyes are in a box, on average, in its sides
ESTIMATED = 0.2  # confidence of eyes that were not seen
FACE, EYE, EYE_ELSE = "haarcascade_frontalface_default", "haarcascade_eye", "haarcascade_eye_tree_eyeglasses"
NEIGHBOURS = 5  # overlapping detections that make a face


class _Box(NamedTuple):
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class HaarLandmarks:
    """Faces and eyes by OpenCV's cascades. See `LandmarkDetector`."""

    name: str = "haar"
    scheme: Scheme = EYES_2
    coarse: bool = True

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        """Photograph [H, W, 3] RGB -> faces, the largest first. Eyes that are not seen are put where they are on
        average, with a confidence of ESTIMATED."""
        del name
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        boxes = _faces(grey)
        return sorted((_face(grey, box) for box in boxes), key=lambda face: -face.area)


def _faces(grey: NDArray[np.uint8]) -> list[_Box]:
    height, width = grey.shape
    factor = max(1.0, max(height, width) / WORKING)
    small = _resized(grey, round(width / factor), round(height / factor))
    if min(small.shape) < SMALLEST:
        return []
    found = _cascade(FACE).detectMultiScale(
        cv2.equalizeHist(small), scaleFactor=1.1, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST)
    )
    across, down = width / small.shape[1], height / small.shape[0]
    boxes = [_Box(x * across, y * down, w * across, h * down) for x, y, w, h in np.reshape(found, (-1, 4)).tolist()]
    return _apart(boxes)


def _apart(boxes: list[_Box]) -> list[_Box]:
    """Without those whose centre lies in a larger one: noses and chins are sometimes faces to a cascade."""
    kept: list[_Box] = []
    for box in sorted(boxes, key=lambda box: (-box.width * box.height, box)):
        x, y = box.left + box.width / 2, box.top + box.height / 2
        if not any(b.left < x < b.left + b.width and b.top < y < b.top + b.height for b in kept):
            kept.append(box)
    return kept


def _face(grey: NDArray[np.uint8], box: _Box) -> Face:
    points = np.array([(box.left + u * box.width, box.top + v * box.height) for u, v in EYES_AT])
    confidence = np.full(2, ESTIMATED)
    left, top = max(0, round(box.left)), max(0, round(box.top))
    part = grey[top : round(box.top + 0.6 * box.height), left : round(box.left + box.width)]
    if min(part.shape) >= SMALLEST // 2:
        factor = FACE_WIDTH / part.shape[1]
        window = _resized(part, FACE_WIDTH, max(1, round(part.shape[0] * factor)))
        eyes = _eyes(window)
        for side, eye in enumerate(eyes):
            if eye is not None:
                points[side] = (left + eye[0] / factor, top + eye[1] * part.shape[0] / window.shape[0])
                confidence[side] = 1.0
    return Face(EYES_2, points, confidence, (box.left, box.top, box.left + box.width, box.top + box.height))


def _eyes(window: NDArray[np.uint8]) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """The upper part of a face, FACE_WIDTH wide -> centres of its left and right eye."""
    found: list[tuple[float, float] | None] = [None, None]
    for cascade in (EYE, EYE_ELSE):
        eyes, _, weights = _cascade(cascade).detectMultiScale3(
            window, scaleFactor=1.05, minNeighbors=3, minSize=(28, 28), maxSize=(90, 90), outputRejectLevels=True
        )
        rows = [
            (weight, x + w / 2, y + h / 2)
            for (x, y, w, h), weight in zip(np.reshape(eyes, (-1, 4)).tolist(), np.ravel(weights).tolist(), strict=True)
        ]
        for side in (0, 1):
            seen = [row for row in rows if _plausible(row[1] / FACE_WIDTH, row[2] / FACE_WIDTH, side)]
            if found[side] is None and seen:
                found[side] = max(seen)[1:]
    left, right = found
    return left, right


def _plausible(x: float, y: float, side: int) -> bool:
    u, v = EYES_AT[side]
    return abs(x - u) < 0.17 and abs(y - v) < 0.17


def _resized(grey: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if (height, width) == grey.shape:
        return grey
    way = cv2.INTER_AREA if width < grey.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (max(1, width), max(1, height)), interpolation=way), dtype=np.uint8)


@functools.cache
def _cascade(name: str) -> Any:
    """A cascade of the wheel, read once per process."""
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    if not hasattr(cv2, "CascadeClassifier") or not folder:
        raise MissingDependency(
            f"This OpenCV ({cv2.__version__}) has no cascades",
            expected="the haar backend needs those of opencv-python 4",
            remedy='run pip install "opencv-python<5", or choose other --landmarks',
        )
    return cv2.CascadeClassifier(f"{folder}{name}.xml")
