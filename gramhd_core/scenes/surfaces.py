"""Radiance manifolds as surfaces: where camera rays meet them.

N cameras, R rays, L level sets (nearest first), G x G height grid. Every kind answers `hits(rays) -> Hits`:
`SpherePredictor` and `MlpPredictor` (networks/predictors.py) exactly or by sampling the predictor along each ray;
`HeightFields` from z_l(x, y), tabulated once: no network per view.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.errors import GramhdWarning
from gramhd_core.geometry.level_sets import Hits, plane_distance
from gramhd_core.geometry.rays import Rays, orthographic_rays
from gramhd_core.networks.predictors import MlpPredictor, SpherePredictor

GRID = 384  # side of tabulated surfaces
BEYOND = 1.05  # tabulated surfaces reach a little further than maps
MARGIN = 0.004  # how far beyond the slab surfaces are still followed, world units
STEPS = 24  # Newton steps or halvings at most; 3 to 5 are usual
CONVERGED = 2e-7  # world units, about the rounding of distances near 1
CLEARANCE = 1e-5  # world units
LEAST_RATE = -0.05  # gradients of hits do not grow beyond 1 / this; d (z(t) - z_l) / dt is about -1
COARSE = 64  # side of the grid on which crossings are searched for; finer nodes start from there
PRECISION = 2e-5  # world units: a node that moved less is done (what is left is some 20 times smaller)
CHORDS = 6  # corrections of a node at most
CHUNK = 2048  # points a predictor is asked for at once: they stay in the cache
SHALLOW = 20.0  # least rise that chord steps divide by, per world unit; about 80 is usual
FOLDED = 1e-3  # share of (node, level) pairs with several crossings above which heights do not stand for the surfaces


class Surfaces(Protocol):
    """Anything that rays can hit. Valid hits lie in |z| <= slab."""

    @property
    def slab(self) -> float:
        """World units."""
        ...

    def hits(self, rays: Rays) -> Hits:
        """First crossings of every level set."""
        ...


def stamp(*tensors: Tensor) -> tuple[tuple[int, int], ...]:
    """Differs when tensors were changed in place or moved. Those made in inference mode keep no count of changes."""
    return tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)


@dataclass(frozen=True, eq=False)
class HeightFields:
    """z_l(x, y) of every level set on a regular grid (end points included) over |x|, |y| <= half_width.

    z [L, G, G], world units, row index along +y; bilinear between the nodes, held at the border beyond them. Valid
    hits lie inside the grid and in the slab |z| <= slab.
    """

    z: Tensor
    half_width: float
    slab: float
    folded: float = 0.0  # share of columns and levels, of the surfaces these heights were made from, met more than once
    _ends: tuple[tuple, tuple[Tensor, Tensor]] | None = field(default=None, init=False, repr=False)

    def hits(self, rays: Rays) -> Hits:
        """Ray hits: the roots of z(t) - z_l(x(t), y(t)). Differentiable in rays and heights."""
        distance = self.fast_distance(rays) if self._compiled(rays) else self.distance(rays)
        points = rays.at(distance)
        inside = points[..., :2].abs().amax(dim=-1) <= self.half_width
        valid = inside & (distance > 0) & (points[..., 2] > -self.slab) & (points[..., 2] <= self.slab)
        end = plane_distance(rays, -self.slab)
        return Hits(torch.where(valid[..., None], points, rays.at(end)), torch.where(valid, distance, end), valid)

    def distance(self, rays: Rays) -> Tensor:
        """[N, R, L] distances, readable and differentiable (through a last step, which is all that matters).

        Newton's method from in front of the whole surface, which finds the first crossing wherever the surface bulges
        towards the ray. Kept between a point above the surface and one below it: a step that leaves this interval, or
        runs along the surface, halves it instead.
        """
        with torch.no_grad():
            above, below = (plane_distances(rays, z) for z in self.ends)
            distance = above
            for _ in range(STEPS):
                gap, rate = self._gap(rays, distance)
                above, below = torch.where(gap > 0, distance, above), torch.where(gap > 0, below, distance)
                step = distance - gap / rate
                trusted = (rate < 0) & (step >= above) & (step <= below)
                last, distance = distance, torch.where(trusted, step, (above + below) / 2)
                if float((distance - last).abs().max()) < CONVERGED:
                    break
        gap, rate = self._gap(rays, distance)
        return distance - gap / rate.clamp_max(LEAST_RATE)

    def fast_distance(self, rays: Rays) -> Tensor:
        """The same by the compiled twin: CPU, float32, no gradients."""
        from gramhd_core.scenes.fast_cpu import newton_distances  # numba takes a second to import

        flat = [t.detach().contiguous().reshape(-1, 3).numpy() for t in rays]
        front, back = (end.numpy() for end in self.ends)
        found = newton_distances(self.z.detach().numpy(), (front, back), flat[0], flat[1], self.half_width)
        return torch.from_numpy(found).reshape(*rays.directions.shape[:2], -1)

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Heights [L] just in front of and just behind each whole surface. Kept as long as the heights are the same."""
        now = stamp(self.z)
        if self._ends is None or self._ends[0] != now:
            z = self.z.detach().flatten(1)
            object.__setattr__(self, "_ends", (now, (z.amax(dim=1) + CLEARANCE, z.amin(dim=1) - CLEARANCE)))
        assert self._ends is not None
        return self._ends[1]

    @property
    def nested(self) -> bool:
        """Whether no surface lies in front of a nearer one: hits along a ray then come in order. Reads all heights."""
        return bool((self.z[:-1] >= self.z[1:]).all())

    def _compiled(self, rays: Rays) -> bool:
        plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (self.z, *rays))
        tracked = torch.is_grad_enabled() and any(t.requires_grad for t in (self.z, *rays))
        return plain and not tracked

    def _gap(self, rays: Rays, distance: Tensor) -> tuple[Tensor, Tensor]:
        """How far rays are above the surfaces (z(t) - z_l), and its derivative in t; each [N, R, L]."""
        points = rays.at(distance)
        z, slope_x, slope_y = self._look_up(points[..., 0], points[..., 1])
        d = rays.directions[:, :, None]
        return points[..., 2] - z, d[..., 2] - slope_x * d[..., 0] - slope_y * d[..., 1]

    def _look_up(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heights and slopes at x, y [N, R, L] of level l = last index: the bilinear patch and its derivatives."""
        size, scale = self.z.shape[-1], (self.z.shape[-1] - 1) / (2 * self.half_width)
        u, v = (((a + self.half_width) * scale).clamp(0, size - 1) for a in (x, y))
        column, row = (a.detach().floor().clamp_max(size - 2) for a in (u, v))
        fu, fv = u - column, v - row
        level = torch.arange(len(self.z), device=x.device)
        corner = (level * size + row.long()) * size + column.long()
        flat = self.z.reshape(-1)
        a, b, c, d = flat[corner], flat[corner + 1], flat[corner + size], flat[corner + size + 1]
        lower, upper = torch.lerp(a, b, fu), torch.lerp(c, d, fu)
        return torch.lerp(lower, upper, fv), torch.lerp(b - a, d - c, fv) * scale, (upper - lower) * scale


def plane_distances(rays: Rays, z: Tensor) -> Tensor:
    """[N, R, L] distances along each ray to planes of constant z [L]."""
    return (z - rays.origins[..., 2:]) / rays.directions[..., 2:]


def tabulate(surfaces: Surfaces, *, half_width: float, like: Tensor, size: int = GRID) -> HeightFields:
    """Height fields of any surfaces under maps of `half_width`: what a ray along -z meets first at every node.

    Surfaces are followed up to `MARGIN` beyond the slab, so that they leave it without a kink. The level sets of an
    `MlpPredictor` are searched for on a coarse grid and then followed to `PRECISION`. Where they fold (a ray along -z
    would meet one several times) heights are the first meeting; `folded` says how common that is.
    """
    half_width, reach, share = BEYOND * half_width, surfaces.slab + MARGIN, 0.0
    with torch.no_grad():
        rays = orthographic_rays(size, half_width, sampling="endpoints", like=like)
        if isinstance(surfaces, MlpPredictor):
            coarse = crossings(surfaces, _nodes(COARSE, half_width, like), reach)
            share = float((coarse.count > 1).float().mean())
            z = _follow(surfaces, coarse, half_width, reach, size)
        elif isinstance(surfaces, SpherePredictor):
            z = surfaces.hits(rays, slab=reach).points[0, :, :, 2].T
        else:
            z = surfaces.hits(rays).points[0, :, :, 2].T
    return HeightFields(z.reshape(-1, size, size).contiguous(), half_width, surfaces.slab, share)


def single_valued(surfaces: Surfaces, *, half_width: float, like: Tensor) -> Surfaces:
    """Height fields where they stand for the surfaces, else (with a warning) the surfaces themselves.

    Those are met by asking the predictor along every ray: right, but slow.
    """
    fields = tabulate(surfaces, half_width=half_width, like=like)
    if fields.folded <= FOLDED:
        return fields
    warnings.warn(
        f"the surfaces of this model fold over ({fields.folded:.1%} of their places hide others from "
        "the front): every view asks the predictor, which is slower",
        GramhdWarning,
        stacklevel=2,
    )
    return surfaces


class Crossings(NamedTuple):
    """First descents of a predictor along -z through P columns, each [P, L]: z, rise towards the viewer per world unit
    (0 where there is no crossing), and how often the level is crossed."""

    z: Tensor
    rise: Tensor
    count: Tensor


def crossings(
    predictor: MlpPredictor, xy: Tensor, reach: float | tuple[float, float], *, samples: int = 128
) -> Crossings:
    """Search bottom <= z <= top (reach; a number: +-reach) at `samples` points per column xy [P, 2]; a level above the
    whole column lies at the top, one that the column never falls to at the bottom."""
    bottom, top = reach if isinstance(reach, tuple) else (-reach, reach)
    heights = torch.linspace(top, bottom, samples, dtype=xy.dtype, device=xy.device)
    columns = torch.cat([xy[:, None].expand(-1, samples, -1), heights[None, :, None].expand(len(xy), -1, 1)], dim=-1)
    values = torch.cat([predictor(part) for part in columns.split(CHUNK // samples)])
    near, far = values[:, :-1], values[:, 1:]
    found = []
    for level in predictor.config.levels(like=xy):
        falls = (near >= level) & (far < level)
        k = falls.to(torch.uint8).argmax(dim=1, keepdim=True)
        s0, s1 = near.gather(1, k)[:, 0], far.gather(1, k)[:, 0]
        count = falls.sum(dim=1)
        drop = torch.where(count > 0, s0 - s1, 1)
        root = torch.lerp(heights[k[:, 0]], heights[k[:, 0] + 1], (s0 - level) / drop)
        missed = torch.where(values[:, 0] < level, top, bottom)
        rise = (count > 0) * drop * ((samples - 1) / (top - bottom))
        found.append((torch.where(count > 0, root, missed), rise, count))
    return Crossings(*(torch.stack(part, dim=1) for part in zip(*found, strict=True)))


def _follow(predictor: MlpPredictor, coarse: Crossings, half_width: float, reach: float, size: int) -> Tensor:
    """[L, P] first crossings of P = size * size columns: interpolated, then chord steps at the nodes that still move;
    columns near folds are searched for themselves."""
    z, rise = (_enlarged(t, size) for t in (coarse.z, coarse.rise))
    xy, levels = _nodes(size, half_width, z), predictor.config.levels(like=z)
    todo = torch.nonzero(z.flatten().abs() < reach)[:, 0]
    for _ in range(CHORDS):
        node, level, here = todo // len(levels), todo % len(levels), z.view(-1)[todo]
        off = _values(predictor, xy[node], here) - levels[level]
        there = (here - off / rise.view(-1)[todo].clamp_min(SHALLOW)).clamp(-reach, reach)
        z.view(-1)[todo] = there
        todo = todo[(there - here).abs() > PRECISION]
    lost = (todo // len(levels)).unique()
    if len(lost):
        z[lost] = crossings(predictor, xy[lost], reach).z
    return z.T.cummin(dim=0).values  # a higher level is met first


def _enlarged(columns: Tensor, size: int) -> Tensor:
    """[COARSE * COARSE, L] -> [size * size, L], bilinear, end points kept."""
    grid = columns.T.reshape(1, -1, COARSE, COARSE)
    grid = F.interpolate(grid, (size, size), mode="bilinear", align_corners=True)
    return grid[0].flatten(1).T.contiguous()


def _values(predictor: MlpPredictor, xy: Tensor, z: Tensor) -> Tensor:
    points = torch.cat([xy, z[:, None]], dim=1)
    return torch.cat([predictor(part) for part in points.split(CHUNK)])


def _nodes(size: int, half_width: float, like: Tensor) -> Tensor:
    """[size * size, 2] x, y of grid nodes, y ascending with the row."""
    return orthographic_rays(size, half_width, sampling="endpoints", like=like).origins[0, :, :2]
