"""The Triton kernel behind fast_gpu.py: one program per TILE x TILE pixels, everything from ray to colour in one pass.

L level sets, G x G heights, M x M maps kept with a border of one texel (side S = M + 2): where a map goes on as it ends
the border repeats its edge, where it is cut the border is zero, and look-ups clamp to the border. A texel is straight
r, g, b, alpha packed into integer words, so that it is one load: "uint8" (of 255; one int32), "float16" (alpha of
65535; one int64), "float32" (two int64). Runs compiled on a GPU, or anywhere where TRITON_INTERPRET=1 is set before
triton is imported. Importing this file imports triton.
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
# What stands in a kernel is read by triton, not run by Python: static_range and constexpr mean more there.

from __future__ import annotations

import triton
import triton.language as tl

from gramhd_core.scenes.fast_gpu_sight import layers_in_sight

OPAQUE = tl.constexpr(1e-6)  # transmittance below which later layers change no colour by more than this
SETTLED = tl.constexpr(1e-6)  # world units a last Newton step may still move: the next one would move far less


@triton.jit
def picture(  # noqa: PLR0913 - a kernel takes bare pointers and numbers
    rgb,  # out [K, 3, H, W] in [-1, 1]
    alpha,  # out [K, 1, H, W]
    distance,  # out [K, 1, H, W], along the ray
    pose,  # [K, 4, 4] world from camera
    fov_degrees,  # [K]
    heights,  # [L, G, G]
    pyramids,  # [3, L, P]: highest z, highest -z, steepest slope of blocks of cells
    ends,  # [2, L]: heights in front of and behind each surface
    texels,  # [N, L, S, S] words
    occupied,  # [N, L, B, B]: how many blocks before (row, column) hold anything
    background,  # [N, Sb, Sb] words
    height,
    width,
    column_step,  # pixel i of a row is at i * column_step + column_start in [-1, 1]
    column_start,
    row_step,
    row_start,
    levels,
    grid,
    side,
    background_side,
    blocks,
    own_maps,  # 1: camera k sees identity k; 0: all see the first
    field_half_width,
    slab,
    half_width,
    background_z,
    FADE: tl.constexpr,  # fraction of half_width; 0: maps are cut
    MEAN: tl.constexpr,  # distance: sum(w d) / sum(w), or sum(w d)
    KIND: tl.constexpr,  # "uint8", "float16" or "float32"
    LEVELS: tl.constexpr,  # a power of two, at least `levels`, at most 64
    TILE: tl.constexpr,  # pixels to a side of what one program draws
    DEPTH: tl.constexpr,  # the pyramids have DEPTH + 1 storeys, 2^DEPTH blocks to a side at the bottom
    STEPS: tl.constexpr,  # Newton steps or halvings at most
):
    """Composite L maps over the background along the rays of one tile of one camera."""
    camera = tl.program_id(1)
    tiles = tl.cdiv(width, TILE)
    pixel = tl.arange(0, TILE * TILE)
    row = tl.program_id(0) // tiles * TILE + pixel // TILE
    column = tl.program_id(0) % tiles * TILE + pixel % TILE
    inside = (row < height) & (column < width)
    ray = _ray(
        pose + camera * 16,
        tl.load(fov_degrees + camera),
        tl.minimum(column, width - 1).to(tl.float32) * column_step + column_start,
        tl.minimum(row, height - 1).to(tl.float32) * row_step + row_start,
    )
    ox, oy, oz, dx, dy, dz = ray
    end = (background_z - oz) / dz

    item = (camera * own_maps).to(tl.int64)
    words: tl.constexpr = 2 if KIND == "float32" else 1
    map_half = (side - 2) * 0.5
    texels += item * levels * side * side * words
    background += item * background_side * background_side * words
    footprint = (ox, oy, oz, tl.min(dx / dz), tl.max(dx / dz), tl.min(dy / dz), tl.max(dy / dz))
    fields = (pyramids, ends, grid, field_half_width, slab)
    maps = (occupied + item * levels * blocks * blocks, side, blocks, half_width)
    todo, near, far = layers_in_sight(footprint, fields, maps, levels, LEVELS, DEPTH)
    level = tl.arange(0, LEVELS)

    left = tl.where(inside, 1.0, 0.0)  # transmittance
    red, green, blue = left * 0, left * 0, left * 0
    weight, depth = left * 0, left * 0
    unit: tl.constexpr = 1 / 255 if KIND == "uint8" else 1.0
    for i in range(levels):
        if ((todo >> i) & 1) != 0:
            live = left > OPAQUE
            surface = (heights + i * grid * grid, grid, field_half_width)
            above = (tl.sum(tl.where(level == i, near, 0.0)) - oz) / dz
            below = (tl.sum(tl.where(level == i, far, 0.0)) - oz) / dz
            t = _hit(surface, ray, live, above, below, STEPS)
            x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
            widest = tl.maximum(tl.abs(x), tl.abs(y))
            seen = live & (widest <= field_half_width) & (t > 0) & (z > -slab) & (z <= slab) & (t <= end)
            r, g, b, a = _bilinear(
                texels + i * side * side * words,
                side,
                (1 + x / half_width) * map_half + 0.5,  # the border moves texels by one
                (1 + y / half_width) * map_half + 0.5,
                seen,
                KIND,
            )
            a *= unit
            if FADE > 0:
                a *= tl.minimum(tl.maximum((1 - widest / half_width) / FADE, 0.0), 1.0)
            w = tl.where(seen, a, 0.0) * left
            red += w * r
            green += w * g
            blue += w * b
            depth += w * t
            weight += w
            left -= w  # T (1 - alpha)
            todo = tl.where(tl.max(left) > OPAQUE, todo, todo * 0)

    backdrop_half = (background_side - 2) * 0.5
    r, g, b, _a = _bilinear(
        background,
        background_side,
        _reflected((_background_coordinate(ox + end * dx, half_width) + 1) * backdrop_half, 2 * backdrop_half) + 0.5,
        _reflected((_background_coordinate(oy + end * dy, half_width) + 1) * backdrop_half, 2 * backdrop_half) + 0.5,
        inside,
        KIND,
    )
    depth += left * end
    if MEAN:
        depth /= tl.maximum(weight + left, 1e-6)
    pixels = height * width
    here = row * width + column
    first = camera.to(tl.int64) * pixels
    tl.store(rgb + 3 * first + here, 2 * unit * (red + left * r) - 1, mask=inside)
    tl.store(rgb + 3 * first + pixels + here, 2 * unit * (green + left * g) - 1, mask=inside)
    tl.store(rgb + 3 * first + 2 * pixels + here, 2 * unit * (blue + left * b) - 1, mask=inside)
    tl.store(alpha + first + here, weight, mask=inside)
    tl.store(distance + first + here, depth, mask=inside)


@triton.jit
def _ray(pose, fov_degrees, across, down):
    """Pixel positions in [-1, 1] -> the camera's centre and unit directions in the world."""
    half_angle = fov_degrees * 0.008726646259971648  # degrees to radians, halved
    focal = tl.cos(half_angle) / tl.sin(half_angle)
    scale = 1 / tl.sqrt(across * across + down * down + focal * focal)
    right, up, back = across * scale, -down * scale, -focal * scale
    dx = right * tl.load(pose) + up * tl.load(pose + 1) + back * tl.load(pose + 2)
    dy = right * tl.load(pose + 4) + up * tl.load(pose + 5) + back * tl.load(pose + 6)
    dz = right * tl.load(pose + 8) + up * tl.load(pose + 9) + back * tl.load(pose + 10)
    return tl.load(pose + 3), tl.load(pose + 7), tl.load(pose + 11), dx, dy, dz


