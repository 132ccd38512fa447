"""Level sets of a predictor that learns, met through a table: the predictor is searched once per step, not per ray.

N items, R rays, L level sets, H hits. Heights of all level sets are tabulated from a coarse search, without gradients.
A hit on them is moved onto the predictor's own level set and made differentiable by one step of Newton's method each,

    t = t_0 - (s(x(t_0)) - level) / (ds / dt)          dt / dtheta = -(ds / dtheta) / (ds / dt)

which has the implicit derivative of the root (implicit function theorem): an evaluation per hit with gradients, where
`MlpPredictor.hits`, the readable twin, has `samples` of them per ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.geometry.level_sets import Hits
from gramhd_core.geometry.rays import Rays, axis
from gramhd_core.networks.predictors import MlpPredictor
from gramhd_core.scenes.surfaces import FOLDED, HeightFields, Surfaces, crossings

COLUMNS = 64  # side of the table
MARGIN = 0.03  # how far behind the background surfaces are still followed, world units: they end behind it
SEARCHED = 0.004  # spacing of the search along z, about that of 64 samples between 0.88 and 1.12
STRAYED = 0.006  # a hit that moves further than this from its table was not that surface
LEAST_FALL = 1.0  # field units per world unit; 83 is usual. A ray that runs along a surface is not refined


@dataclass(frozen=True, eq=False)
class RefinedSurfaces:
    """A predictor with heights of its level sets as they are now. Hits lie on the predictor's own level sets."""

    predictor: MlpPredictor
    heights: HeightFields

    @property
    def slab(self) -> float:
        """World units."""
        return self.predictor.slab

    def hits(self, rays: Rays) -> Hits:
        """First crossings of every level, differentiable in the predictor's weights. Valid where a dense search between
        `near` and `far` finds one, as long as it is not behind the background."""
        config = self.predictor.config
        with torch.no_grad():
            met = self.heights.hits(rays)
            valid = met.valid & (met.distance >= config.near) & (met.distance <= config.far)
            place = valid.flatten().nonzero()[:, 0]
            ray, level = place // valid.shape[2], place % valid.shape[2]
            start = met.distance.flatten()[place]
            origins, directions = (t.reshape(-1, 3)[ray] for t in rays)
            levels = config.levels(like=start)[level]
            first, fall = self._step(origins, directions, start, levels)
            close = (fall > LEAST_FALL) & ((first - start).abs() <= STRAYED)
        found, fall = self._step(origins, directions, torch.where(close, first, start), levels)
        distance = met.distance.flatten().index_put((place,), torch.where(close, found, start))
        valid = valid.flatten().index_put((place,), close).reshape(valid.shape)
        distance = torch.where(valid, distance.reshape(valid.shape), config.far)
        return Hits(rays.at(distance), distance, valid)

    def _step(self, origins: Tensor, directions: Tensor, start: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [H] after a step from `start`, and how fast the field falls along the ray there (no gradient)."""
        value, rate = self.predictor.along(origins + start[:, None] * directions, directions)
        fall = -rate
        return start + (value - levels) / fall.clamp_min(LEAST_FALL), fall


@torch.no_grad()
def refined(predictor: MlpPredictor, cameras: CameraPrior, *, background_z: float) -> Surfaces:
    """The predictor with a table of its level sets as they are; the predictor itself where they fold.

    The table covers all that cameras of this field of view can see at distances from `near` to `far`, wherever they
    stand, down to a little behind the background.
    """
    config = predictor.config
    like = next(predictor.parameters()).detach()
    aside = config.far * math.tan(math.radians(cameras.fov_degrees) / 2)  # of the line of sight
    reach = max(1 - config.near, config.far - 1)  # along it, from the origin
    half_width = aside + reach / 2  # seen at 30 degrees: sin = 1 / 2
    top, bottom = reach + aside / 2, -(abs(background_z) + MARGIN)
    a = axis(COLUMNS, "endpoints", like=like) * half_width
    y, x = torch.meshgrid(a, a, indexing="ij")
    samples = math.ceil((top - bottom) / SEARCHED)
    found = crossings(predictor, torch.stack([x, y], dim=-1).reshape(-1, 2), (bottom, top), samples=samples)
    share = float((found.count > 1).float().mean())
    if share > FOLDED:
        return predictor
    z = found.z.T.cummin(dim=0).values.reshape(-1, COLUMNS, COLUMNS).contiguous()
    return RefinedSurfaces(predictor, HeightFields(z, half_width, max(top, -bottom), share))
