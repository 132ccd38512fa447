"""FieldManifolds: surfaces whose colours are asked of a field, one network pass per view. What stage 1 trains on.

N identities, K cameras, R rays, L level sets. Colours inside a scene are in about [0, 1]; a Rendering is in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.compositing import FrontToBack
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import Surfaces
from gramhd_core.scenes.views import Layer, RenderConvention, View, chunks, intersect, look, rendering

CHUNK_POINTS = 1 << 15  # points a field is asked for at once when no gradient is recorded
FAR_DELTA = 1e10  # published thickness of whatever comes last along a ray


@dataclass(frozen=True)
class FieldManifolds:
    """Surfaces whose colours are asked of a field for every ray (GRAM: rendering).

    field(points [N, P, 3], directions [N, P, 3]) -> (rgb [N, P, 3], sigma [N, P]); one network pass per view.
    """

    surfaces: Surfaces
    field: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    identities: int
    levels: int
    delta: float = 0.04
    background_z: float = -0.12
    convention: RenderConvention = RenderConvention()

    def density(self, points: Tensor) -> Tensor:
        """Points [N, P, 3] -> sigma [N, P, 1]; on a manifold, alpha = 1 - exp(-delta sigma)."""
        along = points.new_tensor([0.0, 0.0, -1.0]).expand_as(points)
        return self.field(points, along)[1][..., None]

    def render(self, camera: Camera) -> Rendering:
        """K cameras of one identity, or N cameras of N identities."""
        n = self.identities
        assert n in (1, len(camera)), f"{n} identities cannot be seen by {len(camera)} cameras"
        rays = Rays(*(t.reshape(n, -1, 3) for t in camera_rays(camera, sampling=self.convention.pixel_sampling)))
        step = max(1, CHUNK_POINTS // (self.levels + 1))
        pictures = [self._picture(part) for part in chunks(rays.slice, rays.origins.shape[1], step)]
        joined = pictures[0] if len(pictures) == 1 else FrontToBack.joined(pictures)
        return rendering(joined, camera, depth=self.convention.depth)

    def _picture(self, rays: Rays) -> FrontToBack:
        view = intersect(rays, self.surfaces, background_z=self.background_z)
        points = torch.cat([view.hits.points, view.backdrop[:, :, None]], dim=2)  # [N, R, L + 1, 3]
        directions = rays.directions[:, :, None].expand_as(points)
        rgb, sigma = self.field(points.flatten(1, 2), directions.flatten(1, 2))
        rgb, sigma = rgb.reshape(points.shape), sigma.reshape(points.shape[:3])
        if not self.convention.opaque_background:
            return self._published(view, rgb, sigma)
        alpha = 1 - torch.exp(-self.delta * sigma)
        return look(view, lambda level: Layer(rgb[:, :, level], alpha[:, :, level]), rgb[:, :, -1])

    def _published(self, view: View, rgb: Tensor, sigma: Tensor) -> FrontToBack:
        """Sorted with the background; delta is 1e10 for the background and for the last entry after sorting."""
        distance = torch.cat([view.hits.distance, view.backdrop_distance[..., None]], dim=-1)
        valid = torch.cat([view.hits.valid, torch.ones_like(view.hits.valid[..., :1])], dim=-1)
        order = distance.argsort(dim=-1, stable=True)
        backdrop = order == distance.shape[-1] - 1
        delta = torch.where(backdrop, FAR_DELTA, self.delta)
        delta[..., -1] = FAR_DELTA
        sigma, valid, distance = (t.gather(-1, order) for t in (sigma, valid, distance))
        rgb = rgb.gather(2, order[..., None].expand_as(rgb))
        alpha = (1 - torch.exp(-delta * sigma)) * valid
        picture = FrontToBack(alpha.shape[:2], like=alpha)
        for i in range(alpha.shape[-1]):
            picture.add(rgb[:, :, i], alpha[..., i], distance[..., i], background=backdrop[..., i])
        return picture
