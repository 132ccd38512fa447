"""Which layers the rays of a tile can meet, and where: the part of the Triton kernel that skips work.

L level sets, G x G heights, P blocks of a pyramid: 2^DEPTH x 2^DEPTH blocks of CELLS x CELLS grid cells, then 2 x 2 of
those to a block, and so on up to one. All levels are worked on at once. Importing this file imports triton.
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
# What stands in a kernel is read by triton, not run by Python: static_range and constexpr mean more there.

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = tl.constexpr(8)  # texels per block of the table of what is empty
CELLS = tl.constexpr(4)  # height-grid cells per block at the bottom of the pyramids
NARROWINGS = tl.constexpr(4)
SLACK = tl.constexpr(2e-4)  # world units added around what rays reach: far more than any rounding


@triton.jit
def layers_in_sight(footprint, fields, maps, levels, LEVELS: tl.constexpr, DEPTH: tl.constexpr):
    """int64 with a bit for every level on which the rays may meet something; two heights per level [LEVELS] between
    which to look for the hits.

    footprint: the camera's centre x, y, z and the least and greatest dx / dz and dy / dz of the rays.
    Rays between two heights reach a box of x, y; the surface over that box lies between two heights; and so on. The
    table of filled blocks says whether the last box is empty. Where a ray is not steeper than the surface over it, and
    so might meet it again, the heights stay those of the whole surface.
    """
    pyramids, ends, _grid, _half_width, slab = fields
    level = tl.arange(0, LEVELS)
    known = level < levels
    blocks: tl.constexpr = ((4 << (2 * DEPTH)) - 1) // 3
    front, behind = tl.load(ends + level, known, other=0.0), tl.load(ends + levels + level, known, other=0.0)
    near, far = front, behind
    for _ in tl.static_range(NARROWINGS):
        corners = _corners(fields, level, _box(footprint, near, far), DEPTH)
        near = tl.minimum(near, _most(pyramids, corners, known) + SLACK)
        far = tl.maximum(far, -_most(pyramids + levels * blocks, corners, known) - SLACK)
    box = _box(footprint, near, far)
    met = known & (near >= far) & (near > -slab) & (far <= slab) & _filled(maps, level, known, box)
    steepest = _most(pyramids + 2 * levels * blocks, _corners(fields, level, box, DEPTH), known)
    _ox, _oy, _oz, left, right, down, up = footprint
    across, along = tl.maximum(tl.abs(left), tl.abs(right)), tl.maximum(tl.abs(down), tl.abs(up))
    folded = steepest * tl.sqrt(across * across + along * along) >= 1
    bit = tl.full([LEVELS], 1, tl.int64) << level.to(tl.int64)
    todo = tl.sum(tl.where(met, bit, bit - bit))
    return todo, tl.where(folded, front, near), tl.where(folded, behind, far)


@triton.jit
def _box(footprint, near, far):
    """Least and greatest x, least and greatest y that the rays reach between the planes z = near and z = far."""
    ox, oy, oz, left, right, down, up = footprint
    x0, x1 = _reach(ox, near - oz, far - oz, left, right)
    y0, y1 = _reach(oy, near - oz, far - oz, down, up)
    return x0, x1, y0, y1


@triton.jit
def _reach(origin, near, far, least, most):
    """Coordinates that rays of slopes least..most reach between two planes; near, far: z relative to the camera."""
    a, b, c, d = near * least, near * most, far * least, far * most
    low = tl.minimum(tl.minimum(a, b), tl.minimum(c, d))
    high = tl.maximum(tl.maximum(a, b), tl.maximum(c, d))
    return origin + low - SLACK, origin + high + SLACK


@triton.jit
def _index(position, last):
    """Whole part of a position clamped to [0, last]."""
    return tl.minimum(tl.maximum(position, 0.0), last.to(tl.float32)).to(tl.int32)


@triton.jit
def _corners(fields, level, box, DEPTH: tl.constexpr):
    """Where in the pyramid of every level the four blocks are that cover its box, on the storey where four do."""
    _pyramids, _ends, grid, half_width, _slab = fields
    x0, x1, y0, y1 = box
    scale, last = (grid - 1) / (2 * half_width), grid - 2
    left, right = _index((x0 + half_width) * scale, last) // CELLS, _index((x1 + half_width) * scale, last) // CELLS
    down, up = _index((y0 + half_width) * scale, last) // CELLS, _index((y1 + half_width) * scale, last) // CELLS
    reach = tl.maximum(right - left, up - down)
    storey = left * 0
    for k in tl.static_range(DEPTH):
        storey += (reach > (1 << k)).to(tl.int32)
    whole: tl.constexpr = 4 << (2 * DEPTH)  # a pyramid has (whole - 1) / 3 blocks
    bottom = level * ((whole - 1) // 3) + (whole - (whole >> (2 * storey))) // 3
    row_length = (1 << DEPTH) >> storey
    lower, upper = bottom + (down >> storey) * row_length, bottom + (up >> storey) * row_length
    return lower + (left >> storey), lower + (right >> storey), upper + (left >> storey), upper + (right >> storey)


@triton.jit
def _most(table, corners, known):
    """The greatest of four entries."""
    a, b, c, d = corners
    return tl.maximum(
        tl.maximum(tl.load(table + a, known, other=0.0), tl.load(table + b, known, other=0.0)),
        tl.maximum(tl.load(table + c, known, other=0.0), tl.load(table + d, known, other=0.0)),
    )


@triton.jit
def _filled(maps, level, known, box):
    """Whether the box of every level holds a block that is not empty: four entries of a summed table."""
    occupied, side, blocks, half_width = maps
    x0, x1, y0, y1 = box
    half, last = (side - 2) * 0.5, side - 1
    left, right = _index((1 + x0 / half_width) * half + 0.5, last), _index((1 + x1 / half_width) * half + 1.5, last)
    down, up = _index((1 + y0 / half_width) * half + 0.5, last), _index((1 + y1 / half_width) * half + 1.5, last)
    lower = occupied + (level * blocks + down // BLOCK) * blocks
    upper = occupied + (level * blocks + up // BLOCK + 1) * blocks
    left, right = left // BLOCK, right // BLOCK + 1
    whole = tl.load(upper + right, known, other=0) - tl.load(upper + left, known, other=0)
    return whole - tl.load(lower + right, known, other=0) + tl.load(lower + left, known, other=0) > 0
