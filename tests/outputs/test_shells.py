"""Meshes of surfaces keep to them without cracks; atlases keep pictures apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gramhd_core.outputs.shells import GUTTER, TOLERANCE, Shells, baked_pictures, pack, shells, triangulate
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import RenderConvention

N = 64
EVERYTHING = np.ones((32, 32), bool)


def hill() -> np.ndarray:
    """[N + 1, N + 1] a narrow hill on a plain."""
    y, x = np.mgrid[: N + 1, : N + 1] / N - 0.5
    return 0.1 * np.exp(-80 * ((x - 0.1) ** 2 + y**2))


def edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges and how many triangles each has."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0, return_counts=True)


def interpolated(heights: np.ndarray, xy: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The mesh at every lattice point."""
    out = np.full(heights.shape, np.nan)
    for a, b, c in xy[faces]:
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
        u, v, w = np.linalg.solve(
            np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]], float),
            np.stack([x.ravel(), y.ravel(), np.ones(x.size)]),
        )
        z = u * heights[a[1], a[0]] + v * heights[b[1], b[0]] + w * heights[c[1], c[0]]
        inside = np.minimum(np.minimum(u, v), w) > -1e-9
        out[y.ravel()[inside], x.ravel()[inside]] = z[inside]
    return out


def test_a_mesh_keeps_to_its_surface_and_is_dense_where_that_bends() -> None:
    heights = hill()
    xy, faces = triangulate(heights, EVERYTHING, 1.0, tolerance=1e-3)
    assert np.abs(interpolated(heights, xy, faces) - heights).max() < 2.5e-3  # errors of several halvings add up
    centres = xy[faces].mean(axis=1) / N - 0.5
    on_hill = np.hypot(centres[:, 0] - 0.1, centres[:, 1]) < 0.2
    assert on_hill.mean() > 0.4 and len(faces) < N * N  # a tenth of the area; the full lattice has 2 N^2
    assert len(triangulate(heights, EVERYTHING, 1.0, tolerance=1e-4)[1]) > 1.5 * len(faces)


def test_neighbouring_triangles_share_whole_edges_and_face_forward() -> None:
    xy, faces = triangulate(hill(), EVERYTHING, 1.0, tolerance=1e-3)
    pairs, counts = edges(faces)
    ends = xy[pairs]
    on_border = ((ends == 0).all(axis=1) | (ends == N).all(axis=1)).any(axis=1)
    assert (counts[~on_border] == 2).all() and (counts[on_border] == 1).all()
    a, b, c = xy[faces].transpose(1, 0, 2)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all() and area.sum() == 2 * N * N


def test_triangles_cover_every_visible_cell_and_little_else() -> None:
    visible = np.zeros((32, 32), bool)
    visible[5:9, 20:30] = True
    xy, faces = triangulate(np.zeros((N + 1, N + 1)), visible, 1.0, tolerance=1e-3)
    covered = np.isfinite(interpolated(np.zeros((N + 1, N + 1)), xy, faces))
    rows, columns = np.mgrid[: N + 1, : N + 1] * 32 / N - 0.5
    near = (rows > 4) & (rows < 9) & (columns > 19) & (columns < 30)  # bilinear look-ups reach a cell further
    assert covered[near].all() and covered.mean() < 0.2
    assert len(triangulate(np.zeros((N + 1, N + 1)), np.zeros_like(visible), 1.0, tolerance=1e-3)[1]) == 0


def test_packed_rectangles_do_not_overlap_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(w), int(h)) for w, h in rng.integers(1, 100, (60, 2))]
    places, atlases = pack(sizes, largest=256)
    used = [np.zeros((height, width), int) for width, height in atlases]
    for (w, h), (atlas, left, top) in zip(sizes, places, strict=True):
        used[atlas][top : top + h, left : left + w] += 1
    assert len(atlases) > 1 and all(max(size) <= 256 for size in atlases)
    assert sum(int(u.sum()) for u in used) == sum(w * h for w, h in sizes) and max(int(u.max()) for u in used) == 1


