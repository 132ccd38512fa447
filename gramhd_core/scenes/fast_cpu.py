"""Compiled twin of `HeightFields.hits` for CPUs: no gradients, float32, all cores.

R rays, L level sets, G x G tables. The readable path is scenes/surfaces.py; a test compares the two.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


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
            t = np.float64((tables[level, 0, middle, middle] - oz) / dz)
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
