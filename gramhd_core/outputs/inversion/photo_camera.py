"""The camera of a photograph as six numbers that gradients can move.

A pose is a tensor [N, 6]: the numbers of a `PhotoCamera` with the logarithm of its scale: pitch, yaw, roll (radians),
log scale, and where the head is seen, right and down of the picture's centre in sides of the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gramhd_core.checkpoints.saved_latent import PhotoCamera
from gramhd_core.geometry.camera import Camera, CameraPrior

# Standard deviations of what an aligned crop's pose has beside pitch and yaw: roll, log scale, shifts. As small as
# crops scatter: the model was trained on such crops, and a camera free to move goes where a blurred likeness is best.
CROP_SD = (0.01, 0.01, 0.004, 0.004)
LEAST_SD = 0.02  # of pitch and yaw, radians, however narrow the prior


def pose_of(camera: PhotoCamera) -> Tensor:
    """[1, 6]."""
    return torch.tensor(
        [[camera.pitch, camera.yaw, camera.roll, math.log(camera.scale), camera.shift_x, camera.shift_y]]
    )


def photo_camera(pose: Tensor) -> PhotoCamera:
    """The inverse of `pose_of`."""
    pitch, yaw, roll, log_scale, x, y = pose.detach().flatten().tolist()
    return PhotoCamera(pitch, yaw, roll, math.exp(log_scale), x, y)


def camera_of(pose: Tensor, prior: CameraPrior, *, size: int) -> Camera:
    """Poses [N, 6] -> N cameras at the prior's radius; differentiable.

    The head is enlarged by a smaller angle of view and moved by moving the camera sideways: its origin is then seen
    exactly where the shift says, and what is a head's half depth nearer is off by a twentieth of the shift.
    """
    pitch, yaw, roll, log_scale, x, y = pose.unbind(dim=1)
    straight = Camera.orbit(pitch, yaw, radius=prior.radius, fov_degrees=prior.fov_degrees, size=size)
    tangent = math.tan(math.radians(prior.fov_degrees) / 2) * torch.exp(-log_scale)
    right, up, back, position = straight.world_from_camera[:, :3].unbind(dim=2)
    cos, sin = roll.cos()[:, None], roll.sin()[:, None]
    right, up = cos * right - sin * up, sin * right + cos * up
    side = 2 * prior.radius * tangent[:, None]  # of the picture at the head's distance, world units
    position = position - side * (x[:, None] * right - y[:, None] * up)
    matrix = torch.cat([torch.stack([right, up, back, position], dim=2), straight.world_from_camera[:, 3:]], dim=1)
    return Camera(matrix, 2 * torch.rad2deg(torch.atan(tangent)), size, size)


def expected_pose(prior: CameraPrior, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [6] and standard deviations [6] of the poses of aligned crops."""
    mean = like.new_tensor([prior.pitch_mean, prior.yaw_mean, 0.0, 0.0, 0.0, 0.0])
    return mean, like.new_tensor([max(prior.pitch_sd, LEAST_SD), max(prior.yaw_sd, LEAST_SD), *CROP_SD])


def degrees_between(one: PhotoCamera, other: PhotoCamera) -> float:
    """Angle between the directions from which two cameras look at the head."""
    a, b = (
        torch.tensor(
            [math.cos(p.pitch) * math.sin(p.yaw), math.sin(p.pitch), math.cos(p.pitch) * math.cos(p.yaw)],
            dtype=torch.float64,
        )
        for p in (one, other)
    )
    return math.degrees(math.atan2(float(torch.linalg.cross(a, b).norm()), float(a @ b)))
