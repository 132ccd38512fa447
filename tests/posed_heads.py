"""Procedural heads whose pose is known, as landmarks in photographs; nothing is drawn, so hundreds take a second."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.landmarks import IBUG_68, Face, Scheme, box_of
from gramhd_core.data.pose import HeadPose
from gramhd_core.data.procedural_heads import head_and_camera

SIZE = 256
FOV = 12.0
WIDTH = 2 * math.tan(math.radians(FOV) / 2)  # of a crop, world units


class Known(NamedTuple):
    """Head number `seed` of the data set. points: [68, 2] pixels of the picture of SIZE that its camera takes."""

    pitch: float
    yaw: float
    world: NDArray[np.float64]
    points: NDArray[np.float64]


@functools.cache
def known(seed: int) -> Known:
    identity, camera = head_and_camera(seed, size=SIZE)
    world = landmarks_of(identity, shape_of(identity)) * WORLD_PER_U
    points = camera.project(torch.from_numpy(world).to(camera.world_from_camera)[None])[0].double().numpy()
    return Known(float(camera.pitch[0]), float(camera.yaw[0]), world, points)


def in_photo(points: NDArray[np.float64], *, roll: float, zoom: float, shift: tuple[float, float]):
    """The same points where the picture lies turned, enlarged and shifted in a photograph; its middle is at `shift`."""
    c, s = math.cos(roll), math.sin(roll)
    return (points - SIZE / 2) @ (zoom * np.array([[c, -s], [s, c]])) + shift


def face(points: NDArray[np.float64], scheme: Scheme = IBUG_68) -> Face:
    return Face(scheme, points, np.ones(len(scheme)), box_of(points))


def errors_degrees(pose: HeadPose, head: Known) -> tuple[float, float]:
    """|error| of pitch and yaw."""
    return abs(math.degrees(pose.pitch - head.pitch)), abs(math.degrees(pose.yaw - head.yaw))