@triton.jit
def _hit(surface, ray, live, above, below, STEPS: tl.constexpr):
    """HeightFields.distance: Newton's method from a point above the surface, kept between it and one below."""
    t = above
    step = 0
    moved = tl.max(tl.abs(above)) + 1  # anything but settled
    while (moved > SETTLED) & (step < STEPS):
        gap, rate = _gap(surface, ray, t)
        above, below = tl.where(gap > 0, t, above), tl.where(gap > 0, below, t)
        newton = t - gap / rate
        trusted = (rate < 0) & (newton >= above) & (newton <= below)
        reached = tl.where(trusted, newton, (above + below) * 0.5)
        moved = tl.max(tl.where(live, tl.abs(reached - t), 0.0))
        t = reached
        step += 1
    return t


@triton.jit
def _gap(surface, ray, t):
    """How far rays are above the surface at t, and its derivative: the bilinear patch."""
    ox, oy, oz, dx, dy, dz = ray
    heights, grid, half_width = surface
    scale, last = (grid - 1) / (2 * half_width), (grid - 1).to(tl.float32)
    u = tl.minimum(tl.maximum((ox + t * dx + half_width) * scale, 0.0), last)
    v = tl.minimum(tl.maximum((oy + t * dy + half_width) * scale, 0.0), last)
    column, row = tl.minimum(u.to(tl.int32), grid - 2), tl.minimum(v.to(tl.int32), grid - 2)
    fu, fv = u - column, v - row
    corner = heights + row * grid + column
    a, b = tl.load(corner), tl.load(corner + 1)
    c, d = tl.load(corner + grid), tl.load(corner + grid + 1)
    lower, upper = a + fu * (b - a), c + fu * (d - c)
    slope_x, slope_y = (b - a + fv * ((d - c) - (b - a))) * scale, (upper - lower) * scale
    return oz + t * dz - (lower + fv * (upper - lower)), dz - slope_x * dx - slope_y * dy