def small_scene(side: int = 40, *, edge: str = "fade") -> RadianceManifolds:
    """Two flat surfaces with noise on a part of them."""
    rng = torch.Generator().manual_seed(0)
    z = torch.tensor([0.05, -0.05])[:, None, None].expand(2, 16, 16).contiguous()
    maps = torch.rand(1, 2, 4, side, side, generator=rng)
    maps[:, 0, 3, : side // 2] = 0
    maps[:, 1, 3, :, : side // 2] = 0
    background = torch.rand(1, 3, side, side, generator=rng)
    convention = RenderConvention(edge=edge)  # pyright: ignore[reportArgumentType]
    return RadianceManifolds(HeightFields(z, 0.15, 0.12), maps, background, 0.14, -0.12, convention)


def texels(made: Shells, level: int, scene: RadianceManifolds) -> tuple[np.ndarray, np.ndarray]:
    """What the mesh of a level shows at the centres of its map's cells: uint8 [M, M, 4], and where it has a texel."""
    mesh = next(m for m in made.meshes if m.level == level)
    atlas = made.atlases[mesh.atlas]
    place = np.linalg.lstsq(np.column_stack([mesh.vertices[:, :2], np.ones(len(mesh.vertices))]), mesh.uv, rcond=None)[
        0
    ]
    side = scene.maps.shape[-1]
    centres = ((2 * np.arange(side) + 1) / side - 1) * scene.half_width
    y, x = np.meshgrid(centres, centres, indexing="ij")
    uv = np.stack([x, y, np.ones_like(x)], -1) @ place * [atlas.shape[1], atlas.shape[0]] - 0.5
    assert np.abs(uv - uv.round()).max() < 1e-6  # centres of cells are centres of texels
    column, row = uv.round().astype(int).transpose(2, 0, 1)
    there = (row >= 0) & (row < atlas.shape[0]) & (column >= 0) & (column < atlas.shape[1])
    return atlas[row.clip(0, atlas.shape[0] - 1), column.clip(0, atlas.shape[1] - 1)], there


@pytest.mark.parametrize("edge", ["fade", "cut"])
def test_textures_are_the_maps_with_the_fading_of_their_border(edge: str) -> None:
    scene = small_scene(edge=edge)
    made = shells(scene)
    axis = (2 * np.arange(40) + 1) / 40 - 1
    fade = np.clip((1 - np.abs(axis)) / 0.1, 0, 1) if edge == "fade" else np.ones(40)
    for level in range(2):
        truth = scene.maps[0, level].permute(1, 2, 0).numpy().copy()
        truth[..., 3] *= np.minimum(fade[:, None], fade)
        found, there = texels(made, level, scene)
        shown = truth[..., 3] > 1 / 255
        assert there[shown].all()
        assert np.abs(found[shown] / 255 - truth[shown]).max() <= 0.5 / 255 + 1e-6


def test_empty_cells_beside_visible_ones_have_their_colour() -> None:
    scene = small_scene()
    scene.maps[:, :, :3] = 1.0
    scene.maps[:, :, :3] *= scene.maps[:, :, 3:] > 0  # black where nothing is
    pictures = baked_pictures(scene, scene.surfaces.z, side=40)  # pyright: ignore[reportAttributeAccessIssue]
    assert (pictures[..., 3] == 0).mean() > 0.4 and (pictures[..., :3] >= 254).all()


def test_farthest_comes_first_and_the_background_before_it() -> None:
    scene = small_scene()
    assert [mesh.level for mesh in shells(scene).meshes] == [-1, 1, 0]
    assert [mesh.level for mesh in shells(scene, background=False).meshes] == [1, 0]


def test_surfaces_behind_the_background_show_nothing() -> None:
    scene = small_scene()
    hidden = replace(scene, surfaces=HeightFields(scene.surfaces.z - 0.08, 0.15, 0.12))  # pyright: ignore
    assert [mesh.level for mesh in shells(hidden).meshes] == [-1, 0]


def test_many_atlases_hold_what_one_cannot() -> None:
    made = shells(small_scene(), largest=40 + 4 * GUTTER, background=False)
    assert len(made.atlases) == 2 and all(max(a.shape[:2]) <= 40 + 4 * GUTTER for a in made.atlases)
    assert all((0 <= mesh.uv).all() and (mesh.uv <= 1).all() for mesh in made.meshes)


def test_no_mesh_shows_the_picture_of_another() -> None:
    scene = small_scene()
    scene.maps[0, 0, 3], scene.maps[0, 1, 3] = 0.0, 0.0
    scene.maps[0, 0, 3, 10:14, 3:7] = 1.0
    scene.maps[0, 1, 3, 20:29, 21:23] = 1.0
    made = shells(scene, background=False)
    boxes = []
    for mesh in made.meshes:
        size = made.atlases[mesh.atlas].shape[1::-1]
        boxes.append((mesh.uv.min(axis=0) * size, mesh.uv.max(axis=0) * size))
    (low, high), (other_low, other_high) = boxes
    apart = np.maximum(other_low - high, low - other_high).max()
    assert apart >= 2 * GUTTER - 1e-6


def test_spheres_are_met_to_the_tolerance() -> None:
    a = torch.linspace(-0.15, 0.15, 257, dtype=torch.float64)
    z = ((0.27**2 - a[:, None] ** 2 - a[None] ** 2).sqrt() - 0.18).float()[None]
    scene = replace(small_scene(), maps=torch.ones(1, 1, 4, 16, 16), surfaces=HeightFields(z, 0.15, 0.12))
    mesh = shells(scene, background=False).meshes[0]
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    above = np.sqrt(0.27**2 - (middles[:, :2] ** 2).sum(axis=1)) - 0.18
    assert np.abs(middles[:, 2] - above).max() < 2 * TOLERANCE
