"""Super-resolution that remembers nothing but its maps: each is made again, alone, when the backward pass asks for it.

Activations of one map are hundreds of megabytes at published widths, and every identity has 23 maps. Where all together
would take more than `ROOM` bytes, the first pass therefore keeps none (it may be the compiled twin), and the backward
pass remembers those of one map at a time. N identities, L maps each, g x g in. First derivatives only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gramhd_core.networks.super_resolution import (
    BackgroundSuperResolution,
    MapSuperResolution,
    SuperResolutionConfig,
)

ROOM = 2 << 30  # bytes of activations that a processor keeps
SHARE = 0.5  # of the free memory of a GPU
DENSE = 4  # numbers of a dense block's widest input that are held in all, over that input: 64, 96, ... 192 and outputs


def activation_bytes(config: SuperResolutionConfig, size: int, *, blocks: int, ups: Sequence[int]) -> int:
    """About what autograd holds of one map of side `size` (float32): inputs of all convolutions and activations."""
    widest = config.width + 4 * config.growth
    pixels, numbers = size * size, 0
    numbers += pixels * (2 * config.width + blocks * 3 * DENSE * widest)
    for channels in ups:
        pixels *= 4
        numbers += 3 * pixels * channels
    return 4 * (numbers + 3 * pixels * ups[-1])


def forgets(config: SuperResolutionConfig, maps: Tensor) -> bool:
    """Whether the activations of all maps [M, C, g, g] are too many to keep."""
    room = ROOM
    if maps.is_cuda:
        room = int(SHARE * torch.cuda.mem_get_info(maps.device)[0])
    each = activation_bytes(config, maps.shape[-1], blocks=config.blocks, ups=config.up_channels)
    return len(maps) * each > room


def made_again(
    network: MapSuperResolution | BackgroundSuperResolution,
    first: Callable[[], Tensor],
    maps: Tensor,
    style: Tensor | None = None,
) -> Tensor:
    """What network(maps, style) is, with its gradients; first(): the same without gradients, by whatever is quickest.

    maps [N * L, C, g, g] with identity-major order, style [N, S] (None: a network without style).
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    return _MadeAgain.apply(network, first, maps, style, *learning)  # type: ignore[return-value]


class _MadeAgain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: nn.Module, first: Callable[[], Tensor], maps: Tensor, style: Tensor | None, *learning: Tensor
    ) -> Tensor:
        ctx.network = network
        ctx.autocast = torch.is_autocast_enabled(maps.device.type), torch.get_autocast_dtype(maps.device.type)
        ctx.save_for_backward(maps, style, *learning)
        return first()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        maps, style, *learning = ctx.saved_tensors
        wants_maps, wants_style = ctx.needs_input_grad[2:4]
        of_maps = torch.empty_like(maps) if wants_maps else None
        of_style = torch.zeros_like(style) if wants_style and style is not None else None
        totals = [torch.zeros_like(p) for p in learning]
        per = len(maps) if style is None else len(maps) // len(style)
        enabled, kind = ctx.autocast
        for i in range(len(maps)):
            one = maps[i : i + 1].detach().requires_grad_(wants_maps)
            inputs: list[Tensor] = [one]
            if style is not None:
                inputs.append(style[i // per : i // per + 1].detach().requires_grad_(wants_style))
            with torch.enable_grad(), torch.autocast(maps.device.type, kind, enabled=enabled):
                made = ctx.network(*inputs)
            sources = [*(t for t in inputs if t.requires_grad), *learning]
            found = list(torch.autograd.grad(made, sources, grads[0][i : i + 1], allow_unused=True))
            if of_maps is not None:
                of_maps[i] = _some(found.pop(0), one)[0]
            if of_style is not None:
                of_style[i // per] += _some(found.pop(0), inputs[1])[0]
            for total, part in zip(totals, found, strict=True):
                if part is not None:
                    total += part
        return None, None, of_maps, of_style, *totals


def _some(gradient: Tensor | None, of: Tensor) -> Tensor:
    return torch.zeros_like(of) if gradient is None else gradient
