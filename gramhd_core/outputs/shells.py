"""The surfaces of a radiance-manifold scene as textured meshes: what any 3D program can draw.

L surfaces (nearest first), maps of M x M cells, n x n lattice of a mesh over |x|, |y| <= reach. World units. Meshes are
right-triangulated irregular networks: triangles are halved until the surface is met, so flat parts cost little.
Textures are the cut-out visible parts of the maps, 8 bits, straight alpha, packed into atlases with a gutter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from gramhd_core.outputs.viewer_layers import filled, heights_at, levels, reduced
from gramhd_core.scenes.manifolds import FADE, RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import background_point

TOLERANCE = 5e-5  # between mesh and surface: a quarter of a pixel of a 1024 picture seen from the front
LATTICE = 128  # n, a power of two: the finest mesh
COARSEST = 16  # triangles have at least this many to a side, so that what is empty can be left out
GUTTER = 2  # cells around a cut-out that are kept from its neighbours in the atlas
LARGEST = 8192  # side of an atlas: what common graphics drivers take
BACKGROUND_CELLS = 16  # of the background's mesh, along a half side


class TexturedMesh(NamedTuple):
    """vertices [V, 3]; faces [F, 3], anticlockwise seen from the front; uv [V, 2], (0, 0) at the top left of atlas
    number `atlas`; level: 0 is nearest, -1 the background plane."""

    level: int
    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    atlas: int


class Shells(NamedTuple):
    """Meshes, farthest first, so that drawn in their order they composite; atlases uint8 [H, W, 4] (RGB: background).

    Surfaces on which nothing can be seen have no mesh.
    """

    meshes: list[TexturedMesh]
    atlases: list[np.ndarray]


class Cutout(NamedTuple):
    """The part of a map that a mesh shows, upright: uint8 [h, w, 4] with its gutter; left, top: map coordinates (in
    cells, y upwards) of its upper left corner."""

    pixels: np.ndarray
    left: float
    top: float


def shells(
    scene: RadianceManifolds,
    *,
    texture_size: int | None = None,
    background: bool = True,
    tolerance: float = TOLERANCE,
    largest: int = LARGEST,
) -> Shells:
    """Meshes of a baked scene of one identity; maps of more than `texture_size` cells a side are averaged down.

    largest: side of the largest atlas; a single map must fit into it.
    """
    surfaces = scene.surfaces
    assert isinstance(surfaces, HeightFields) and len(scene.maps) == 1, "a baked scene of one identity is needed"
    z = surfaces.z.detach().float().cpu()
    side = min(texture_size or scene.maps.shape[-1], scene.maps.shape[-1], largest - 4 * GUTTER)
    pictures = baked_pictures(scene, z, side=side)
    reach = scene.half_width * (1 + 1 / side if scene.convention.edge == "cut" else 1)
    seen = [level for level in range(len(z)) if pictures[level, ..., 3].any()]
    outlines, cutouts = [], []
    for level in seen:
        heights = heights_at(z[level], LATTICE, reach / surfaces.half_width).numpy()
        xy, faces = triangulate(heights, pictures[level, ..., 3] > 0, reach / scene.half_width, tolerance=tolerance)
        place = (2 * xy / LATTICE - 1) * reach  # world
        cells = (place / scene.half_width + 1) / 2 * side
        outlines.append((np.column_stack([place, heights[xy[:, 1], xy[:, 0]]]), faces, cells))
        cutouts.append(cut_out(pictures[level], cells))
    places, sizes = pack([(c.pixels.shape[1], c.pixels.shape[0]) for c in cutouts], largest=largest)
    atlases = [np.zeros((height, width, 4), np.uint8) for width, height in sizes]
    meshes = []
    for level, outline, cutout, (atlas, left, top) in zip(seen, outlines, cutouts, places, strict=True):
        vertices, faces, cells = outline
        h, w = cutout.pixels.shape[:2]
        atlases[atlas][top : top + h, left : left + w] = cutout.pixels
        pixel = np.stack([cells[:, 0] - cutout.left + left, cutout.top - cells[:, 1] + top], axis=1)
        meshes.append(TexturedMesh(level, vertices, faces, pixel / sizes[atlas], atlas))
    meshes.reverse()
    if background:
        atlases.append(levels(reduced(scene.background[0].detach().float().cpu(), side)).transpose(1, 2, 0)[::-1])
        meshes.insert(0, background_mesh(scene, len(atlases) - 1))
    return Shells(meshes, atlases)


def baked_pictures(scene: RadianceManifolds, z: torch.Tensor, *, side: int) -> np.ndarray:
    """Maps as uint8 [L, side, side, 4], y ascending: straight colours, and alpha with everything that hides in it.

    Where nothing is seen, colours are taken from around, so that filtering between cells does not darken edges. Alpha
    fades at the border as the renderer lets it, and is zero behind slab and background.
    """
    surfaces = scene.surfaces
    assert isinstance(surfaces, HeightFields)
    lowest = max(-surfaces.slab, scene.background_z)
    axis = (2 * torch.arange(side) + 1) / side - 1
    fade = 1.0 if scene.convention.edge == "cut" else ((1 - axis.abs()) / FADE).clamp(0, 1)
    border = torch.minimum(*torch.broadcast_tensors(torch.as_tensor(fade), torch.as_tensor(fade)[..., None]))
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y], -1)[None] * (scene.half_width / surfaces.half_width)
    out = np.empty((len(z), side, side, 4), np.uint8)
    for level in range(len(z)):
        picture = reduced(scene.maps[0, level].detach().float().cpu(), side)
        height = F.grid_sample(z[level][None, None], grid, padding_mode="border", align_corners=True)[0, 0]
        alpha = levels(picture[3] * border * ((height > lowest) & (height <= surfaces.slab)))
        known = torch.from_numpy(alpha > 0)[None, None]
        out[level, ..., :3] = levels(filled(picture[None, :3].clamp(0, 1), known)[0]).transpose(1, 2, 0)
        out[level, ..., 3] = alpha
    return out


def cut_out(picture: np.ndarray, cells: np.ndarray) -> Cutout:
    """The part of a map uint8 [M, M, 4] (y ascending) that a mesh with corners at `cells` [V, 2] shows, upright.

    A gutter goes around it, in which border cells of the map are repeated.
    """
    left, bottom = np.floor(cells.min(axis=0)).astype(int)
    right, top = np.ceil(cells.max(axis=0)).astype(int)
    pad = 2 * GUTTER  # a mesh may reach a little beyond the map
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    rows, columns = (slice(low + pad - GUTTER, high + pad + GUTTER) for low, high in ((bottom, top), (left, right)))
    return Cutout(padded[rows, columns][::-1], float(left - GUTTER), float(top + GUTTER))


def pack(
    rectangles: list[tuple[int, int]], *, largest: int
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Shelves: width, height of each => (atlas, left, top) of each, and (width, height) of every atlas."""
    assert all(max(size) <= largest for size in rectangles)
    area = sum(w * h for w, h in rectangles)
    width = min(largest, max([1, int(np.ceil(np.sqrt(1.1 * area))), *(w for w, _ in rectangles)]))
    places: dict[int, tuple[int, int, int]] = {}
    sizes = [(0, 0)] if rectangles else []
    left = top = shelf = 0
    for index in sorted(range(len(rectangles)), key=lambda i: -rectangles[i][1]):
        w, h = rectangles[index]
        if left + w > width:
            left, top = 0, top + shelf
            shelf = 0
        if top + h > largest:
            sizes.append((0, 0))
            left = top = shelf = 0
        shelf = max(shelf, h)
        places[index] = (len(sizes) - 1, left, top)
        left += w
        sizes[-1] = (max(sizes[-1][0], left), max(sizes[-1][1], top + h))
    return [places[index] for index in range(len(rectangles))], sizes


