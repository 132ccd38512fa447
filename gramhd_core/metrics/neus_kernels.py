"""Compiled loops of neus_tables.py: float32, no interpreter inside.

P points in the cube [-1, 1]^3, tables [T, F], L levels: `levels` int64 [L, 4] holds first entry, number of entries (a
power of two where they are hashed), cells per side, and whether they are hashed; `units` float32 [L] is what each
counts. The readable path is `looked_up` there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

PRIME_Y, PRIME_Z = np.uint32(2654435761), np.uint32(805459861)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
inlined = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"}, inline="always")


@inlined
def _cell(value: Any, cells: Any) -> Any:
    """A coordinate in [-1, 1] -> the cell it is in, and where."""
    scaled = (value + ONE) * HALF * np.float32(cells)
    cell = min(max(np.int32(scaled), 0), cells - 1)
    return cell, scaled - np.float32(cell)


@inlined
def _corners(x: Any, y: Any, z: Any, level: Any) -> Any:
    """The entries of the corners (x, y, z), (x, y, z + 1), (x, y + 1, z), ... of a cell."""
    first, count, cells, hashed = level
    if hashed:
        mask = np.uint32(count - 1)
        a, b = np.uint32(x), np.uint32(x + 1)
        c, d = np.uint32(y) * PRIME_Y, np.uint32(y + 1) * PRIME_Y
        e, f = np.uint32(z) * PRIME_Z, np.uint32(z + 1) * PRIME_Z
        return (
            first + np.int64((a ^ c ^ e) & mask),
            first + np.int64((a ^ c ^ f) & mask),
            first + np.int64((a ^ d ^ e) & mask),
            first + np.int64((a ^ d ^ f) & mask),
            first + np.int64((b ^ c ^ e) & mask),
            first + np.int64((b ^ c ^ f) & mask),
            first + np.int64((b ^ d ^ e) & mask),
            first + np.int64((b ^ d ^ f) & mask),
        )
    side = cells + 1
    k = first + (np.int64(x) * side + y) * side + z
    m = k + side * side
    return k, k + 1, k + side, k + side + 1, m, m + 1, m + side, m + side + 1


@compiled
def gather(points: np.ndarray, table: np.ndarray, levels: np.ndarray, units: np.ndarray, out: np.ndarray) -> None:
    """points [P, 3], out [P, F]: trilinear mixtures of the corners around each point, summed over the levels."""
    features = table.shape[1]
    out[:] = ZERO
    for n in range(len(levels)):
        level = (levels[n, 0], levels[n, 1], np.int32(levels[n, 2]), levels[n, 3] != 0)
        for p in range(len(points)):
            x, u = _cell(points[p, 0], level[2])
            y, v = _cell(points[p, 1], level[2])
            z, w = _cell(points[p, 2], level[2])
            a, b, c, d, e, f, g, h = _corners(x, y, z, level)
            u = u * units[n]
            far, near = u, units[n] - u
            for k in range(features):
                front = table[a, k] + w * (table[b, k] - table[a, k])
                above = table[c, k] + w * (table[d, k] - table[c, k])
                front = near * (front + v * (above - front))
                back = table[e, k] + w * (table[f, k] - table[e, k])
                above = table[g, k] + w * (table[h, k] - table[g, k])
                out[p, k] += front + far * (back + v * (above - back))


@compiled
def scatter(points: np.ndarray, slope: np.ndarray, level: np.ndarray, unit: np.float32, table: np.ndarray) -> None:
    """The transpose of `gather` for one level [4]: slope [P, F] is added to the corners' entries."""
    numbers = (level[0], level[1], np.int32(level[2]), level[3] != 0)
    for p in range(len(points)):
        x, u = _cell(points[p, 0], numbers[2])
        y, v = _cell(points[p, 1], numbers[2])
        z, w = _cell(points[p, 2], numbers[2])
        a, b, c, d, e, f, g, h = _corners(x, y, z, numbers)
        for k in range(slope.shape[1]):
            s = slope[p, k] * unit
            far = s * u
            near = s - far
            far_up, near_up = far * v, near * v
            far, near = far - far_up, near - near_up
            table[a, k] += near * (ONE - w)
            table[b, k] += near * w
            table[c, k] += near_up * (ONE - w)
            table[d, k] += near_up * w
            table[e, k] += far * (ONE - w)
            table[f, k] += far * w
            table[g, k] += far_up * (ONE - w)
            table[h, k] += far_up * w
