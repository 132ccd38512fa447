"""Compiled loops of fast_cpu.py: float32, one thread each, no interpreter inside.

L level sets, G x G heights, M x M texels, B x B blocks of texels, H x W pixels in tiles of TILE x TILE.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from gramhd_core.scenes import surfaces

TILE = 8  # side of the squares of pixels that share their geometry
BAND = 4  # rows of tiles drawn in one go
BLOCK = 16  # side of the squares of texels of which the largest alpha is known
OPAQUE = np.float32(1e-6)  # transmittance below which later layers change no colour by more than this
UNSEEN = np.float32(3e-5)  # sum of alphas that may be left out: a distance changes by less than 1e-5
SETTLED = np.float32(3e-5)  # a Newton step shorter than this, world units, is the last
NEAR = np.float32(0.004)  # world units: corners of a tile this far behind the slab have pixels in front of its end
WIDEST = np.float32(0.015)  # world units: of larger tiles the corners do not tell what is between them
LEAST_WEIGHT = np.float32(1e-6)
STEEP = np.float32(-0.05)  # rays closer to a surface than this rate are followed with care

Ray = tuple[Any, Any, Any, Any, Any, Any]  # origin and direction, float32
compiled = njit(nogil=True, cache=True, fastmath=False, error_model="numpy")
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
CONVERGED = np.float32(surfaces.CONVERGED)
STEPS = surfaces.STEPS


@compiled
def _gap(z: np.ndarray, half: np.float32, scale: np.float32, ray: Ray, t: np.float32) -> tuple[np.float32, np.float32]:
    """How far the ray (origin and direction) is above heights z [G, G] at t, and the derivative of that."""
    ox, oy, oz, dx, dy, dz = ray
    size = z.shape[0]
    last = np.float32(size - 1)
    u = min(max(ZERO, (ox + t * dx + half) * scale), last)
    v = min(max(ZERO, (oy + t * dy + half) * scale), last)
    i, j = min(int(v), size - 2), min(int(u), size - 2)
    fv, fu = v - np.float32(i), u - np.float32(j)
    a, b, c, d = z[i, j], z[i, j + 1], z[i + 1, j], z[i + 1, j + 1]
    lower, upper = a + fu * (b - a), c + fu * (d - c)
    across = (b - a) + fv * ((d - c) - (b - a))
    return oz + t * dz - (lower + fv * (upper - lower)), dz - scale * (across * dx + (upper - lower) * dy)


@compiled
def _root(
    z: np.ndarray,
    half: np.float32,
    scale: np.float32,
    ray: Ray,
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


@compiled
def newton_distances(
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


@compiled
def look_up(
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


@compiled
def pack(maps: np.ndarray, low: float, step: float, texels: np.ndarray, largest: np.ndarray) -> None:
    """maps [4, M, M] -> texels uint16 [M, M, 4], k meaning the colour low + step k or the alpha k / 65535;
    largest [B, B]: greatest alpha k of each block and its neighbouring texels."""
    size = maps.shape[1]
    full, scale = np.float32(65535), np.float32(1 / step)
    base = np.float32(low)
    largest[:] = 0
    for i in range(size):
        for j in range(size):
            for k in range(3):
                texels[i, j, k] = np.uint16(min(max((maps[k, i, j] - base) * scale + HALF, ZERO), full))
            alpha = np.uint16(min(max(maps[3, i, j] * full + HALF, ZERO), full))
            texels[i, j, 3] = alpha
            if alpha > 0:
                for a in range(max(i - 1, 0) // BLOCK, min(i + 1, size - 1) // BLOCK + 1):
                    for b in range(max(j - 1, 0) // BLOCK, min(j + 1, size - 1) // BLOCK + 1):
                        largest[a, b] = max(largest[a, b], alpha)


@compiled
def _bilinear(
    texels: np.ndarray, u: np.float32, v: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Codes at texel coordinates u, v (the first centre is 0), held beyond the border."""
    size = texels.shape[0]
    last = np.float32(size - 1)
    u, v = min(max(ZERO, u), last), min(max(ZERO, v), last)
    j, i = min(int(u), size - 2), min(int(v), size - 2)
    fu, fv = u - np.float32(j), v - np.float32(i)
    b, d = fu * (ONE - fv), fu * fv
    a, c = ONE - fv - b, fv - d
    ta, tb, tc, td = texels[i, j], texels[i, j + 1], texels[i + 1, j], texels[i + 1, j + 1]
    return (
        a * np.float32(ta[0]) + b * np.float32(tb[0]) + c * np.float32(tc[0]) + d * np.float32(td[0]),
        a * np.float32(ta[1]) + b * np.float32(tb[1]) + c * np.float32(tc[1]) + d * np.float32(td[1]),
        a * np.float32(ta[2]) + b * np.float32(tb[2]) + c * np.float32(tc[2]) + d * np.float32(td[2]),
        a * np.float32(ta[3]) + b * np.float32(tb[3]) + c * np.float32(tc[3]) + d * np.float32(td[3]),
    )