def triangulate(
    heights: np.ndarray, visible: np.ndarray, extent: float, *, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """The coarsest halving of heights [n + 1, n + 1] that keeps to `tolerance` where something is visible.

    visible: bool [M, M], the map; extent: reach of the heights in half widths of the map. Returns lattice points int
    [V, 2] (column, row) and triangles [F, 3], anticlockwise with rows upwards; triangles on which nothing can be seen
    are left out. Neighbours share whole edges: a point is used by both triangles beside it or by none.
    """
    n = len(heights) - 1
    shown = _Footprint(visible, n, extent)
    generations = [np.array([[[0, 0], [n, n], [n, 0]], [[n, n], [0, 0], [0, n]]])]  # ends of the long side; the corner
    while len(generations) < 2 * int(np.log2(n)):
        generations.append(_halves(generations[-1]))
    error = np.zeros_like(heights)
    for triangles in reversed(generations):
        a, b, _ = np.moveaxis(triangles, 1, 0)
        m = (a + b) // 2
        own = np.abs(heights[m[:, 1], m[:, 0]] - (heights[a[:, 1], a[:, 0]] + heights[b[:, 1], b[:, 0]]) / 2)
        own[(np.abs(a - b).max(axis=1) > n // COARSEST)] = np.inf
        own[~shown.any(triangles)] = 0
        if triangles is not generations[-1]:
            for child in _halves(triangles).reshape(2, -1, 3, 2):
                middle = (child[:, 0] + child[:, 1]) // 2
                own = np.maximum(own, error[middle[:, 1], middle[:, 0]])
        np.maximum.at(error, (m[:, 1], m[:, 0]), own)
    kept, triangles = [], generations[0]
    for _ in generations:
        m = (triangles[:, 0] + triangles[:, 1]) // 2
        split = error[m[:, 1], m[:, 0]] > tolerance
        kept.append(triangles[~split])
        triangles = _halves(triangles[split])
    everything = np.concatenate([*kept, triangles])
    everything = everything[shown.any(everything)]
    flat = everything[..., 1] * (n + 1) + everything[..., 0]
    used, faces = np.unique(flat, return_inverse=True)
    return np.stack([used % (n + 1), used // (n + 1)], axis=1), faces.reshape(-1, 3)[:, [0, 2, 1]]


def background_mesh(scene: RadianceManifolds, atlas: int) -> TexturedMesh:
    """The background plane over `background_point` coordinates, finer where they are stretched."""
    outer = torch.linspace(0.5, 1, BACKGROUND_CELLS + 1, dtype=torch.float64)
    u = torch.cat([-outer.flip(0), outer])
    x = background_point(u, scene.half_width).numpy()
    n = len(u)
    row, column = np.divmod(np.arange(n * n), n)
    vertices = np.column_stack([x[column], x[row], np.full(n * n, scene.background_z)])
    uv = np.column_stack([(u.numpy()[column] + 1) / 2, (1 - u.numpy()[row]) / 2])
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + [0, 1, n + 1], corner + [0, n + 1, n]])
    return TexturedMesh(-1, vertices, faces, uv, atlas)


class _Footprint:
    """Which triangles of a lattice cover visible cells of a map (by their bounding boxes, a cell more on each side)."""

    def __init__(self, visible: np.ndarray, n: int, extent: float) -> None:
        m = len(visible)
        self.total = np.pad(visible.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        edges = ((np.arange(n + 1) * 2 / n - 1) * extent + 1) / 2 * m - 0.5
        self.first = np.clip(np.floor(edges), 0, m).astype(int)
        self.last = np.clip(np.ceil(edges) + 1, 0, m).astype(int)

    def any(self, triangles: np.ndarray) -> np.ndarray:
        """[T, 3, 2] => bool [T]."""
        (left, bottom), (right, top) = self.first[triangles.min(axis=1)].T, self.last[triangles.max(axis=1)].T
        t = self.total
        return t[top, right] - t[bottom, right] - t[top, left] + t[bottom, left] > 0


def _halves(triangles: np.ndarray) -> np.ndarray:
    """[T, 3, 2] => [2 T, 3, 2]: cut from corner to middle of the long side, all first halves before the others."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    m = (a + b) // 2
    return np.concatenate([np.stack([c, a, m], axis=1), np.stack([b, c, m], axis=1)])