@triton.jit
def _texel(words, index, mask, KIND: tl.constexpr):
    """r, g, b, alpha of texels as float32; 8-bit ones count to 255, alpha too."""
    if KIND == "uint8":
        word = tl.load(words + index, mask=mask, other=0)
        r, g = (word & 255).to(tl.float32), ((word >> 8) & 255).to(tl.float32)
        b, a = ((word >> 16) & 255).to(tl.float32), ((word >> 24) & 255).to(tl.float32)
    elif KIND == "float16":
        word = tl.load(words + index, mask=mask, other=0)
        r = word.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        g = (word >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        b = (word >> 32).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        a = ((word >> 48) & 65535).to(tl.int32).to(tl.float32) * (1 / 65535)
    else:
        first = tl.load(words + 2 * index, mask=mask, other=0)
        second = tl.load(words + 2 * index + 1, mask=mask, other=0)
        r, g = first.to(tl.int32).to(tl.float32, bitcast=True), (first >> 32).to(tl.int32).to(tl.float32, bitcast=True)
        b, a = (
            second.to(tl.int32).to(tl.float32, bitcast=True),
            (second >> 32).to(tl.int32).to(tl.float32, bitcast=True),
        )
    return r, g, b, a


@triton.jit
def _bilinear(words, side, u, v, mask, KIND: tl.constexpr):
    """Texels of a side x side picture at column u, row v, clamped to [0, side - 1]."""
    u = tl.minimum(tl.maximum(u, 0.0), (side - 1).to(tl.float32))
    v = tl.minimum(tl.maximum(v, 0.0), (side - 1).to(tl.float32))
    column, row = tl.minimum(u.to(tl.int32), side - 2), tl.minimum(v.to(tl.int32), side - 2)
    fu, fv = u - column, v - row
    corner = row * side + column
    r0, g0, b0, a0 = _texel(words, corner, mask, KIND)
    r1, g1, b1, a1 = _texel(words, corner + 1, mask, KIND)
    r2, g2, b2, a2 = _texel(words, corner + side, mask, KIND)
    r3, g3, b3, a3 = _texel(words, corner + side + 1, mask, KIND)
    w0, w1, w2, w3 = (1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu
    return (
        w0 * r0 + w1 * r1 + w2 * r2 + w3 * r3,
        w0 * g0 + w1 * g1 + w2 * g2 + w3 * g3,
        w0 * b0 + w1 * b1 + w2 * b2 + w3 * b3,
        w0 * a0 + w1 * a1 + w2 * a2 + w3 * a3,
    )


@triton.jit
def _background_coordinate(x, half_width):
    """manifolds.background_coordinate: even inside |x| <= half_width, an arc tangent outside."""
    size = tl.abs(x) / half_width
    outer = _arc_tangent(tl.maximum(size - 1, 0.0) * 0.5) + 0.5
    return tl.where(size <= 1, x / (2 * half_width), tl.where(x < 0, -outer, outer))


@triton.jit
def _arc_tangent(x):
    """atan(x) for x >= 0, to 2e-7: a polynomial on |x| <= tan(pi / 8) after the usual two reductions."""
    steep, middle = x > 2.414213562, x > 0.4142135624
    reduced = tl.where(steep, -1 / tl.maximum(x, 1.0), tl.where(middle, (x - 1) / (x + 1), x))
    base = tl.where(steep, 1.5707963268, tl.where(middle, 0.7853981634, 0.0))
    s = reduced * reduced
    series = ((0.0805374450 * s - 0.1387768560) * s + 0.1997771065) * s - 0.3333294915
    return base + reduced + reduced * s * series


@triton.jit
def _reflected(u, side):
    """u folded into [0, side]: the picture is mirrored at its borders."""
    u = tl.abs(u)
    turns = tl.floor(u / side)
    rest = u - turns * side
    return tl.where(turns.to(tl.int32) % 2 == 1, side - rest, rest)
