"""Where a picture was taken from, said in every way of the field: conversions of one pose, each with its inverse.

Angles are radians in the conventions of `geometry/camera.py`; N is a number of labels.
- EG3D / StyleGAN: 25 numbers = row-major 4 x 4 world-from-camera in OpenCV axes (x right, y down, z forward; world y
  up, face towards +z) + 3 x 3 intrinsics in units of the image side (focal 4.2647 for FFHQ; the principal point is the
  centre and is not read);
- `<stem>.mat` of GRAM (faces): `angle` [1, 3] = pitch, yaw, roll of the head; phi = pi/2 - (angle[0] - 0.1),
  theta = pi/2 + angle[1]. The published code ignores roll; here it is kept;
- `<stem>_pose.npy` of GRAM (cats): [2] = pitch, yaw around pi/2; phi = pitch + 0.14, theta = yaw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data.subjects import CATS, FACES
from gramhd_core.geometry.camera import PUBLISHED_FOV_DEGREES, Camera

EG3D_RADIUS = 2.7  # distance of the camera from the head in the published labels; ours is 1 by definition
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # y up, looking along -z <-> y down, looking along +z; own inverse


class Pose(NamedTuple):
    """Where a picture was taken from. Positive roll turns the camera clockwise: its up axis leans to its right,
    the head in the picture leans to the left. `radius` is in the units of the label file, 1 in ours."""

    pitch: float
    yaw: float
    roll: float = 0.0
    radius: float = 1.0
    fov_degrees: float = PUBLISHED_FOV_DEGREES

    def mirrored(self) -> Pose:
        """The pose of the mirrored image."""
        return self._replace(yaw=-self.yaw, roll=-self.roll)


def camera_from_pose(pose: Pose, *, size: int = 256) -> Camera:
    """The camera (batch of one, float64) of a pose."""
    pitch, yaw, roll = (torch.tensor(value, dtype=torch.float64) for value in pose[:3])
    camera = Camera.orbit(pitch, yaw, radius=pose.radius, fov_degrees=pose.fov_degrees, size=size)
    c, s = float(roll.cos()), float(roll.sin())
    turned_from_upright = torch.tensor([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return Camera(camera.world_from_camera @ turned_from_upright, camera.fov_degrees, size, size)


def poses_from_camera(camera: Camera) -> list[Pose]:
    """The pose of every camera of a batch: `camera_from_pose` undone."""
    matrices = camera.world_from_camera.double().cpu().numpy()
    fov = camera.fov_degrees.double().cpu().numpy()
    return [Pose(*map(float, row)) for row in _pose_rows(matrices, fov)]


def _pose_rows(world_from_camera: NDArray, fov_degrees: NDArray) -> NDArray[np.float64]:
    """[N, 4, 4] (OpenGL axes) and [N] -> [N, 5] pitch, yaw, roll, radius, fov_degrees."""
    x, y, z = np.moveaxis(world_from_camera[:, :3, 3], -1, 0)
    pitch, yaw = np.arctan2(y, np.hypot(x, z)), np.arctan2(x, z)
    level = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=-1)  # right axis of an upright camera
    upright = np.stack([-np.sin(pitch) * np.sin(yaw), np.cos(pitch), -np.sin(pitch) * np.cos(yaw)], axis=-1)
    up = world_from_camera[:, :3, 1]
    roll = np.arctan2((level * up).sum(-1), (upright * up).sum(-1))
    radius = np.sqrt(x * x + y * y + z * z)
    return np.stack([pitch, yaw, roll, radius, fov_degrees], axis=-1)


def eg3d_from_pose(pose: Pose, *, radius: float = EG3D_RADIUS) -> list[float]:
    """The 25 numbers of a pose. The camera is placed at `radius` (a matter of units: our camera is at distance 1) and
    our angle of view is kept: focal = 0.5 / tan(fov / 2) image sides, which is 4.757 for 12 degrees."""
    opengl = camera_from_pose(pose._replace(radius=radius)).world_from_camera[0].numpy()
    focal = 0.5 / math.tan(math.radians(pose.fov_degrees) / 2)
    return [*(opengl @ OPENCV_FROM_OPENGL).ravel().tolist(), focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]


def pose_from_eg3d(numbers: Sequence[float]) -> Pose:
    """25 numbers of any radius and focal length -> Pose, whose `radius` is the label's; `eg3d_from_pose` undone."""
    return Pose(*map(float, rows_from_eg3d(np.array([numbers], dtype=np.float64))[0]))


def rows_from_eg3d(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sound labels [N, 25] -> [N, 5] pitch, yaw, roll, radius, fov_degrees."""
    fov = np.degrees(2 * np.arctan(0.5 / numbers[:, 16]))
    return _pose_rows(numbers[:, :16].reshape(-1, 4, 4) @ OPENCV_FROM_OPENGL, fov)


def mat_from_pose(pose: Pose) -> NDArray[np.float64]:
    """[1, 3] `angle` of a published FFHQ pose file."""
    return np.array([[pose.pitch - FACES.label_pitch_offset, -pose.yaw, pose.roll]])


def pose_from_mat(angle: NDArray) -> Pose:
    """`mat_from_pose` undone."""
    pitch, yaw, roll = map(float, np.ravel(angle))
    return Pose(pitch + FACES.label_pitch_offset, -yaw, roll)


def npy_from_pose(pose: Pose) -> NDArray[np.float64]:
    """[2] spherical angles of a published AFHQ cat pose file; it has no place for roll."""
    return np.array([math.pi / 2 - pose.pitch + CATS.label_pitch_offset, math.pi / 2 - pose.yaw])


def pose_from_npy(angles: NDArray) -> Pose:
    """`npy_from_pose` undone."""
    pitch, yaw = map(float, np.ravel(angles))
    return Pose(math.pi / 2 - pitch + CATS.label_pitch_offset, math.pi / 2 - yaw)
