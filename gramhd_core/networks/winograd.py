"""3x3 convolutions with a quarter of the products, compiled: no gradients, float32, one picture per call.

Minimal filtering F(4x4, 3x3) (Winograd; Lavin and Gray 2016): 6 x 6 tiles of the input, 4 apart, are taken to 36
points, where a convolution is one matrix product each, and come back as 4 x 4 tiles of the output:

    Y = A^T [ (G w G^T) . (B^T d B) ] A          36 products where the sum over 3 x 3 has 144

H x W pixels, I / O channels in / out, T = th x tw tiles, V = T rounded up to whole blocks of the product.
A picture is [4 th + 2, 4 tw + 2, C], channels last, zero outside of its H x W pixels, which begin at [1, 1]; C is
rounded up to a multiple of 16 (`framed`). The readable twin is torch's conv2d: tests/networks/test_winograd.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gramhd_core.networks.winograd_kernels import BLOCK, PANEL, enter, leave, multiply

POINTS = 36
STRIP = 256  # tiles on their way at once: they stay in the processor's cache

FILTER = np.array(  # G, for the points 0, 1, -1, 2, -2, infinity
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


class Filter(NamedTuple):
    """A convolution ready for use: panels float32 [36, P, I, 16], bias [16 P], O outputs.

    P = ceil(O / 16) panels; for a shuffle four groups (row, column) of ceil(O / 64) each.
    """

    panels: np.ndarray
    bias: np.ndarray
    outputs: int


def prepared(weight: np.ndarray, bias: np.ndarray, *, shuffle: bool = False) -> Filter:
    """weight [O, I, 3, 3], bias [O] -> Filter; shuffle: for `convolve(shuffle=True)`."""
    outputs, inputs = weight.shape[:2]
    both = np.kron(FILTER, FILTER).astype(np.float32)  # [36, 9]
    points = both @ weight.astype(np.float32).reshape(-1, 9).T  # [36, O I]
    groups = 4 if shuffle else 1
    points = points.reshape(POINTS, -1, groups, inputs).swapaxes(1, 2)
    pad = -points.shape[2] % PANEL
    points = np.pad(points, ((0, 0), (0, 0), (0, pad), (0, -inputs % PANEL)))
    panels = points.reshape(POINTS, -1, PANEL, points.shape[3]).swapaxes(2, 3)
    bias = np.pad(bias.astype(np.float32).reshape(-1, groups).T, ((0, 0), (0, pad)))
    return Filter(np.ascontiguousarray(panels), bias.reshape(-1), outputs)


def framed(height: int, width: int, channels: int) -> np.ndarray:
    """An empty picture: zeros [4 th + 2, 4 tw + 2, C]; its pixels are [1 : H + 1, 1 : W + 1]."""
    return np.zeros((*framed_shape(height, width), channels + -channels % PANEL), np.float32)


def framed_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a picture of height x width pixels."""
    return 4 * -(-height // 4) + 2, 4 * -(-width // 4) + 2


def convolve(
    x: np.ndarray, kernel: Filter, *, size: tuple[int, int], slope: float = 1.0, shuffle: bool = False
) -> np.ndarray:
    """Picture of `size` pixels -> LeakyReLU(convolution + bias) as a new picture.

    slope 1: no activation. shuffle: pixel shuffle before the activation; the picture doubles.
    """
    assert x.shape[2] >= kernel.panels.shape[2] and x.shape[:2] == framed_shape(*size), (x.shape, size)
    scale = 2 if shuffle else 1
    out = framed(scale * size[0], scale * size[1], kernel.outputs // scale**2)
    down, across = (x.shape[0] - 2) // 4, (x.shape[1] - 2) // 4
    step = min(down, max(1, STRIP // (across * max(1, (x.shape[2] + len(kernel.bias)) // 128))))
    tiles, products = workspace(step * across, x.shape[2], len(kernel.bias))
    for first in range(0, down, step):
        rows = min(step, down - first)
        enter(x, first, rows, tiles, 0)
        multiply(tiles, kernel.panels, products, rows * across)
        leave(products, kernel.bias, slope, first, rows, size, scale, out)
    return out


def workspace(tiles: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for tiles [36, V, inputs] and products [36, V, outputs], V = `tiles` rounded up to whole blocks."""
    whole = BLOCK * -(-tiles // BLOCK)
    return np.zeros((POINTS, whole, inputs), np.float32), np.empty((POINTS, whole, outputs), np.float32)
