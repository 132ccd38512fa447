"""Compiled twins for CPUs: no gradients, float32, all cores.

R rays, L level sets, G x G tables, M x M maps. The readable paths are `HeightFields.distance` in scenes/surfaces.py and
`look` in scenes/manifolds.py; tests/scenes/test_fast_cpu.py compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

from gramhd_core.scenes import surfaces

_compiled = njit(nogil=True, cache=True, fastmath=False, error_model="numpy")
ZERO, HALF, CONVERGED = np.float32(0), np.float32(0.5), np.float32(surfaces.CONVERGED)
STEPS = surfaces.STEPS
OPAQUE = np.float32(1e-6)  # transmittance below which later layers change no colour by more than this


def newton_distances(
    heights: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    origins: np.ndarray,
    directions: np.ndarray,
    half_width: float,
) -> np.ndarray:
    """heights [L, G, G]; ends: two [L], heights in front of and behind each; origins, directions [R, 3] ->
    distances [R, L]."""
    return _in_threads(
        lambda part: _newton_distances(heights, *ends, origins[part], directions[part], half_width), len(origins)
    )


def look_up(
    maps: np.ndarray, points: np.ndarray, distance: np.ndarray, seen: np.ndarray, half_width: float, fade: float
) -> np.ndarray:
    """Composite L maps along R rays, nearest first, stopping where nothing more can be seen.

    maps [L, 4, M, M] (y ascending), points [R, L, 3], distance and seen [R, L]. fade > 0: the map goes on as it ends
    and alpha fades over that fraction of half_width; 0: empty outside. Returns [R, 6]: r, g, b, sum(w d), sum(w), T.
    """
    return _in_threads(
        lambda part: _look_up(maps, points[part], distance[part], seen[part], half_width, fade), len(points)
    )


def _in_threads(job: Callable[[slice], np.ndarray], rays: int) -> np.ndarray:
    """Share rays among as many threads as torch uses.

    Not numba's own parallel loops: those set the number of OpenMP threads, which torch shares, and with it the order in
    which torch adds up: a training would no longer repeat bit by bit after its first sample picture.
    """
    threads = torch.get_num_threads()
    parts = [slice(i * rays // threads, (i + 1) * rays // threads) for i in range(threads)]
    if threads == 1:
        return job(parts[0])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(job, parts)))


@_compiled
def _gap(
    z: np.ndarray, half: np.float32, scale: np.float32, ray: tuple[np.float32, ...], t: np.float32
) -> tuple[np.float32, np.float32]:
    """How far the ray (origin and direction) is above heights z [G, G] at t, and the derivative of that."""
    ox, oy, oz, dx, dy, dz = ray
    size = z.shape[0]
    last = np.float32(size - 1)
    u = min(max((ox + t * dx + half) * scale, ZERO), last)
    v = min(max((oy + t * dy + half) * scale, ZERO), last)
    i, j = min(int(v), size - 2), min(int(u), size - 2)
    fv, fu = v - np.float32(i), u - np.float32(j)
    a, b, c, d = z[i, j], z[i, j + 1], z[i + 1, j], z[i + 1, j + 1]
    lower, upper = a + fu * (b - a), c + fu * (d - c)
    across = (b - a) + fv * ((d - c) - (b - a))
    return oz + t * dz - (lower + fv * (upper - lower)), dz - scale * (across * dx + (upper - lower) * dy)


@_compiled
def _root(
    z: np.ndarray,
    half: np.float32,
    scale: np.float32,
    ray: tuple[np.float32, ...],
    above: np.float32,
    below: np.float32,
    t: np.float32,
) -> np.float32:
    """Where the ray goes through heights z, starting from t: Newton's method kept between above and below."""
    for _ in range(STEPS):
        gap, rate = _gap(z, half, scale, ray, t)
        if gap > 0:
            above = t
        else:
            below = t
        step = t - gap / rate
        last = t
        t = step if rate < 0 and above <= step <= below else HALF * (above + below)
        if abs(t - last) < CONVERGED:
            break
    return t


@_compiled
def _newton_distances(
    heights: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    half_width: float,
) -> np.ndarray:
    levels, size = heights.shape[0], heights.shape[2]
    out = np.empty((origins.shape[0], levels), np.float32)
    half, scale = np.float32(half_width), np.float32((size - 1) / (2 * half_width))
    for r in range(origins.shape[0]):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        ray = (ox, oy, oz, directions[r, 0], directions[r, 1], directions[r, 2])
        for level in range(levels):
            above, below = (front[level] - oz) / ray[5], (back[level] - oz) / ray[5]
            out[r, level] = _root(heights[level], half, scale, ray, above, below, above)
    return out


@_compiled
def _look_up(
    maps: np.ndarray, points: np.ndarray, distance: np.ndarray, seen: np.ndarray, half_width: float, fade: float
) -> np.ndarray:
    levels, size = maps.shape[0], maps.shape[2]
    out = np.empty((points.shape[0], 6), np.float32)
    limit = np.float32(1 - 1 / size)
    one, half = np.float32(1), np.float32(0.5)
    scale = np.float32(1 / half_width)
    for r in range(points.shape[0]):
        red = green = blue = depth = weight = np.float32(0)
        left = one
        order = np.empty(levels, np.int64)
        count = 0
        for level in range(levels):  # insertion sort: levels nearly always are in order already
            if seen[r, level]:
                place = count
                while place > 0 and distance[r, order[place - 1]] > distance[r, level]:
                    order[place] = order[place - 1]
                    place -= 1
                order[place] = level
                count += 1
        for place in range(count):
            level = order[place]
            x, y = points[r, level, 0] * scale, points[r, level, 1] * scale
            edge = one
            if fade > 0:
                edge = min(max((one - max(abs(x), abs(y))) / np.float32(fade), np.float32(0)), one)
                x, y = min(max(x, -limit), limit), min(max(y, -limit), limit)
            u, v = (x + one) * half * size - half, (y + one) * half * size - half
            j, i = int(np.floor(u)), int(np.floor(v))
            fu, fv = u - j, v - i
            c0 = c1 = c2 = c3 = np.float32(0)
            for di in range(2):
                for dj in range(2):
                    a, b = i + di, j + dj
                    if 0 <= a < size and 0 <= b < size:
                        w = (fv if di else one - fv) * (fu if dj else one - fu)
                        c0 += w * maps[level, 0, a, b]
                        c1 += w * maps[level, 1, a, b]
                        c2 += w * maps[level, 2, a, b]
                        c3 += w * maps[level, 3, a, b]
            alpha = c3 * edge
            w = alpha * left
            red += w * c0
            green += w * c1
            blue += w * c2
            depth += w * distance[r, level]
            weight += w
            left *= one - alpha
            if left < OPAQUE:
                break
        out[r, 0], out[r, 1], out[r, 2] = red, green, blue
        out[r, 3], out[r, 4], out[r, 5] = depth, weight, left
    return out
