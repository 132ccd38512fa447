"""Epipolar strips: one image line of many neighbouring views, stacked. Smooth trails = a consistent scene.

V views of H x W pixels, uint8. Row v of a strip is the line of view v: the first view is at the top. Everything that
keeps still in space draws one smooth curve; flicker tears it, texture that sticks to the screen draws it vertical.
"""

from __future__ import annotations

import math

import numpy as np

from gramhd_core.outputs.images import enlarged

EYES = 0.48  # height of the eyes in an aligned, frontal face, as a fraction of the picture from the top
_MARK = np.array([255, 40, 40], dtype=np.uint8)
_MARGIN = 14  # pixels left and right of the picture, for the arrow heads
_GAP = 8  # pixels between frame and strip


def line_row(height: int, line: float = EYES) -> int:
    """The pixel row at `line` (0 = top edge, 1 = bottom edge of the picture)."""
    return min(int(line * height), height - 1)


def epi_picture(frame: np.ndarray, strip: np.ndarray, *, row: int) -> np.ndarray:
    """The frame [H, W, 3] with its line marked, above the strip [V, W, 3] at the same horizontal scale.

    Narrow pictures are enlarged by a whole factor to at least 256 pixels across. The mark is one red line between two
    arrow heads; a pair of small arrow heads beside the strip shows the view that the frame is.
    """
    factor = math.ceil(256 / frame.shape[1])
    frame, strip = enlarged(frame, factor), strip.repeat(factor, axis=1)
    height, width = frame.shape[:2]
    picture = np.full((height + _GAP + len(strip), width + 2 * _MARGIN, 3), 255, dtype=np.uint8)
    inside = slice(_MARGIN, _MARGIN + width)
    picture[:height, inside] = frame
    picture[height + _GAP :, inside] = strip
    marked = row * factor + factor // 2
    picture[marked, inside] = _MARK
    _arrow_heads(picture, marked, 9)
    _arrow_heads(picture, height + _GAP + len(strip) // 2, 5)
    return picture


def _arrow_heads(picture: np.ndarray, row: int, length: int) -> None:
    """Two filled triangles in the margins, pointing inwards at `row`."""
    for step in range(length):
        half = step // 2
        rows = slice(max(row - half, 0), row + half + 1)
        picture[rows, _MARGIN - 2 - step] = _MARK
        picture[rows, -(_MARGIN - 1) + step] = _MARK
