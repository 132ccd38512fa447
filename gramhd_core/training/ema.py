"""Exponential moving average of a network's weights, kept in a copy of the network."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class Ema(Generic[N]):
    """average <- decay average + (1 - decay) weights, decay warmed up as min(decay, (1 + n) / (10 + n))."""

    def __init__(self, network: N, *, decay: float):
        self.decay = decay
        self.updates = 0
        self.average = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: N) -> None:
        """Take one step towards `network`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = [
            (mean, now.detach())
            for mean, now in zip(self.average.parameters(), network.parameters(), strict=True)
            if now.requires_grad
        ]
        if pairs:
            torch._foreach_lerp_([mean for mean, _ in pairs], [now for _, now in pairs], 1 - decay)
