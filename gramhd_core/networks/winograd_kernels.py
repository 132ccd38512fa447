"""Compiled parts of winograd.py: to tiles, the products, and back. Letters and pictures are explained there.

The three pieces of vector code at the top are what no loop over arrays makes a compiler write. They are given addresses
(int64) and strides in bytes, work on LANES float32 at a time and check nothing.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

INPUT = np.array(  # B^T, for the points 0, 1, -1, 2, -2, infinity
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
OUTPUT = np.array(  # A^T
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)

WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if WIDE else 8  # float32 in a register
BLOCK = 12 if WIDE else 6  # rows of a product made at once: the sums fill the registers
PANEL = 16  # columns of a product made at once

WORD, SINGLE, INDEX = ir.IntType(64), ir.FloatType(), ir.IntType(32)
VECTOR = ir.VectorType(SINGLE, LANES)
FUSE = ("contract",)  # a product and a sum may become one operation


def _at(builder, base, stride, number: int, kind):
    """Pointer to base + number * stride."""
    return builder.inttoptr(builder.add(base, builder.mul(stride, WORD(number))), kind.as_pointer())


def _load(builder, pointer):
    value = builder.load(pointer)
    value.align = 4
    return value


def _spread(builder, value):
    """One number in all lanes."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, INDEX(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES))


@intrinsic
def _block(typing, a, a_row, b, c, c_row, inputs):
    """c [BLOCK, PANEL] = a [BLOCK, inputs] x b [inputs, PANEL], rows of a and c that far apart; inputs >= 1."""
    return types.void(*[types.int64] * 6), _block_code


