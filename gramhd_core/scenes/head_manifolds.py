"""A procedural head as radiance manifolds: a scene like a trained one, whose true surface is known exactly.

L level sets, M = map side; world units unless a name says u (see `gramhd_core.data.head_shapes`). The surfaces are the
spheres that the published predictor starts from. Between two surfaces the head's skin is placed by alpha: a cell just
outside it is opaque in part, by how close it is, and the cell behind it wholly, so that along a ray the
accumulated opacity passes 1/2 where the ray truly meets the head.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gramhd_core.data import head_shading, head_shapes
from gramhd_core.data.head_anatomy import shape_of
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.networks.predictors import SLOPE, ManifoldsConfig
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import background_point

HALF_WIDTH = 0.14  # of the maps, as new trainings have it
MARGIN = 1.05  # tabulated surfaces reach a little further than maps
GRID = 256  # side of the tables
STEEPEST = 0.2  # smallest cosine between a surface's normal and the ray for which alpha is made
REACH = 1.1  # how far before the skin cells have a colour, in distances between two surfaces
DEPTH = 1.5 * REACH  # how far below it they are opaque
EDGE_ON = 0.4  # cosine under which what is thin is not made thicker
EYE = (0.0, 0.0, 1.0)  # where colours are seen from: the frontal camera


def head_manifolds(identity: HeadIdentity, *, levels: int = 24, size: int = 1024) -> RadianceManifolds:
    """The head of `identity` on `levels` surfaces (two or more) with maps [1, levels, 4, size, size].

    Two seconds at size 256, twenty to thirty at 1024, on one core.
    """
    assert levels >= 2 and size >= 2
    surfaces = shells(levels)
    shape = shape_of(identity)
    paint = head_shading.paint_of(identity, shape)
    axis = (2 * np.arange(size) + 1) / size - 1
    y, x = np.meshgrid(HALF_WIDTH * axis, HALF_WIDTH * axis, indexing="ij")
    z = _heights(levels, torch.from_numpy(np.hypot(x, y))).numpy()  # [L, M, M]
    gap = np.abs(np.diff(z, axis=0, prepend=2 * z[:1] - z[1:2]))
    maps = np.zeros((levels, 4, size, size), np.float32)
    for level in range(levels):
        points = np.stack([x, y, z[level]], axis=-1).reshape(-1, 3)
        rgba = _paint_shell(shape, paint, points, gap[level].reshape(-1))
        maps[level] = rgba.T.reshape(4, size, size)
    config = ManifoldsConfig()
    return RadianceManifolds(
        surfaces,
        torch.from_numpy(maps)[None],
        torch.from_numpy(_background(paint, axis))[None],
        HALF_WIDTH,
        config.background_z,
    )


def shells(levels: int) -> HeightFields:
    """The published spheres (centre (0, 0, -0.18), radii 0.276 to 0.096) as height fields, nearest first."""
    a = torch.linspace(-1, 1, GRID, dtype=torch.float64) * (MARGIN * HALF_WIDTH)
    r = torch.hypot(a[:, None], a[None])
    return HeightFields(_heights(levels, r).float(), MARGIN * HALF_WIDTH, ManifoldsConfig().box)


def _heights(levels: int, r: Tensor) -> Tensor:
    """z [L, *] of every sphere at distance r [*] from the axis; where it is steeper than 45 degrees, its tangent cone:
    so every camera of the training range meets every surface once."""
    c = ManifoldsConfig()
    centre = c.box * c.centre[2]
    radii = torch.linspace(c.level_near, c.level_far, levels, dtype=r.dtype) * (c.box / SLOPE)
    radii = radii.reshape(-1, *[1] * r.ndim)
    edge = radii / math.sqrt(2)
    return centre + (radii * radii - torch.minimum(r, edge) ** 2).sqrt() - (r - edge).clamp_min(0)


def _paint_shell(shape: np.record, paint: np.record, points: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Cells [P, 3] of one surface, `gap` [P] behind the one in front: [P, 4] straight colours and alpha.

    Where the frontal camera sees the skin, alpha falls from 1 to 0 over one gap in front of it; elsewhere (the sides,
    under the chin) over a part of that, because there rays pass many surfaces on the way through little air.
    """
    places, surfaces = points / WORLD_PER_U, np.zeros((len(points), 5))
    depths = np.empty((len(points), 2))
    eye = np.array(EYE) / WORLD_PER_U
    head_shapes.settle(shape, places, eye, REACH * gap / WORLD_PER_U, depths, surfaces)
    distance, behind = depths.T * WORLD_PER_U
    toward = np.array(EYE) - points
    facing = (surfaces[:, 1:4] * toward).sum(axis=1) > EDGE_ON * np.linalg.norm(toward, axis=1)
    inside = (np.abs(behind) < DEPTH * gap) & ((behind < 0) | (distance < 0) | facing)  # not the air behind an ear
    alpha = np.where(inside, np.clip(1 + behind / gap, 0, 1), 0)
    around = np.abs(distance) < DEPTH * gap
    alpha = np.maximum(alpha, np.where(around, np.clip(1 - distance / (STEEPEST * gap), 0, 1), 0))
    rgba = np.zeros((len(points), 4), np.float32)
    near = surfaces[:, 0] != head_shapes.BACKGROUND  # empty neighbours of a cell need its colour for interpolation
    rgba[near, :3] = _colours(paint, places[near], surfaces[near])
    rgba[:, 3] = alpha
    return rgba


def _colours(paint: np.record, places: np.ndarray, surfaces: np.ndarray) -> np.ndarray:
    """[P, 3] in [0, 1] of surface points in u, by the painter of the data set (which wants a square picture)."""
    side = math.ceil(math.sqrt(max(len(places), 1)))
    rest = side * side - len(places)
    picture = np.empty((side, side, 3), np.uint8)
    head_shading.shade(
        paint,
        np.pad(places, ((0, rest), (0, 0))).reshape(side, side, 3),
        np.pad(surfaces, ((0, rest), (0, 0))).reshape(side, side, 5),
        picture,
    )
    return picture.reshape(-1, 3)[: len(places)].astype(np.float32) / 255


def _background(paint: np.record, axis: np.ndarray) -> np.ndarray:
    """[3, M, M] the wall behind the head, over `background_point` coordinates."""
    size = len(axis)
    v = background_point(torch.from_numpy(axis), HALF_WIDTH).numpy() / WORLD_PER_U
    places = np.zeros((size, size, 3))
    places[..., 1] = v[:, None]
    colours = _colours(paint, places.reshape(-1, 3), np.zeros((size * size, 5)))
    return np.ascontiguousarray(colours.T).reshape(3, size, size)
