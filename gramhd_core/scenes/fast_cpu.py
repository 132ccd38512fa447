"""Compiled twins for CPUs: no gradients, float32, all cores.

R rays, L level sets, G x G tables, M x M maps. The readable paths are `HeightFields.distance` in scenes/surfaces.py and
`look` in scenes/manifolds.py; tests/scenes/test_fast_cpu.py compares them.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

OPAQUE = np.float32(1e-6)  # transmittance below which later layers change no colour by more than this


@njit(parallel=True, cache=True, fastmath=False, error_model="numpy")
def newton_distances(
    tables: np.ndarray, origins: np.ndarray, directions: np.ndarray, half_width: float, steps: int
) -> np.ndarray:
    """tables [L, 3, G, G] (z, dz/dx, dz/dy); origins, directions [R, 3] -> distances [R, L] after `steps`."""
    levels, size = tables.shape[0], tables.shape[2]
    out = np.empty((origins.shape[0], levels), np.float32)
    scale = (size - 1) / (2 * half_width)
    last = np.float64(size - 1)
    middle = size // 2
    for r in prange(origins.shape[0]):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        for level in range(levels):
            t = (tables[level, 0, middle, middle] - oz) / dz
            for _ in range(steps):
                u = min(max((ox + t * dx + half_width) * scale, 0.0), last)
                v = min(max((oy + t * dy + half_width) * scale, 0.0), last)
                i, j = min(int(v), size - 2), min(int(u), size - 2)
                fv, fu = v - i, u - j
                a, b = (1 - fv) * (1 - fu), (1 - fv) * fu
                c, d = fv * (1 - fu), fv * fu
                z = 0.0
                sx = 0.0
                sy = 0.0
                for k in range(3):
                    cell = (
                        a * tables[level, k, i, j]
                        + b * tables[level, k, i, j + 1]
                        + c * tables[level, k, i + 1, j]
                        + d * tables[level, k, i + 1, j + 1]
                    )
                    if k == 0:
                        z = cell
                    elif k == 1:
                        sx = cell
                    else:
                        sy = cell
                rate = min(dz - sx * dx - sy * dy, -0.25)
                t -= (oz + t * dz - z) / rate
            out[r, level] = t
    return out


@njit(parallel=True, cache=True, fastmath=False, error_model="numpy")
def look_up(
    maps: np.ndarray, points: np.ndarray, distance: np.ndarray, seen: np.ndarray, half_width: float, fade: float
) -> np.ndarray:
    """Composite L maps along R rays, front to back, stopping where nothing more can be seen.

    maps [L, 4, M, M] (y ascending), points [R, L, 3], distance and seen [R, L]. fade > 0: the map goes on as it ends
    and alpha fades over that fraction of half_width; 0: empty outside. Returns [R, 6]: r, g, b, sum(w d), sum(w), T.
    """
    levels, size = maps.shape[0], maps.shape[2]
    out = np.empty((points.shape[0], 6), np.float32)
    limit = np.float32(1 - 1 / size)
    one, half = np.float32(1), np.float32(0.5)
    scale = np.float32(1 / half_width)
    for r in prange(points.shape[0]):
        red = green = blue = depth = weight = np.float32(0)
        left = one
        for level in range(levels):
            if not seen[r, level]:
                continue
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
