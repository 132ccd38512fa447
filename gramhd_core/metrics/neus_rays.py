"""Views as rays through the unit sphere, and where samples lie on them.

R rays, K samples along each; distances t in radii of the region of interest. That region is a sphere around the head:
where a camera sees half a width h at the head, its radius is `RADIUS` h and its centre `FORWARD` h from the origin
towards the mean camera. For the published cameras, which see h = 0.105 world units, the sphere ends where the plane
behind the head begins, z = -0.12: the plane is left to the background, which is what is outside.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.neus_weights import jitter

RADIUS, FORWARD = 1.285, 0.143  # half widths that a camera sees: 0.135 and 0.015 world units for published cameras


class Region(NamedTuple):
    """centre [3] and radius of the region of interest, world units."""

    centre: Tensor
    radius: float


class ViewRays(NamedTuple):
    """origins, directions [R, 3], directions of length one; near, far [R]: where the unit sphere is entered and left,
    both the place closest to its centre for rays that miss it."""

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor

    def pick(self, index: Tensor | slice) -> ViewRays:
        """The rays at these places."""
        return ViewRays(self.origins[index], self.directions[index], self.near[index], self.far[index])

    def at(self, t: Tensor) -> Tensor:
        """Points [R, K, 3] at distances [R, K]."""
        return self.origins[:, None] + t[..., None] * self.directions[:, None]


def region_of(cameras: Camera) -> Region:
    """The sphere that shows the head, of cameras at distance 1 that look at the origin."""
    half = math.tan(math.radians(float(cameras.fov_degrees.mean())) / 2)
    mean = cameras.position.mean(dim=0)
    return Region(FORWARD * half * mean / mean.norm().clamp(min=1e-6), RADIUS * half)


def rays_of(cameras: Camera, region: Region) -> ViewRays:
    """One ray per pixel, views one after the other, rows from the top."""
    rays = camera_rays(cameras)
    origins = ((rays.origins - region.centre) / region.radius).reshape(-1, 3)
    directions = rays.directions.reshape(-1, 3)
    middle = -(origins * directions).sum(dim=-1)  # t of the place closest to the centre
    gap = (origins + middle[:, None] * directions).square().sum(dim=-1)
    half = (1 - gap).clamp(min=0).sqrt()
    return ViewRays(origins, directions, (middle - half).clamp(min=0), (middle + half).clamp(min=0))


def even_samples(rays: ViewRays, *, count: int, rng: torch.Generator | None) -> Tensor:
    """[R, count] ascending distances from near to far, one in each of `count` equal parts of the way."""
    part = torch.arange(count, device=rays.near.device) + jitter((len(rays.near), count), rng, like=rays.near)
    return rays.near[:, None] + part / count * (rays.far - rays.near)[:, None]


def outside_samples(rays: ViewRays, *, count: int, rng: torch.Generator | None) -> Tensor:
    """[R, count + 1] ascending distances behind the unit sphere, even in 1 / |x| (NeRF++, Zhang et al. 2020): the
    edges of `count` sections, the first where the sphere is left."""
    part = (
        torch.arange(count + 1, device=rays.far.device) + jitter((len(rays.far), count + 1), rng, like=rays.far) - 0.5
    )
    share = (part / (count + 0.5)).clamp(0, 1)
    share = torch.cat([torch.zeros_like(share[:, :1]), share[:, 1:]], dim=1)
    first = rays.at(rays.far[:, None])[:, 0].norm(dim=-1).clamp(min=1)  # 1 unless the ray misses the sphere
    radius = first[:, None] / (1 - share).clamp(min=1e-3)
    middle = -(rays.origins * rays.directions).sum(dim=-1)
    gap = (rays.origins + middle[:, None] * rays.directions).square().sum(dim=-1)
    t = middle[:, None] + (radius.square() - gap[:, None]).clamp(min=0).sqrt()
    return torch.maximum(t, rays.far[:, None])
