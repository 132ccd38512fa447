"""Where rays first cross level sets of a scalar field, and planes.

N items, R rays, L levels, S samples along a ray. Level index 0 is the nearest to the camera (the highest level).
The field decreases away from the camera; only descending crossings count (GRAM: ray intersections).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.geometry.rays import Rays

FLAT = 0.05  # the published root formula is used where the field falls by more than this over one interval


class Hits(NamedTuple):
    """points [N, R, L, 3] in the world; distance [N, R, L] from the ray's origin; valid bool [N, R, L].

    An invalid entry still has a finite point (the end of the search range): networks are evaluated there and
    the result is multiplied by zero.
    """

    points: Tensor
    distance: Tensor
    valid: Tensor


def first_crossings(values: Tensor, positions: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled field [N, R, S] at positions [S] (front to back) -> (position, valid), each [N, R, L], of each level.

    The first interval k with values[k] >= level >= values[k+1] is a crossing; the root is linear inside it.
    Where the field is flat over that interval, or nothing crosses, the position is the interval's far end (the last
    sample if nothing crosses). Gradients flow through the two values of the chosen interval.
    """
    near, far = values[..., :-1], values[..., 1:]
    last = near.shape[-1] - 1
    chosen, valid = [], []
    with torch.no_grad():
        for level in levels:
            crossing = (near >= level) & (far <= level)
            k = crossing.to(torch.uint8).argmax(dim=-1)  # argmax names the first maximum
            hit = crossing.gather(-1, k[..., None])[..., 0]
            chosen.append(torch.where(hit, k, last))
            valid.append(hit)
    k = torch.stack(chosen, dim=-1)
    s0, s1 = values.gather(-1, k), values.gather(-1, k + 1)
    x0, x1 = positions[k], positions[k + 1]
    drop = s1 - s0
    steep = drop.abs() > FLAT
    root = ((s1 - levels) * x0 + (levels - s0) * x1) / torch.where(steep, drop, torch.ones_like(drop))
    found = torch.stack(valid, dim=-1)
    return torch.where(steep & found, root, x1), found


def sphere_hits(rays: Rays, radii: Tensor, centre: tuple[float, float, float], *, slab: float) -> Hits:
    """Entry points of rays into concentric spheres of radii [L], valid where they lie in |z| <= slab.

    Rays that miss get the point of closest approach, moved along the ray to z = -slab (invalid).
    """
    to_centre = rays.origins - rays.origins.new_tensor(centre)
    along = (to_centre * rays.directions).sum(-1, keepdim=True)  # [N, R, 1]
    perpendicular2 = (to_centre * to_centre).sum(-1, keepdim=True) - along * along
    square = radii * radii - perpendicular2  # [N, R, L]
    # of what is missed the root is never used, and that of 0 would have no gradient in the ray
    distance = -along - torch.where(square > 0, square, 1).sqrt()
    z = rays.origins[..., 2:] + distance * rays.directions[..., 2:]
    valid = (square > 0) & (z.abs() <= slab) & (distance > 0)
    distance = torch.where(valid, distance, plane_distance(rays, -slab))
    return Hits(rays.at(distance), distance, valid)


def plane_distance(rays: Rays, z: float) -> Tensor:
    """[N, R, 1] distance along each ray to the plane of constant z (rays are never parallel to it here)."""
    return (z - rays.origins[..., 2:]) / rays.directions[..., 2:]
