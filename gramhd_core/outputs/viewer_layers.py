"""A scene as the viewer draws it: every surface a triangle mesh and a cropped 8-bit picture, as JSON.

L surfaces (nearest first) as height fields on G x G points, maps of M x M cells, a mesh of n x n square cells over
|x|, |y| <= reach, each cut from its corner with the smallest x and y to the one with the largest. Rows run with y
ascending, also in the pictures. Binary data is base64: heights are little-endian uint16 between the two numbers of
`range`, masks of cells are packed bits (the first cell is the highest bit), pictures are WebP. Colours and opacities of
a surface are two pictures, for browsers lose colours where a single one is transparent; the colours are lossy, the
opacities exact, and so is the background, on whose slow gradients every step would show.
"""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gramhd_core.errors import BadArgument
from gramhd_core.scenes.manifolds import FADE, RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields

TOLERANCE = 1e-4  # between mesh and surface, world units: an eighth of a pixel of a 512 picture seen at 0.5 rad
SIDES = (8, 12, 16, 24, 32, 48, 64, 96)  # cells along a mesh; the first that keeps to the tolerance is taken
FINE = 192  # points along a side where that is checked
COLOUR_QUALITY = 90  # of WebP, 0 to 100
TRUE_RING = 2  # cells around visible ones that keep their colours, because look-ups between cells mix them in
GUTTER = 2  # cells around the visible part of a map that stay in its picture


class Mesh(NamedTuple):
    """heights: [n + 1, n + 1] world z of the corners; cells: bool [n, n], true where something can be seen."""

    heights: Tensor
    cells: np.ndarray


def identity_document(scene: RadianceManifolds, *, size: int) -> dict[str, Any]:
    """One identity of a baked scene for the page; maps of more than `size` cells along a side are averaged down."""
    surfaces = scene.surfaces
    assert isinstance(surfaces, HeightFields) and len(scene.maps) == 1, "a baked scene of one identity is needed"
    z = surfaces.z.detach().float().cpu()
    maps, background = (t[0].detach().float().cpu() for t in (scene.maps, scene.background))
    if not all(bool(t.isfinite().all()) for t in (z, maps, background)):
        raise BadArgument(
            "the scene holds numbers that are not finite",
            expected="only finite ones can be shown",
            remedy="make it again from a checkpoint whose training did not diverge",
        )
    maps, side = reduced(maps, size), min(size, maps.shape[-1])
    cut = scene.convention.edge == "cut"
    reach = scene.half_width * (1 + 1 / side if cut else 1)
    lowest = max(-surfaces.slab, scene.background_z)
    extents = reach / surfaces.half_width, reach / scene.half_width
    layers = []
    for surface, picture in zip(z, maps, strict=True):
        alpha = levels(picture[3]) * reachable(surface, side, scene.half_width / surfaces.half_width, lowest=lowest)
        mesh = mesh_of(surface, alpha > 0, extents=extents, lowest=lowest)
        layers.append(_mesh_document(mesh) | {"picture": _picture_document(picture[:3], alpha)})
    return {
        "halfWidth": scene.half_width,
        "reach": reach,
        "backgroundZ": scene.background_z,
        "heightRange": [lowest, surfaces.slab],
        "fade": 0 if cut else FADE,
        "mapSide": side,
        "background": webp(levels(reduced(background, size)).transpose(1, 2, 0), quality=None),
        "surfaces": layers,
    }


def mesh_of(z: Tensor, visible: np.ndarray, *, extents: tuple[float, float], lowest: float) -> Mesh:
    """The coarsest mesh that stays within `TOLERANCE` of a surface wherever something can be seen on it.

    z [G, G]; visible: bool [M, M], the cells of its map; extents: reach of the mesh, in half-widths of z and of the
    map; lowest: the world z below which the surface is not seen.
    """
    truth = heights_at(z, FINE, extents[0])
    for side in SIDES:
        heights, repeat = balanced(heights_at(z, side, extents[0]), truth), FINE // side
        above = F.max_pool2d(heights[None], 2, stride=1)[0] > lowest
        cells = visible_cells(visible, side, extents[1]) & above.numpy()
        error = (triangulated(heights, FINE) - truth).abs()[:-1, :-1]
        seen = torch.from_numpy(cells).repeat_interleave(repeat, 0).repeat_interleave(repeat, 1)
        if side == SIDES[-1] or float((error * (seen & (truth[:-1, :-1] > lowest))).max()) <= TOLERANCE:
            return Mesh(heights, cells)
    raise AssertionError("SIDES is not empty")


def heights_at(z: Tensor, side: int, extent: float) -> Tensor:
    """Bilinear heights [side + 1, side + 1] of z [G, G] over [-extent, extent]^2 in units of its half-width."""
    a = torch.linspace(-extent, extent, side + 1)
    y, x = torch.meshgrid(a, a, indexing="ij")
    found = F.grid_sample(z[None, None], torch.stack([x, y], -1)[None], padding_mode="border", align_corners=True)
    return found[0, 0]


