"""THE conventions: where cameras are, how angles count, which way axes point.

World (right-handed): x right, y up, z towards the frontal viewer. The head is at the origin, its face towards +z.
Camera axes: x right, y up, looks along -z (OpenGL). One world unit is the distance of the camera from the head.
Angles are radians. `pitch = yaw = 0` is level and frontal, at (0, 0, 1); positive yaw moves the camera to +x,
positive pitch moves it up (+y). There is no roll in the orbit. N is the batch size.

Official GRAM / GRAM-HD angles are (phi, theta) around pi/2: pitch = pi/2 - phi, yaw = pi/2 - theta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PUBLISHED_FOV_DEGREES = 12.0  # full angle of the square image, in every published config


@dataclass(frozen=True)
class Camera:
    """N pinhole cameras that share one image size.

    world_from_camera: [N, 4, 4] rigid transforms; columns are the camera's right, up and back axes and its position.
    fov_degrees: [N] full vertical angle of view in degrees (images are square in this project: width = height).
    """

    world_from_camera: Tensor
    fov_degrees: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        assert self.world_from_camera.ndim == 3 and self.world_from_camera.shape[1:] == (4, 4), (
            self.world_from_camera.shape
        )
        assert self.fov_degrees.shape == self.world_from_camera.shape[:1], self.fov_degrees.shape

    @staticmethod
    def orbit(
        pitch: Tensor | float,
        yaw: Tensor | float,
        *,
        radius: float = 1.0,
        fov_degrees: float = PUBLISHED_FOV_DEGREES,
        size: int = 256,
    ) -> Camera:
        """Upright cameras at `radius` from the origin, looking at it. Angles in radians, broadcast to [N].

        pitch is clamped to (-pi/2, pi/2) so that "up" stays defined, as the published code clamps phi.
        """
        p, y = torch.broadcast_tensors(_vector(pitch), _vector(yaw))
        p = p.clamp(-math.pi / 2 + 1e-5, math.pi / 2 - 1e-5)
        cp, sp, cy, sy = p.cos(), p.sin(), y.cos(), y.sin()
        zero = torch.zeros_like(cp)
        back = torch.stack([cp * sy, sp, cp * cy], dim=-1)  # from the head to the camera
        right = torch.stack([cy, zero, -sy], dim=-1)
        up = torch.stack([-sp * sy, cp, -sp * cy], dim=-1)
        pose = torch.zeros(len(cp), 4, 4, dtype=cp.dtype, device=cp.device)
        pose[:, :3, :] = torch.stack([right, up, back, radius * back], dim=-1)
        pose[:, 3, 3] = 1
        return Camera(pose, torch.full_like(cp, fov_degrees), size, size)

    @property
    def position(self) -> Tensor:
        """[N, 3] camera centres in the world."""
        return self.world_from_camera[:, :3, 3]

    @property
    def pitch(self) -> Tensor:
        """[N] elevation of the camera centre above the level plane, radians."""
        p = self.position
        return torch.atan2(p[:, 1], p[:, [0, 2]].norm(dim=-1))

    @property
    def yaw(self) -> Tensor:
        """[N] azimuth of the camera centre, radians, positive towards +x."""
        return torch.atan2(self.position[:, 0], self.position[:, 2])

    def __len__(self) -> int:
        return len(self.world_from_camera)

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """A camera (still batched), a slice of the batch, or the cameras at int64 places [n]."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return replace(self, world_from_camera=self.world_from_camera[index], fov_degrees=self.fov_degrees[index])

    def with_size(self, size: int) -> Camera:
        """The same cameras with a square image of `size` pixels."""
        return replace(self, height=size, width=size)

    def to(self, device: torch.device | str) -> Camera:
        """The same cameras on another device."""
        return replace(
            self, world_from_camera=self.world_from_camera.to(device), fov_degrees=self.fov_degrees.to(device)
        )

    def mirrored(self) -> Camera:
        """The cameras that see the mirrored world (x -> -x) as the mirrored image: yaw and roll change sign."""
        flip = torch.diag(
            torch.tensor(
                [-1.0, 1.0, 1.0, 1.0], dtype=self.world_from_camera.dtype, device=self.world_from_camera.device
            )
        )
        return replace(self, world_from_camera=flip @ self.world_from_camera @ flip)

    def project(self, points: Tensor) -> Tensor:
        """World points [N, P, 3] -> pixel coordinates [N, P, 2] (x right, y down; first pixel centre 0.5, 0.5)."""
        rotation, centre = self.world_from_camera[:, :3, :3], self.position
        local = (points - centre[:, None]) @ rotation
        focal = 1 / torch.tan(torch.deg2rad(self.fov_degrees) / 2)[:, None, None]
        ndc = focal * local[..., :2] / (-local[..., 2:])
        half = torch.tensor([self.width / 2, -self.height / 2], dtype=ndc.dtype, device=ndc.device)
        return ndc * half + torch.tensor([self.width / 2, self.height / 2], dtype=ndc.dtype, device=ndc.device)


@dataclass(frozen=True)
class CameraPrior:
    """Independent Gaussians over pitch and yaw (radians), the published training distribution of FFHQ and AFHQ cats."""

    pitch_sd: float = 0.155
    yaw_sd: float = 0.3
    pitch_mean: float = 0.0
    yaw_mean: float = 0.0
    fov_degrees: float = PUBLISHED_FOV_DEGREES
    radius: float = 1.0

    def sample(self, n: int, rng: torch.Generator, *, size: int = 256) -> Camera:
        """`n` cameras; draw i does not depend on n (item by item, so a batch can be split)."""
        draws = torch.stack([torch.randn(2, generator=rng, device=rng.device) for _ in range(n)])
        return self.at(
            self.pitch_mean + self.pitch_sd * draws[:, 0], self.yaw_mean + self.yaw_sd * draws[:, 1], size=size
        )

    def at(self, pitch: Tensor | float, yaw: Tensor | float, *, size: int = 256) -> Camera:
        """Cameras of this prior's radius and field of view at given angles (radians)."""
        return Camera.orbit(pitch, yaw, radius=self.radius, fov_degrees=self.fov_degrees, size=size)


def angles_from_official(phi: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Official GRAM (phi, theta), radians around pi/2 -> our (pitch, yaw). Its own inverse."""
    return math.pi / 2 - phi, math.pi / 2 - theta


def _vector(value: Tensor | float) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.get_default_dtype()) if not isinstance(value, Tensor) else value
    return tensor.reshape(-1)
