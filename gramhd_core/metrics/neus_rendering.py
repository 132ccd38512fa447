"""What a field looks like along rays: samples, weights, colours where they weigh something, background behind.

R rays, K samples along each; distances t in radii of the region of interest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.metrics.neus_config import NeusConfig
from gramhd_core.metrics.neus_fields import Field, Slopes, contracted
from gramhd_core.metrics.neus_rays import ViewRays, even_samples, outside_samples
from gramhd_core.metrics.neus_weights import resampled, section_alphas, weights_of

PROBE = 64.0  # s of the first round of up-sampling, doubled in every further one


class Rendered(NamedTuple):
    """rgb [R, 3]; t [R]: mean distance of what the ray meets; solid [R]: the weight inside the region; surface
    [P, 3]: points that weigh something; slopes of the SDF there, or None if nobody asked."""

    rgb: Tensor
    t: Tensor
    solid: Tensor
    surface: Tensor
    slopes: Slopes | None


@torch.no_grad()
def samples_along(field: Field, rays: ViewRays, config: NeusConfig, rng: torch.Generator | None) -> Tensor:
    """[R, K] ascending distances: even ones, and in each round more where the surface seems to be."""
    t = even_samples(rays, count=config.coarse, rng=rng)
    sdf = along(field, rays, t)
    kept = [t[:, :: config.every]]
    for i in range(config.rounds):
        weights, _ = weights_of(section_alphas(sdf, PROBE * 2**i))
        fine = resampled(t, weights, count=config.fine, rng=rng)
        kept.append(fine)
        if i + 1 < config.rounds:
            t, order = torch.cat([t, fine], dim=1).sort(dim=1)
            sdf = torch.cat([sdf, along(field, rays, fine)], dim=1).gather(1, order)
    return torch.cat(kept, dim=1).sort(dim=1).values


def along(field: Field, rays: ViewRays, t: Tensor) -> Tensor:
    """Signed distances [R, K] at distances t [R, K]."""
    return field.sdf(rays.at(t).reshape(-1, 3)).reshape(t.shape)


def render(field: Field, rays: ViewRays, config: NeusConfig, *, rng: torch.Generator | None = None) -> Rendered:
    """rng: shakes the samples, for training; without, the same rays are the same colours in any company."""
    t = samples_along(field, rays, config, rng)
    alphas = section_alphas(along(field, rays, t), field.sharpness)
    weights, left = weights_of(alphas * (rays.far > rays.near)[:, None])
    middle = (t[:, 1:] + t[:, :-1]) / 2
    ray, place = (weights.detach() >= config.lightest).nonzero(as_tuple=True)
    points = rays.origins[ray] + middle[ray, place, None] * rays.directions[ray]
    shaded = field.shade(points, rays.directions[ray])
    heavy = weights[ray, place]
    rgb = torch.zeros_like(rays.origins).index_add(0, ray, heavy[:, None] * shaded.rgb)
    behind = (left.detach() >= config.lightest).nonzero()[:, 0]
    backdrop, away = outside_of(field, rays.pick(behind), config, rng)
    rgb = rgb.index_add(0, behind, left[behind, None] * backdrop)
    mean = (weights * middle).sum(dim=1).index_add(0, behind, left[behind] * away)
    return Rendered(rgb, mean, 1 - left, points, shaded.slopes)


def outside_of(field: Field, rays: ViewRays, config: NeusConfig, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Colours [R, 3] and mean distances [R] of what is behind the region; its last section is opaque."""
    t = outside_samples(rays, count=config.outside, rng=rng)
    edges = contracted(rays.at(t))
    length = (edges[:, 1:] - edges[:, :-1]).norm(dim=-1)
    middle = (t[:, 1:] + t[:, :-1]) / 2
    directions = rays.directions[:, None].expand(-1, config.outside, -1).reshape(-1, 3)
    found = field.outside(rays.at(middle).reshape(-1, 3), directions)
    alphas = -torch.expm1(-found.density.reshape(middle.shape) * length)
    weights, _ = weights_of(torch.cat([alphas[:, :-1], torch.ones_like(alphas[:, :1])], dim=1))
    return (weights[..., None] * found.rgb.reshape(*middle.shape, 3)).sum(dim=1), (weights * middle).sum(dim=1)
