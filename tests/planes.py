"""A wall whose colours are a smooth function of where they are: views of it are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.views import ViewSet

Paint = Callable[[Tensor, Tensor], Tensor]  # x, y in world units -> levels


def waves(x: Tensor, y: Tensor) -> Tensor:
    """About seven waves across what the published camera sees."""
    return 128 + 60 * torch.sin(200 * x) * torch.cos(170 * y)


def views_of_wall(cameras: Camera, *, paint: Paint = waves, z: float = 0.0, name: str = "wall") -> ViewSet:
    """The plane at height z, as a picture rounded to 8 bits; it counts as head wherever it is seen."""
    rays, size = camera_rays(cameras), cameras.width
    distance = (z - rays.origins[..., 2:]) / rays.directions[..., 2:]
    points = rays.origins + distance * rays.directions
    grey = paint(points[..., 0], points[..., 1]).round().clamp(0, 255).byte().unflatten(1, (size, size))
    rgb = grey[:, None].expand(-1, 3, -1, -1).contiguous()
    seen = distance[..., 0].unflatten(1, (size, size))
    return ViewSet(name, cameras, rgb, torch.ones_like(seen), seen)
