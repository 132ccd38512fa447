"""What a fit learns, as tables: signed distance, colour, and what is outside the region of interest.

P points, in radii of the region (the unit sphere). `TableField` is the quick one; `neus_networks.py` has the
published one. Both are a `Field`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.metrics.neus_tables import Tables

SPHERE = 0.5  # radius of the sphere that the published SDF network is at first
BALL = 0.7  # and that tables are: what has to shrink is found sooner than what has to grow, like necks and shoulders
FORM, TEXTURE = 2.0, 4.0  # all levels of the SDF are in use after a half, those of colour after a quarter
SHARPEN = 0.1  # multiple of the learning rate of tables: of the exponent of s, and of networks


class Slopes(NamedTuple):
    """gradient [P, 3]; bend [P], the Laplacian times the step it was taken with, or None."""

    gradient: Tensor
    bend: Tensor | None


class Shaded(NamedTuple):
    """rgb [P, 3] in [0, 1]; slopes of the SDF there if they were needed for it, or None."""

    rgb: Tensor
    slopes: Slopes | None


class Outside(NamedTuple):
    """density [P] per unit of contracted length, rgb [P, 3] in [0, 1]."""

    density: Tensor
    rgb: Tensor


class Field(Protocol):
    """The learned parts."""

    def sdf(self, points: Tensor) -> Tensor:
        """[P, 3] -> [P], negative inside."""
        ...

    def slopes(self, points: Tensor) -> Slopes:
        """Of the SDF at points [P, 3]."""
        ...

    def shade(self, points: Tensor, directions: Tensor) -> Shaded:
        """Colours at points seen along unit directions [P, 3]."""
        ...

    def outside(self, points: Tensor, directions: Tensor) -> Outside:
        """What is behind the region, at points of any distance."""
        ...

    def reach(self, share: float) -> None:
        """Coarse to fine: `share` of the training is done."""
        ...

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """All parameters, in groups, with the multiple of the learning rate at which each learns."""
        ...

    @property
    def sharpness(self) -> Tensor:
        """The learned s of Phi_s, a scalar."""
        ...


class Sharpness(nn.Module):
    """s = exp(10 v), v learned."""

    def __init__(self, start: float):
        super().__init__()
        self.v = nn.Parameter(torch.tensor(math.log(start) / 10))

    def forward(self) -> Tensor:
        return (10 * self.v).exp().clamp(1e-3, 1e5)


def contracted(points: Tensor) -> Tensor:
    """All of space into the ball of radius 2 (mip-NeRF-360: contraction); the unit ball stays as it is."""
    away = points.norm(dim=-1, keepdim=True).clamp(min=1)
    return (2 - 1 / away) * points / away


class TableField(nn.Module):
    """f(x) = |x| - `BALL` + a sum of tables; colour, the sigmoid of such a sum; no network at all.

    size: pixels per side of the views, to which the finest levels belong. view_dependence: a small network that sees
    direction and normal adds to the colour.
    """

    def __init__(
        self, *, size: int, sharpness: float, view_dependence: bool, rng: torch.Generator, compiled: bool = True
    ):
        super().__init__()
        finest = 1.25 * size  # cells: about a pixel
        most = 2 ** math.ceil(math.log2(20 * finest**2))  # corners near a surface, several times over
        levels = [max(2, round(finest / n)) for n in (8, 4, 2, 1)]
        self.distances = Tables(levels, features=1, by_cell=True, most=most, compiled=compiled)
        self.colours = Tables(levels[1:], features=3, most=most, compiled=compiled)
        self.surroundings = Tables(levels[:3], features=4, most=most, compiled=compiled)
        self.learned_sharpness = Sharpness(sharpness)
        self.directions = _small_network(9, 32, 3, rng) if view_dependence else None

    def sdf(self, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - BALL + self.distances(points)[:, 0]

    def slopes(self, points: Tensor) -> Slopes:
        """Central differences over two cells of the finest level in use, so that neighbouring cells learn together."""
        step = 2 / self.distances.finest
        offsets = step * torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3)]).to(points)
        around = self.sdf((points[None] + offsets[:, None]).reshape(-1, 3)).reshape(7, -1)
        bend = (around[:6].sum(dim=0) - 6 * around[6]) / step
        return Slopes(((around[:3] - around[3:6]) / (2 * step)).T, bend)

    def shade(self, points: Tensor, directions: Tensor) -> Shaded:
        paint = self.colours(points)
        if self.directions is None:
            return Shaded(paint.sigmoid(), None)
        slopes = self.slopes(points)
        normal = F.normalize(slopes.gradient, dim=-1)
        return Shaded((paint + self.directions(torch.cat([paint, normal, directions], dim=-1))).sigmoid(), slopes)

    def outside(self, points: Tensor, directions: Tensor) -> Outside:
        found = self.surroundings(contracted(points) / 2)
        return Outside(F.softplus(found[:, 0]), found[:, 1:].sigmoid())

    def reach(self, share: float) -> None:
        self.distances.reach(min(1.0, FORM * share))
        self.colours.reach(min(1.0, TEXTURE * share))

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        parts = [self.distances, self.colours, self.surroundings]
        groups = [(1.0, [part.table for part in parts]), (SHARPEN, [self.learned_sharpness.v])]
        return groups if self.directions is None else [*groups, (SHARPEN, list(self.directions.parameters()))]

    @property
    def sharpness(self) -> Tensor:
        return self.learned_sharpness()


def _small_network(inside: int, width: int, outside: int, rng: torch.Generator) -> nn.Sequential:
    """Two layers, the last of them zero at first."""
    first, last = nn.Linear(inside, width), nn.Linear(width, outside)
    with torch.no_grad():
        first.weight.copy_(torch.randn(first.weight.shape, generator=rng) * math.sqrt(2 / inside))
        first.bias.zero_()
        last.weight.zero_()
        last.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), last)