def _block_code(context, builder, signature, arguments):
    a, a_row, b, c, c_row, inputs = arguments
    lane = WORD(4 * LANES)
    rows = [builder.add(a, builder.mul(a_row, WORD(r))) for r in range(BLOCK)]
    before = builder.block
    loop, after = builder.append_basic_block("inputs"), builder.append_basic_block("store")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(WORD)
    k.add_incoming(WORD(0), before)
    sums = [[builder.phi(VECTOR) for _ in range(PANEL // LANES)] for _ in rows]
    here = builder.add(b, builder.mul(k, WORD(4 * PANEL)))
    right = [_load(builder, _at(builder, here, lane, p, VECTOR)) for p in range(PANEL // LANES)]
    totals = []
    for row, parts in zip(rows, sums, strict=True):
        left = _spread(builder, builder.load(_at(builder, builder.add(row, builder.mul(k, WORD(4))), k, 0, SINGLE)))
        totals.append(
            [builder.fadd(s, builder.fmul(left, r, flags=FUSE), flags=FUSE) for s, r in zip(parts, right, strict=True)]
        )
        for s, total in zip(parts, totals[-1], strict=True):
            s.add_incoming(ir.Constant(VECTOR, [0.0] * LANES), before)
            s.add_incoming(total, loop)
    following = builder.add(k, WORD(1))
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, inputs), loop, after)
    builder.position_at_end(after)
    for r, parts in enumerate(totals):
        row = builder.add(c, builder.mul(c_row, WORD(r)))
        for p, total in enumerate(parts):
            builder.store(total, _at(builder, row, lane, p, VECTOR)).align = 4
    return context.get_dummy_value()


block_product: Any = _block  # a type checker takes the typing context for an argument


def mixing(matrix: np.ndarray) -> Any:
    """mix(source, source_stride, target, target_stride): target_i = sum_j matrix[i, j] source_j, each LANES numbers."""

    def code(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        parts = [_load(builder, _at(builder, source, source_stride, j, VECTOR)) for j in range(matrix.shape[1])]
        for i, row in enumerate(matrix):
            total = None
            for factor, part in zip(row, parts, strict=True):
                if factor == 0:
                    continue
                constant = ir.Constant(VECTOR, [float(factor)] * LANES)
                term = part if factor == 1 else builder.fmul(part, constant, flags=FUSE)
                total = term if total is None else builder.fadd(total, term, flags=FUSE)
            assert total is not None, "a row of zeros"
            builder.store(total, _at(builder, target, target_stride, i, VECTOR)).align = 4
        return context.get_dummy_value()

    @intrinsic
    def mix(typing, source, source_stride, target, target_stride):
        return types.void(*[types.int64] * 4), code

    return mix


@intrinsic
def _act(typing, source, bias, slope, target):
    """target = LeakyReLU(source + bias): LANES numbers each; slope a float32 of at most 1."""
    return types.void(types.int64, types.int64, types.float32, types.int64), _act_code


def _act_code(context, builder, signature, arguments):
    source, bias, slope, target = arguments
    none = WORD(0)
    value = builder.fadd(
        _load(builder, _at(builder, source, none, 0, VECTOR)), _load(builder, _at(builder, bias, none, 0, VECTOR))
    )
    small = builder.fmul(value, _spread(builder, slope))
    value = builder.select(builder.fcmp_ordered(">", value, small), value, small)
    builder.store(value, _at(builder, target, none, 0, VECTOR)).align = 4
    return context.get_dummy_value()


activate: Any = _act


_to_points = mixing(INPUT)
_from_points = mixing(OUTPUT)


@njit(nogil=True, cache=True, error_model="numpy")
def multiply(tiles: np.ndarray, panels: np.ndarray, products: np.ndarray, count: int) -> None:
    """products [36, V, O] = tiles [36, V, I...] x panels [36, O / 16, I, 16] for the first `count` tiles.

    Only the first I channels of the tiles are read.
    """
    inputs = panels.shape[2]
    a_row, c_row = tiles.strides[1], products.strides[1]
    for f in range(tiles.shape[0]):
        for p in range(panels.shape[1]):
            a, b, c = tiles[f].ctypes.data, panels[f, p].ctypes.data, products[f].ctypes.data + 4 * PANEL * p
            for t in range(0, count, BLOCK):
                block_product(a + t * a_row, a_row, b, c + t * c_row, c_row, inputs)


@njit(nogil=True, cache=True, error_model="numpy")
def enter(x: np.ndarray, first: int, rows: int, tiles: np.ndarray, channel: int) -> None:
    """B^T d B of tile rows first..first + rows of a picture, into tiles [36, V, channel : channel + C]."""
    channels, across = x.shape[2], (x.shape[1] - 2) // 4
    pixel, line = 4 * channels, 4 * channels * x.shape[1]
    lane, row, plane = 4 * LANES, 6 * 4 * LANES, tiles.strides[0]
    half = np.empty((6, 6, LANES), np.float32)
    between = half.ctypes.data
    for t in range(rows * across):
        corner = x[4 * (first + t // across), 4 * (t % across)].ctypes.data
        place = tiles[0, t].ctypes.data + 4 * channel
        for c in range(0, 4 * channels, lane):
            for r in range(6):
                _to_points(corner + r * line + c, pixel, between + r * row, lane)
            for q in range(6):
                _to_points(between + q * lane, row, place + q * plane + c, 6 * plane)
    half[0, 0, 0] = 0  # it lives until here: its address alone does not keep it


@njit(nogil=True, cache=True, error_model="numpy")
def leave(  # noqa: PLR0913
    products: np.ndarray,
    bias: np.ndarray,
    slope: float,
    first: int,
    rows: int,
    size: tuple[int, int],
    scale: int,
    out: np.ndarray,
) -> None:
    """LeakyReLU(A^T m A + bias) of tile rows first..first + rows into a picture; scale 2: see `convolve`."""
    channels, across = out.shape[2], (size[1] + 3) // 4
    lane, row, plane = 4 * LANES, 6 * 4 * LANES, products.strides[0]
    half, done = np.empty((4, 6, LANES), np.float32), np.empty((4, 4, LANES), np.float32)
    between, result = half.ctypes.data, done.ctypes.data
    for t in range(rows * across):
        top, left = 4 * (first + t // across), 4 * (t % across)
        for block in range(scale * scale):
            place = products[0, t].ctypes.data + 4 * block * channels
            offsets = bias.ctypes.data + 4 * block * channels
            for c in range(0, 4 * channels, lane):
                for q in range(6):
                    _from_points(place + q * plane + c, 6 * plane, between + q * lane, row)
                for i in range(4):
                    _from_points(between + i * row, lane, result + i * 4 * lane, lane)
                for i in range(min(4, size[0] - top)):
                    y = 1 + scale * (top + i) + block // 2
                    target = out[y, 1 + scale * left + block % 2].ctypes.data + c
                    for j in range(min(4, size[1] - left)):
                        here = result + (4 * i + j) * lane
                        activate(here, offsets + c, np.float32(slope), target + j * scale * 4 * channels)
    half[0, 0, 0] = done[0, 0, 0] = 0  # both live until here: their addresses alone do not keep them


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def project(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture, weight [O, C], bias [O] -> [O, H, W]: a convolution of 1 x 1."""
    outputs, inputs = weight.shape
    out = np.empty((outputs, size[0], size[1]), np.float32)
    for o in range(outputs):
        for i in range(size[0]):
            for j in range(size[1]):
                total = bias[o]
                for c in range(inputs):
                    total += weight[o, c] * x[i + 1, j + 1, c]
                out[o, i, j] = total
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def doubled(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture -> twice as large, bilinear (align_corners=False)."""
    height, width = size
    down, across = (2 * height + 3) // 4, (2 * width + 3) // 4
    out = np.zeros((4 * down + 2, 4 * across + 2, x.shape[2]), np.float32)
    most, least = np.float32(0.75), np.float32(0.25)
    for i in range(2 * height):
        near = i // 2
        far = min(max(near - 1 + 2 * (i % 2), 0), height - 1)
        for j in range(2 * width):
            here = j // 2
            there = min(max(here - 1 + 2 * (j % 2), 0), width - 1)
            for c in range(x.shape[2]):
                a = most * x[near + 1, here + 1, c] + least * x[near + 1, there + 1, c]
                b = most * x[far + 1, here + 1, c] + least * x[far + 1, there + 1, c]
                out[i + 1, j + 1, c] = most * a + least * b
    return out
