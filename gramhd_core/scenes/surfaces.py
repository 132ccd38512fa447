"""Radiance manifolds as surfaces: where camera rays meet them.

N cameras, R rays, L level sets (nearest first), G x G height grid. Every kind answers `hits(rays) -> Hits`:
`SpherePredictor` and `MlpPredictor` (networks/predictors.py) exactly or by sampling the predictor along each ray;
`HeightFields` from z_l(x, y), tabulated once: no network per view.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.geometry.level_sets import Hits, plane_distance
from gramhd_core.geometry.rays import Rays, orthographic_rays
from gramhd_core.networks.predictors import MlpPredictor

BEHIND = 0.06  # how far behind the slab surfaces are still followed, world units


class Surfaces(Protocol):
    """Anything that rays can hit."""

    def hits(self, rays: Rays) -> Hits:
        """First crossings of every level set."""
        ...


class HeightFields(NamedTuple):
    """z_l(x, y) of every level set on a regular grid (end points included) over |x|, |y| <= half_width.

    tables [L, 3, G, G]: world z, dz/dx, dz/dy; row index along +y. Valid hits lie in the slab
    |z| <= slab.
    """

    tables: Tensor
    half_width: float
    slab: float
    steps: int = 3

    def hits(self, rays: Rays) -> Hits:
        """Ray hits by Newton steps on z(t) = z_l(x(t), y(t)), bilinear tables."""
        distance = self.fast_distance(rays) if self._compiled(rays) else self.distance(rays)
        points = rays.at(distance)
        inside = points[..., :2].abs().amax(dim=-1) <= self.half_width
        valid = inside & (points[..., 2] > -self.slab) & (points[..., 2] <= self.slab)
        end = plane_distance(rays, -self.slab)
        return Hits(torch.where(valid[..., None], points, rays.at(end)), torch.where(valid, distance, end), valid)

    def distance(self, rays: Rays) -> Tensor:
        """[N, R, L] distances after `steps` Newton steps: readable and differentiable."""
        middle = self.tables.shape[-1] // 2
        start = self.tables[:, 0, middle, middle]
        distance = (start - rays.origins[..., 2:]) / rays.directions[..., 2:]
        for _ in range(self.steps):
            distance = self._newton(rays, distance)
        return distance

    def fast_distance(self, rays: Rays) -> Tensor:
        """The same by the compiled twin: CPU, float32, no gradients."""
        from gramhd_core.scenes.fast_cpu import newton_distances  # numba takes a second to import

        flat = [t.contiguous().reshape(-1, 3).numpy() for t in rays]
        found = newton_distances(self.tables.numpy(), flat[0], flat[1], self.half_width, self.steps)
        return torch.from_numpy(found).reshape(*rays.directions.shape[:2], -1)

    def _compiled(self, rays: Rays) -> bool:
        plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (self.tables, *rays))
        tracked = torch.is_grad_enabled() and any(t.requires_grad for t in (self.tables, *rays))
        return plain and not tracked

    def _newton(self, rays: Rays, distance: Tensor) -> Tensor:
        points = rays.at(distance)
        grid = (points[..., :2] * (1 / self.half_width)).permute(2, 0, 1, 3)  # [L, N, R, 2]
        found = F.grid_sample(self.tables, grid.clamp(-1, 1), mode="bilinear", padding_mode="zeros", align_corners=True)
        z, slope_x, slope_y = found.permute(1, 2, 3, 0)  # each [N, R, L]
        d = rays.directions[:, :, None]
        rate = d[..., 2] - slope_x * d[..., 0] - slope_y * d[..., 1]  # d (z(t) - z_l) / d t, about -1
        return distance - (points[..., 2] - z) / rate.clamp_max(-0.25)


def tabulate(predictor: MlpPredictor, *, half_width: float, size: int, like: Tensor) -> HeightFields:
    """Height fields of a predictor's level sets, found along -z as gridding does (no gradients).

    The search goes on behind the slab, so that surfaces leave it without a kink.
    """
    slab = predictor.config.box
    with torch.no_grad():
        rays = orthographic_rays(size, half_width, sampling="endpoints", like=like)
        points = predictor.hits(rays, beyond=BEHIND).points
        z = points[0, :, :, 2].T.reshape(-1, size, size)
        slope_y, slope_x = torch.gradient(z, spacing=2 * half_width / (size - 1), dim=(1, 2))
    return HeightFields(torch.stack([z, slope_x, slope_y], dim=1).contiguous(), half_width, slab)
