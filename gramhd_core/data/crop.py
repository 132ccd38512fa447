"""The square out of a photograph that shows a head as the cameras of its subject would.

H x W photograph, S x S crop. Pixels are continuous: x right, y down, the first pixel's centre is (0.5, 0.5). The origin
of the head is in the middle of the crop, upright unless roll is kept, and the crop is 2 tan(fov / 2) world units wide.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gramhd_core.data.pose import HeadPose, PoseError
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.geometry.camera import PUBLISHED_FOV_DEGREES

Padding = Literal["reflect", "blur"]
FINER = 1.4  # pixels that averaging leaves for each of the crop at least: Lanczos does the rest
TURNED_FINER = 1.25  # pixels along a side of the turned picture for each of what it is made from
REACH = 5  # pixels from a place that Lanczos looks at, and one more
FADE = 0.1  # crop widths beyond the edge of the photograph where nothing but blur is left
BLUR = 0.03  # crop widths, standard deviation


def crop_side(pose: HeadPose, fov_degrees: float) -> float:
    """How wide the crop is, photo pixels."""
    return 2 * math.tan(math.radians(fov_degrees) / 2) * pose.scale


def label_of(pose: HeadPose, *, fov_degrees: float = PUBLISHED_FOV_DEGREES, keep_roll: bool = False) -> Pose:
    """Where the crop was taken from."""
    return Pose(pose.pitch, pose.yaw, pose.roll if keep_roll else 0.0, 1.0, fov_degrees)


def crop(
    photo: NDArray[np.uint8],
    pose: HeadPose,
    *,
    size: int,
    fov_degrees: float,
    keep_roll: bool = False,
    padding: Padding = "blur",
) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] -> uint8 [S, S, 3]: averaged by whole numbers, turned (finer than S), brought to size (Lanczos).

    Only the part that is needed is read, so a photograph may be large. Beyond its edges it is continued by reflection,
    which fades into blur ("blur") or does not ("reflect"). PoseError if none of the crop is inside the photograph.
    """
    frame = _frame(pose, size, fov_degrees, keep_roll=keep_roll)
    step = crop_side(pose, fov_degrees) / size
    factor = max(1, math.floor(step / FINER))
    turned_size = size if step <= 1 else math.ceil(size * TURNED_FINER * step / factor)
    window = _window(photo.shape, frame, size, margin=(REACH + 1) * factor * max(1.0, step / factor))
    view = photo[window.top : window.bottom, window.left : window.right]
    view, window = _multiple(view, window, factor)
    if factor > 1:
        view = cv2.resize(view, (view.shape[1] // factor, view.shape[0] // factor), interpolation=cv2.INTER_AREA)
    matrix = np.empty((2, 3))  # from indices in the turned picture to indices in the view: centres are 0.5 more
    matrix[:, :2] = frame.matrix * (size / (turned_size * factor))
    corner = (frame.middle - (window.left, window.top)) / factor - frame.matrix @ np.full(2, size / 2) / factor
    matrix[:, 2] = corner + matrix[:, :2] @ np.full(2, 0.5) - 0.5
    flags = (cv2.INTER_LANCZOS4 if turned_size == size else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(view, matrix, (turned_size, turned_size), flags=flags, borderMode=cv2.BORDER_REFLECT)
    if turned_size > size:
        turned = np.asarray(Image.fromarray(turned).resize((size, size), Image.Resampling.LANCZOS))
    image = np.array(turned, dtype=np.uint8)
    if padding == "reflect" or _is_inside(photo.shape, frame, size):
        return image
    return _faded(image, _outside(photo.shape, frame, size))


def crop_points(
    points: NDArray[np.floating], pose: HeadPose, *, size: int, fov_degrees: float, keep_roll: bool = False
) -> NDArray[np.floating]:
    """Photo pixels [..., 2] -> pixels of the crop [..., 2]."""
    frame = _frame(pose, size, fov_degrees, keep_roll=keep_roll)
    return (points - frame.middle) @ np.linalg.inv(frame.matrix).T + size / 2


def covered(shape: tuple[int, ...], pose: HeadPose, *, fov_degrees: float, keep_roll: bool = False) -> float:
    """The share of the crop that a photograph of this shape (H, W, ...) shows; the rest is padding."""
    frame = _frame(pose, 64, fov_degrees, keep_roll=keep_roll)
    return float((_outside(shape, frame, 64) == 0).mean())


class _Frame(NamedTuple):
    """p = middle + matrix (c - S / 2): from crop to photo pixels."""

    middle: NDArray[np.floating]  # [2]
    matrix: NDArray[np.floating]  # [2, 2]

    def places(self, crop_pixels: NDArray[np.floating], size: int) -> NDArray[np.floating]:
        return self.middle + (crop_pixels - size / 2) @ self.matrix.T


class _Window(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def _frame(pose: HeadPose, size: int, fov_degrees: float, *, keep_roll: bool) -> _Frame:
    step, roll = crop_side(pose, fov_degrees) / size, 0.0 if keep_roll else pose.roll
    c, s = step * math.cos(roll), step * math.sin(roll)
    return _Frame(np.array(pose.centre), np.array([[c, s], [-s, c]]))


def _window(shape: tuple[int, ...], frame: _Frame, size: int, *, margin: float) -> _Window:
    """What of the photograph the crop needs, its reflections at the edges included."""
    corners = _corners(frame, size)
    ends = []
    for low, high, length in zip(*np.array([corners.min(axis=0), corners.max(axis=0)]), shape[1::-1], strict=True):
        if not (low < length and high > 0):
            raise PoseError("head outside of the photograph")
        first = min(low, 2 * length - high) - margin  # a place d beyond the edge shows what is d before it
        last = max(high, -low) + margin
        ends.append((max(0, math.floor(first)), min(length, math.ceil(last))))
    (left, right), (top, bottom) = ends
    return _Window(left, top, right, bottom)


def _is_inside(shape: tuple[int, ...], frame: _Frame, size: int) -> bool:
    """The photograph shows all of the crop."""
    corners = _corners(frame, size)
    return bool((corners >= 0).all() and (corners <= shape[1::-1]).all())


def _corners(frame: _Frame, size: int) -> NDArray[np.floating]:
    return frame.places(size * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), size)


def _multiple(view: NDArray[np.uint8], window: _Window, factor: int) -> tuple[NDArray[np.uint8], _Window]:
    """Without the last rows and columns that make no whole block; a photograph thinner than a block stays."""
    height, width = (max(length - length % factor, 1) for length in view.shape[:2])
    return view[:height, :width], window._replace(right=window.left + width, bottom=window.top + height)


def _outside(shape: tuple[int, ...], frame: _Frame, size: int) -> NDArray[np.floating]:
    """[S, S] how far the crop's pixels are from the photograph, in widths of the crop; 0 inside."""
    along = np.arange(size) + 0.5 - size / 2
    columns, rows = frame.matrix[:, :1] * along, frame.middle[:, None] + frame.matrix[:, 1:] * along  # [2, S] each
    places = (rows[:, :, None] + columns[:, None]).astype(np.float32)  # [2, S, S]
    beyond = np.abs(places - np.clip(places, 0, np.array(shape[1::-1], np.float32)[:, None, None]))
    return np.hypot(*beyond) / (np.linalg.norm(frame.matrix[0]).item() * size)


def _faded(image: NDArray[np.uint8], outside: NDArray[np.floating]) -> NDArray[np.uint8]:
    """More blur the farther outside: none at the edge of the photograph, nothing else from FADE on."""
    size = len(image)
    small = min(size, 128)
    blurred = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(blurred, (0, 0), BLUR * small, borderType=cv2.BORDER_REFLECT)
    blurred = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_LINEAR)
    share = np.minimum(outside / FADE, 1).astype(np.float32)
    share = share * share * (3 - 2 * share)
    return np.asarray(cv2.blendLinear(image, blurred, 1 - share, share), np.uint8)
