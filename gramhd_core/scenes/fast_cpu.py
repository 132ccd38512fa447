"""Compiled twins for CPUs: no gradients, float32, all cores.

K cameras, R rays, L level sets, G x G heights, M x M maps. The readable paths are `HeightFields.distance` in
scenes/surfaces.py, `look` in scenes/views.py, `RadianceManifolds.render`; tests/scenes/test_fast_cpu.py compares
them. The loops themselves are in scenes/fast_cpu_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import PixelSampling, axis
from gramhd_core.scenes import fast_cpu_kernels as kernels
from gramhd_core.scenes.manifolds import FADE, RadianceManifolds
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import HeightFields


class Prepared(NamedTuple):
    """What of a scene never changes from view to view.

    heights [L, G, G]; front, back [L]; texels uint16 [N, L, M, M, 4], colours and alpha as `kernels.pack` codes them;
    largest uint16 [N, L, B, B]: greatest alpha by blocks; background uint16 [N, M', M', 4]; numbers: `kernels.draw`.
    """

    heights: np.ndarray
    front: np.ndarray
    back: np.ndarray
    texels: np.ndarray
    largest: np.ndarray
    background: np.ndarray
    numbers: tuple[float, ...]
    sampling: PixelSampling
    mean_depth: bool


def supports(scene: RadianceManifolds) -> bool:
    """Whether `render_prepared` makes this scene's pictures: nested height fields, rays met per pixel."""
    return isinstance(scene.surfaces, HeightFields) and scene.convention.hits == "full" and scene.surfaces.nested


def prepare(scene: RadianceManifolds) -> Prepared:
    """Maps as 16-bit texels, channels last. The scene's tensors are copied; ask `supports` first."""
    fields, convention = scene.surfaces, scene.convention
    assert isinstance(fields, HeightFields), "only height fields: scene.baked()"
    maps = scene.maps.detach().contiguous().numpy()
    plane = scene.background.detach()
    background = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1).numpy()
    n, levels, _, size, _ = maps.shape
    low = float(min(maps[:, :, :3].min(), plane.min(), 0))
    step = (float(max(maps[:, :, :3].max(), plane.max(), 1)) - low) / 65535
    blocks, side = -(-size // kernels.BLOCK), background.shape[-1]
    texels, largest = np.empty((n, levels, size, size, 4), np.uint16), np.empty((n, levels, blocks, blocks), np.uint16)
    plane_texels, unused = np.empty((n, side, side, 4), np.uint16), np.empty((side, side), np.uint16)

    def pack(i: int) -> None:
        k = divmod(i, levels)
        kernels.pack(maps[k], low, step, texels[k], largest[k])

    _share(pack, n * levels)
    for i in range(n):
        kernels.pack(background[i], low, step, plane_texels[i], unused)
    front, back = fields.ends
    return Prepared(
        fields.z.detach().contiguous().numpy(),
        front.numpy(),
        back.numpy(),
        texels,
        largest,
        plane_texels,
        (
            fields.half_width,
            scene.half_width,
            fields.slab,
            scene.background_z,
            FADE if convention.edge == "fade" else 0.0,
            low,
            step,
        ),
        convention.pixel_sampling,
        convention.depth == "mean",
    )


def render_prepared(scene: Prepared, camera: Camera) -> Rendering:
    """`RadianceManifolds.render`: rays, hits, look-ups and compositing of a tile of pixels in one pass.

    Surfaces that show nothing inside a tile are skipped, rays end where nothing more can be seen.
    """
    pose = camera.world_from_camera.detach().float().contiguous()
    xs, ys = (_extended(axis(n, scene.sampling, like=pose).numpy()) for n in (camera.width, camera.height))
    focal = 1 / torch.tan(torch.deg2rad(camera.fov_degrees) / 2)
    out = np.empty((len(camera), 5, camera.height, camera.width), np.float32)
    bands = -(-camera.height // (kernels.TILE * kernels.BAND))

    def draw(job: int) -> None:
        k, band = divmod(job, bands)
        n = k if len(scene.texels) > 1 else 0
        numbers = np.array([*scene.numbers, float(focal[k]), scene.mean_depth], np.float32)
        pictures = scene.texels[n], scene.largest[n], scene.background[n]
        surfaces = scene.heights, scene.front, scene.back
        kernels.draw(*surfaces, *pictures, numbers, pose[k].numpy(), xs, -ys, band * kernels.BAND, out[k])

    _share(draw, len(camera) * bands)
    picture = torch.from_numpy(out)
    return Rendering(picture[:, :3], picture[:, 3:4], picture[:, 4:])


def _extended(axis: np.ndarray) -> np.ndarray:
    """Evenly spaced positions continued by a tile."""
    step = axis[1] - axis[0] if len(axis) > 1 else np.float32(2)
    return np.concatenate([axis, axis[-1] + step * np.arange(1, kernels.TILE + 1, dtype=np.float32)])


def newton_distances(
    heights: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    origins: np.ndarray,
    directions: np.ndarray,
    half_width: float,
) -> np.ndarray:
    """heights [L, G, G]; ends: two [L], heights in front of and behind each; origins, directions [R, 3] ->
    distances [R, L]."""
    return _in_parts(
        lambda part: kernels.newton_distances(heights, *ends, origins[part], directions[part], half_width),
        len(origins),
    )


def look_up(
    maps: np.ndarray, points: np.ndarray, distance: np.ndarray, seen: np.ndarray, half_width: float, fade: float
) -> np.ndarray:
    """Composite L maps along R rays, nearest first, stopping where nothing more can be seen.

    maps [L, 4, M, M] (y ascending), points [R, L, 3], distance and seen [R, L]. fade > 0: the map goes on as it ends
    and alpha fades over that fraction of half_width; 0: empty outside. Returns [R, 6]: r, g, b, sum(w d), sum(w), T.
    """
    return _in_parts(
        lambda part: kernels.look_up(maps, points[part], distance[part], seen[part], half_width, fade), len(points)
    )


def _in_parts(job: Callable[[slice], np.ndarray], rays: int) -> np.ndarray:
    """Consecutive rays shared among threads, results joined."""
    threads = torch.get_num_threads()
    parts = [slice(i * rays // threads, (i + 1) * rays // threads) for i in range(threads)]
    return np.concatenate(_share(lambda i: job(parts[i]), threads))


def _share(job: Callable[[int], np.ndarray | None], count: int) -> list:
    """Jobs 0..count-1 among as many threads as torch uses.

    Not numba's own parallel loops: those set the number of OpenMP threads, which torch shares, and with it the order in
    which torch adds up: a training would no longer repeat bit by bit after its first sample picture.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [job(i) for i in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(job, range(count)))