def balanced(heights: Tensor, truth: Tensor) -> Tensor:
    """The corners of a mesh moved so that it lies on both sides of the surface `truth`: half the largest error."""
    side, fine = len(heights) - 1, len(truth) - 1
    error = (truth - triangulated(heights, fine))[:-1, :-1]
    cells = F.avg_pool2d(error[None, None], fine // side)
    corners = F.avg_pool2d(F.pad(cells, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
    return heights + 0.75 * corners[0, 0]


def triangulated(heights: Tensor, side: int) -> Tensor:
    """The mesh with corners [n + 1, n + 1], two triangles per cell, at [side + 1, side + 1] points."""
    n = len(heights) - 1
    a = torch.arange(side + 1) * (n / side)
    cell = a.long().clamp_max(n - 1)
    y, x = torch.meshgrid(a - cell, a - cell, indexing="ij")  # within the cell
    row, column = torch.meshgrid(cell, cell, indexing="ij")
    start, end = heights[row, column], heights[row + 1, column + 1]
    below, above = heights[row, column + 1], heights[row + 1, column]
    return torch.where(
        x >= y, start + x * (below - start) + y * (end - below), start + y * (above - start) + x * (end - above)
    )


def visible_cells(visible: np.ndarray, side: int, extent: float) -> np.ndarray:
    """bool [M, M], a map over [-1, 1]^2 => bool [side, side]: the cells of [-extent, extent]^2 its look-ups reach."""
    m = len(visible)
    total = np.pad(visible.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    edges = (np.linspace(-extent, extent, side + 1) + 1) / 2 * m - 0.5  # in map cells, whole numbers at their centres
    first = np.clip(np.floor(edges[:-1]), 0, m - 1).astype(int)
    last = np.clip(np.ceil(edges[1:]) + 1, 1, m).astype(int)
    count = total[last][:, last] - total[first][:, last] - total[last][:, first] + total[first][:, first]
    return count > 0


def reachable(z: Tensor, side: int, extent: float, *, lowest: float) -> np.ndarray:
    """bool [side, side]: cells of a map over [-extent, extent]^2, in half-widths of z [G, G], whose surface is above
    `lowest`, and their neighbours."""
    centres = F.avg_pool2d(heights_at(z, side, extent)[None], 2, stride=1)
    return (F.max_pool2d(centres, 3, stride=1, padding=1)[0] > lowest).numpy()


def reduced(maps: Tensor, size: int) -> Tensor:
    """[..., C, M, M] averaged down to at most `size` cells along a side; a fourth channel weighs the colours."""
    if maps.shape[-1] <= size:
        return maps
    weighted = maps
    if maps.shape[-3] == 4:
        weighted = torch.cat([maps[..., :3, :, :] * maps[..., 3:, :, :], maps], dim=-3)
    flat = weighted.reshape(-1, *weighted.shape[-3:])
    small = F.interpolate(flat, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    small = small.reshape(*weighted.shape[:-2], size, size)
    if maps.shape[-3] != 4:
        return small
    colour, plain, alpha = small[..., :3, :, :], small[..., 3:6, :, :], small[..., 6:, :, :]
    return torch.cat([torch.where(alpha > 1e-4, colour / alpha.clamp_min(1e-4), plain), alpha], dim=-3)


def filled(colour: Tensor, known: Tensor) -> Tensor:
    """colour [1, 3, H, W] with what is not `known` (bool [1, 1, H, W]) taken smoothly from what is around it."""
    if bool(known.all()) or max(colour.shape[-2:]) == 1:
        return torch.where(known, colour, 0.5)
    weight = F.avg_pool2d(known.float(), 2, ceil_mode=True)
    coarse = F.avg_pool2d(colour * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = filled(coarse, weight > 0)
    around = F.interpolate(coarse, size=colour.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, colour, around)


def levels(values: Tensor) -> np.ndarray:
    """float in [0, 1], clipped => uint8, rounded."""
    return (values * 255).round().clamp(0, 255).byte().numpy()


def webp(picture: np.ndarray, *, quality: int | None) -> str:
    """uint8 [H, W] or [H, W, 3] as base64 WebP; quality 0 to 100, or None for an exact one."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"lossless": True, "quality": 60} if quality is None else {"quality": quality}
    Image.fromarray(np.ascontiguousarray(picture)).convert("RGB").save(stream, "WEBP", method=4, **options)
    return text64(stream.getvalue())


def text64(data: bytes) -> str:
    """base64 in ASCII."""
    return base64.b64encode(data).decode("ascii")


def _mesh_document(mesh: Mesh) -> dict[str, Any]:
    low, high = float(mesh.heights.min()), float(mesh.heights.max())
    steps = (mesh.heights.double() - low) * (65535 / max(high - low, 1e-9))
    return {
        "side": len(mesh.cells),
        "range": [low, high],
        "heights": text64(steps.round().numpy().astype("<u2").tobytes()),
        "cells": text64(np.packbits(mesh.cells).tobytes()),
    }


def _picture_document(colour: Tensor, alpha: np.ndarray) -> dict[str, Any] | None:
    """The part of a map that can be seen, colour [3, M, M] and alpha uint8 [M, M]: x, y, width, height in cells of the
    map; None if nothing can."""
    visible = alpha > 0
    if not visible.any():
        return None
    (top, bottom), (left, right) = (
        (max(0, int(found[0]) - GUTTER), min(len(visible), int(found[-1]) + 1 + GUTTER))
        for found in (np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0)))
    )
    part = np.s_[top:bottom, left:right]
    near = torch.from_numpy(visible[part]).float()[None, None]
    known = F.max_pool2d(near, 2 * TRUE_RING + 1, stride=1, padding=TRUE_RING) > 0
    full = filled(colour[None, :, top:bottom, left:right].clamp(0, 1), known)[0]
    return {
        "x": left,
        "y": top,
        "width": right - left,
        "height": bottom - top,
        "colour": webp(levels(full).transpose(1, 2, 0), quality=COLOUR_QUALITY),
        "opacity": webp(alpha[part], quality=None),
    }
