"""Pixel grids -> rays.

N cameras or items, R rays (row-major, top row first), origins and unit directions in world units.
Two conventions for where a pixel is, because the published weights were trained with the second:
`area`       the centre of pixel i of W is at (2 i + 1) / W - 1 (the field's usual one; default for new training);
`endpoints`  it is at 2 i / (W - 1) - 1, so that border pixels sit exactly at +-1 (GRAM and GRAM-HD).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera

PixelSampling = Literal["area", "endpoints"]


class Rays(NamedTuple):
    """origins [N, R, 3]; directions [N, R, 3], unit length, so that t along a ray is a Euclidean distance."""

    origins: Tensor
    directions: Tensor

    def at(self, distance: Tensor) -> Tensor:
        """Points at distances [N, R, K] along each ray -> [N, R, K, 3]."""
        return self.origins[:, :, None] + distance[..., None] * self.directions[:, :, None]

    def slice(self, start: int, stop: int) -> Rays:
        """Rays start..stop of every item."""
        return Rays(self.origins[:, start:stop], self.directions[:, start:stop])


def axis(size: int, sampling: PixelSampling, *, like: Tensor) -> Tensor:
    """[size] sample positions in [-1, 1], ascending, on the device and in the dtype of `like`."""
    if sampling == "endpoints":
        return torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)
    return (2 * torch.arange(size, device=like.device, dtype=like.dtype) + 1) / size - 1


def camera_rays(camera: Camera, *, sampling: PixelSampling = "area") -> Rays:
    """One ray per pixel of every camera: [N, H * W] rays."""
    pose = camera.world_from_camera
    x = axis(camera.width, sampling, like=pose)
    y = -axis(camera.height, sampling, like=pose)  # rows run from the top
    y, x = torch.meshgrid(y, x, indexing="ij")
    focal = 1 / torch.tan(torch.deg2rad(camera.fov_degrees) / 2)  # [N]
    plane = torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(1, -1, 3)
    local = plane - focal[:, None, None] * pose.new_tensor([0.0, 0.0, 1.0])
    local = local / local.norm(dim=-1, keepdim=True)
    # a sum of products, not a matrix product: autocast would round that one
    directions = (local[:, :, None] * pose[:, None, :3, :3]).sum(dim=-1)
    return Rays(camera.position[:, None].expand_as(directions), directions)


def orthographic_rays(size: int, half_width: float, *, sampling: PixelSampling, like: Tensor) -> Rays:
    """The rays that grid a manifold: one per map cell, from z = 1 straight along -z; [1, size * size] rays.

    Rows run with y *ascending* (row 0 is y = -half_width), columns with x ascending (GRAM-HD: manifold gridding).
    """
    a = axis(size, sampling, like=like) * half_width
    y, x = torch.meshgrid(a, a, indexing="ij")
    origins = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3)
    return Rays(origins, origins.new_tensor([0.0, 0.0, -1.0]).expand_as(origins))
