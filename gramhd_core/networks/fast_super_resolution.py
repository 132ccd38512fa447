"""Both super-resolution networks by compiled convolutions: processors, float32, no gradients.

The twins of `MapSuperResolution.forward` and `BackgroundSuperResolution.forward`, which stay the readable
definition. Every picture (one surface of one identity, or one background) goes through the whole network alone, in one
thread, while its activations are in the cache; the result does not depend on what else is made, or on how many threads
there are. Pictures: see winograd.py.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from gramhd_core.networks import winograd
from gramhd_core.networks.super_resolution import (
    RESIDUAL,
    SLOPE,
    BackgroundSuperResolution,
    DenseBlock,
    MapSuperResolution,
    ModulatedConv,
    Rrdb,
)
from gramhd_core.networks.winograd import Filter, convolve, framed
from gramhd_core.networks.winograd_kernels import PANEL, doubled, enter, leave, multiply, project

ROOM = 2 << 30  # bytes that the activations of all threads together may take


class LowResolution(Protocol):
    """What goes in: see `super_resolve`."""

    @property
    def maps(self) -> Tensor: ...

    @property
    def background(self) -> Tensor: ...


class Trunk(NamedTuple):
    """What stands before the doublings: dense blocks in threes, a convolution on either side."""

    first: Filter
    rrdbs: list[list[list[Filter]]]
    last: Filter


class Head(NamedTuple):
    """What follows the trunk: doublings, a convolution at full size, the last weight [O, C] (1x1) or convolution."""

    ups: list[Filter]
    full: Filter
    last: Filter | tuple[np.ndarray, np.ndarray]


def super_resolve(
    foreground: MapSuperResolution, background: BackgroundSuperResolution, low: LowResolution, style: Tensor
) -> tuple[Tensor, Tensor]:
    """low.maps [N, L, 4 + F, g, g], low.background [N, 3, g, g], style [N, S] -> what the two networks make of them:
    [N, L, 4, s g, s g] and [N, 3, s g, s g]. Configs that are not `is_wide` are not for this.
    """
    assert foreground.config.is_wide and background.config.is_wide, "compiled code writes whole registers"
    n, levels, _, g, _ = low.maps.shape
    size = g * foreground.config.scale
    maps, rgb = low.maps.new_empty(n, levels, 4, size, size), low.maps.new_empty(n, 3, size, size)
    trunk, behind = _trunk(foreground), _trunk(background)
    heads, plain = [_modulated(foreground, one) for one in style], _plain(background)
    doubling = _shuffled if foreground.config.upsampling == "shuffle" else _smooth_first

    def one_background(i: int) -> None:
        rgb[i].numpy()[:] = _up(plain, _through(behind, low.background[i].numpy()), g, double=_smooth_last)

    def one_map(i: int, level: int) -> None:
        maps[i, level].numpy()[:] = _up(heads[i], _through(trunk, low.maps[i, level].numpy()), g, double=doubling)

    jobs = [partial(one_background, i) for i in range(n)]
    jobs += [partial(one_map, i, level) for i in range(n) for level in range(levels)]
    working = (
        12 * size**2 * max(PANEL, *foreground.config.up_channels[-1:])
    )  # bytes of one job: three full-size pictures
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), ROOM // working))) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()
    for given, made in zip(low.maps.flatten(0, 1), maps.flatten(0, 1), strict=True):
        made.copy_(foreground.finish(given[None], made[None])[0])
    return maps, background.finish(low.background, rgb)


def _prepared(conv: nn.Module) -> Filter:
    conv = cast(nn.Conv2d, conv)
    assert conv.bias is not None
    return winograd.prepared(conv.weight.detach().numpy(), conv.bias.detach().numpy())


def _trunk(network: MapSuperResolution | BackgroundSuperResolution) -> Trunk:
    rrdbs = [
        [[_prepared(conv) for conv in cast(DenseBlock, block).convs] for block in cast(Rrdb, rrdb).blocks]
        for rrdb in network.trunk
    ]
    return Trunk(_prepared(network.conv_first), rrdbs, _prepared(network.trunk_conv))


def _modulated(network: MapSuperResolution, style: Tensor) -> Head:
    """The head of one identity."""
    *styles, full, last = style[None].split(network.config.style_widths, dim=1)
    shuffled = network.config.upsampling == "shuffle"

    def arrays(conv: nn.Module, s: Tensor) -> tuple[np.ndarray, np.ndarray]:
        conv = cast(ModulatedConv, conv)
        assert conv.bias is not None
        return conv.modulated(s)[0].detach().numpy(), conv.bias.detach().numpy()

    ups = [
        winograd.prepared(*arrays(conv, s), shuffle=shuffled) for conv, s in zip(network.upconvs, styles, strict=True)
    ]
    weight, bias = arrays(network.conv_last, last)
    return Head(ups, winograd.prepared(*arrays(network.hr_conv, full)), (weight[:, :, 0, 0], bias))


def _plain(network: BackgroundSuperResolution) -> Head:
    return Head([_prepared(conv) for conv in network.upconvs], _prepared(network.hr_conv), _prepared(network.conv_last))


def _through(trunk: Trunk, channels: np.ndarray) -> np.ndarray:
    """channels [C, g, g] -> picture behind the trunk."""
    depth, g, _ = channels.shape
    x = framed(g, g, depth)
    x[1 : g + 1, 1 : g + 1, :depth] = channels.transpose(1, 2, 0)
    first = convolve(x, trunk.first, size=(g, g))
    x = first
    dense = trunk.rrdbs[0][0]
    wide, widest = x.shape[2] + sum(kernel.outputs for kernel in dense[:-1]), max(len(kernel.bias) for kernel in dense)
    tiles, products = winograd.workspace(((x.shape[0] - 2) // 4) ** 2, wide, widest)
    for rrdb in trunk.rrdbs:
        start = x
        for block in rrdb:
            x = _dense(x, block, tiles, products, size=(g, g))
        x = np.add(start, np.multiply(x, np.float32(RESIDUAL), out=x), out=x)
    return np.add(first, convolve(x, trunk.last, size=(g, g)), out=x)


def _dense(
    x: np.ndarray, block: list[Filter], tiles: np.ndarray, products: np.ndarray, *, size: tuple[int, int]
) -> np.ndarray:
    """A dense block: every picture is taken to tiles once, for all convolutions that read it."""
    rows = (x.shape[0] - 2) // 4
    y, channel = x, 0
    for i, kernel in enumerate(block):
        enter(y, 0, rows, tiles, channel)
        channel += y.shape[2]
        y = framed(*size, kernel.outputs)
        part = products[:, :, : len(kernel.bias)]
        multiply(tiles, kernel.panels, part, rows * rows)
        slope = SLOPE if i + 1 < len(block) else 1.0
        leave(part, kernel.bias, slope, 0, rows, size, 1, y)
    return np.add(x, np.multiply(y, np.float32(RESIDUAL), out=y), out=y)


def _up(head: Head, x: np.ndarray, g: int, *, double: Callable[[np.ndarray, Filter, int], np.ndarray]) -> np.ndarray:
    """Picture behind the trunk -> raw last layer [O, s g, s g]."""
    for kernel in head.ups:
        x = double(x, kernel, g)
        g *= 2
    x = convolve(x, head.full, size=(g, g), slope=SLOPE)
    if isinstance(head.last, Filter):
        return convolve(x, head.last, size=(g, g))[1 : g + 1, 1 : g + 1, : head.last.outputs].transpose(2, 0, 1)
    weight, bias = head.last
    return project(x, np.ascontiguousarray(weight), bias, (g, g))


def _shuffled(x: np.ndarray, kernel: Filter, g: int) -> np.ndarray:
    return convolve(x, kernel, size=(g, g), slope=SLOPE, shuffle=True)


def _smooth_first(x: np.ndarray, kernel: Filter, g: int) -> np.ndarray:
    x = doubled(convolve(x, kernel, size=(g, g)), (g, g))
    return np.maximum(x, np.float32(SLOPE) * x, out=x)


def _smooth_last(x: np.ndarray, kernel: Filter, g: int) -> np.ndarray:
    return doubled(convolve(x, kernel, size=(g, g), slope=SLOPE), (g, g))