@compiled
def _inside(u: np.float32, size: np.float32) -> np.float32:
    """1 between the border centres 0 and size - 1, falling to 0 one texel further out."""
    return max(min(u + ONE, size - u, ONE), ZERO)


@compiled
def _brightest(largest: np.ndarray, u0: float, u1: float, v0: float, v1: float, size: int) -> int:
    """Greatest alpha among the blocks under texels u0..u1, v0..v1 (held at the border)."""
    found = 0
    last = np.float32(size - 1)
    for a in range(int(min(max(ZERO, v0), last)) // BLOCK, int(min(max(ZERO, v1 + ONE), last)) // BLOCK + 1):
        for b in range(int(min(max(ZERO, u0), last)) // BLOCK, int(min(max(ZERO, u1 + ONE), last)) // BLOCK + 1):
            found = max(found, int(largest[a, b]))
    return found


@compiled
def _reflected(u: np.float32, size: int) -> np.float32:
    """Texel coordinate mirrored at the outer edges of the border texels."""
    period = np.float32(2 * size)
    u = abs(u + HALF) % period
    if u > size:
        u = period - u
    return u - HALF


@compiled
def _background_texel(x: np.float32, half_width: np.float32, size: int) -> np.float32:
    """World x on the background plane -> its texel coordinate: `background_coordinate` and the look-up's padding."""
    a = abs(x)
    u = a / (half_width + half_width) if a <= half_width else math.atan((a / half_width - ONE) * HALF) + HALF
    u = np.float32(u if x >= 0 else -u)
    return _reflected(((u + ONE) * np.float32(size) - ONE) * HALF, size)


@compiled
def _direction(
    pose: np.ndarray, focal: np.float32, x: np.float32, y: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Unit direction of the ray through image coordinates x, y."""
    norm = ONE / np.float32(math.sqrt(x * x + y * y + focal * focal))
    return (
        (pose[0, 0] * x + pose[0, 1] * y - pose[0, 2] * focal) * norm,
        (pose[1, 0] * x + pose[1, 1] * y - pose[1, 2] * focal) * norm,
        (pose[2, 0] * x + pose[2, 1] * y - pose[2, 2] * focal) * norm,
    )


@compiled
def draw(  # noqa: PLR0913, PLR0915 - one loop nest on purpose: nothing of a tile ever leaves the cache
    heights: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    texels: np.ndarray,
    largest: np.ndarray,
    background: np.ndarray,
    numbers: np.ndarray,
    pose: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    first: int,
    out: np.ndarray,
) -> None:
    """Tile rows first ... first + BAND - 1 of one picture.

    heights [L, G, G]; front, back [L]; texels uint16 [L, M, M, 4], largest [L, B, B]; background uint16 [M', M', 4];
    numbers: half widths of heights and maps, slab, background z, fade, colour low and step, focal length, depth mean;
    pose [3, 4]; xs [W + TILE], ys [H + TILE] image coordinates; out [5, H, W]: r, g, b in [-1, 1], alpha, distance.

    Rays through the corners of tiles meet the surfaces by search. From there the hits of a tile's pixels are
    interpolated and corrected by a Newton step or two. In pictures of few pixels, whose tiles are wide, every pixel is
    searched for itself.
    """
    half, width, slab, plane, fade = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    low, step, focal, mean = numbers[5], numbers[6], numbers[7], numbers[8] > 0
    levels, grid, size = heights.shape[0], heights.shape[1], texels.shape[1]
    rows, columns = len(ys) - TILE, len(xs) - TILE
    scale = np.float32(grid - 1) / (half + half)
    texel = np.float32(size) / (width + width)
    centre = np.float32(size) * HALF - HALF
    unit, shift, last = ONE / np.float32(65535), low / step, np.float32(size)
    part = ONE / np.float32(TILE)
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    across = max(abs(xs[TILE] - xs[0]), abs(ys[TILE] - ys[0])) / focal
    wide = not across * np.float32(math.sqrt(ox * ox + oy * oy + oz * oz)) <= WIDEST
    pixels = TILE * TILE
    dx, dy, dz = np.empty(pixels, np.float32), np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    left, rgb = np.empty(pixels, np.float32), np.empty((pixels, 3), np.float32)
    depth, weight = np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    corners = np.zeros((BAND + 1, -(-columns // TILE) + 1, levels), np.float32)  # distances; 0: not searched for yet
    at, cx, cy, cz = np.zeros(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for tile_row in range(first, min(first + BAND, -(-rows // TILE))):
        top = tile_row * TILE
        for start in range(0, columns, TILE):
            for i in range(TILE):
                for j in range(TILE):
                    p = i * TILE + j
                    dx[p], dy[p], dz[p] = _direction(pose, focal, xs[start + j], ys[top + i])
            for c in range(4):
                cx[c], cy[c], cz[c] = _direction(pose, focal, xs[start + TILE * (c % 2)], ys[top + TILE * (c // 2)])
            left[:], rgb[:], depth[:], weight[:] = ONE, ZERO, ZERO, ZERO
            spare, seen = UNSEEN, pixels
            for level in range(levels):
                table = heights[level]
                u0 = v0 = np.float32(1e9)
                u1 = v1 = np.float32(-1e9)
                reached = False
                for c in range(0 if wide else 4):
                    a, b = tile_row - first + c // 2, start // TILE + c % 2
                    t = corners[a, b, level]
                    if t == ZERO:
                        above, below = (front[level] - oz) / cz[c], (back[level] - oz) / cz[c]
                        t = max(above, corners[a, b, level - 1]) if level else above
                        t = _root(table, half, scale, (ox, oy, oz, cx[c], cy[c], cz[c]), above, below, t)
                        corners[a, b, level] = t
                    at[c] = t
                    u, v = (ox + t * cx[c]) * texel + centre, (oy + t * cy[c]) * texel + centre
                    u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
                    reached = reached or oz + t * cz[c] > -slab - NEAR
                if not wide:
                    border = TWO + np.float32(0.1) * max(u1 - u0, v1 - v0)
                    if not reached or u1 < -border or v1 < -border or u0 > last + border or v0 > last + border:
                        continue
                    most = _brightest(largest[level], u0 - border, u1 + border, v0 - border, v1 + border, size) * unit
                    if most <= spare:
                        spare -= most
                        continue
                for i in range(TILE):
                    t0, t1 = at[0] + i * part * (at[2] - at[0]), at[1] + i * part * (at[3] - at[1])
                    for j in range(TILE):
                        p = i * TILE + j
                        if left[p] < OPAQUE:
                            continue
                        ray = (ox, oy, oz, dx[p], dy[p], dz[p])
                        t = t0 + j * part * (t1 - t0)
                        sure = False
                        for _ in range(0 if wide else 2):
                            gap, rate = _gap(table, half, scale, ray, t)
                            move = gap / rate
                            t -= move
                            sure = abs(move) < SETTLED and rate <= STEEP
                            if sure:
                                break
                        if not sure:
                            above, below = (front[level] - oz) / dz[p], (back[level] - oz) / dz[p]
                            t = _root(table, half, scale, ray, above, below, above)
                        z = oz + t * dz[p]
                        x, y = ox + t * dx[p], oy + t * dy[p]
                        reach = max(abs(x), abs(y))
                        if t <= ZERO or z <= -slab or z > slab or z < plane or reach > half:
                            continue
                        edge = ONE
                        if fade > 0:
                            edge = min((ONE - reach / width) / fade, ONE)
                            if edge <= 0:
                                continue
                        u, v = x * texel + centre, y * texel + centre
                        r, g, b, alpha = _bilinear(texels[level], u, v)
                        if fade <= 0:  # beyond the border centres texels of zeros begin
                            edge = _inside(u, last) * _inside(v, last)
                            if edge < ONE:
                                r = edge * (r + shift) - shift
                                g = edge * (g + shift) - shift
                                b = edge * (b + shift) - shift
                        alpha *= unit * edge
                        w = alpha * left[p]
                        rgb[p, 0] += w * r
                        rgb[p, 1] += w * g
                        rgb[p, 2] += w * b
                        depth[p] += w * t
                        weight[p] += w
                        left[p] *= ONE - alpha
                        if left[p] < OPAQUE:
                            seen -= 1
                if seen == 0:
                    break
            for i in range(min(TILE, rows - top)):
                for j in range(min(TILE, columns - start)):
                    p = i * TILE + j
                    alpha, w = weight[p], left[p]
                    t = (plane - oz) / dz[p]
                    if w >= OPAQUE:
                        u = _background_texel(ox + t * dx[p], width, background.shape[0])
                        v = _background_texel(oy + t * dy[p], width, background.shape[0])
                        r, g, b, _ = _bilinear(background, u, v)
                        rgb[p, 0] += w * r
                        rgb[p, 1] += w * g
                        rgb[p, 2] += w * b
                    depth[p] += w * t
                    for k in range(3):
                        out[k, top + i, start + j] = TWO * (low * (alpha + w) + step * rgb[p, k]) - ONE
                    out[3, top + i, start + j] = alpha
                    out[4, top + i, start + j] = depth[p] / max(alpha + w, LEAST_WEIGHT) if mean else depth[p]
