"""The only alpha compositing in the house: front to back, one layer at a time.

For layers i = 1..L, nearest first (GRAM: compositing):
    T_i = prod_{j<i} (1 - alpha_j + 1e-10)        w_i = alpha_i T_i        C = sum_i w_i c_i
"""

from __future__ import annotations

import torch
from torch import Tensor

KEEP = 1e-10  # the published epsilon: a gradient survives behind opaque layers


class FrontToBack:
    """Accumulates layers; memory does not grow with their number (unless gradients are recorded).

    colour [..., 3], weighted_distance [...], weight [...] (sum of w_i), foreground [...] (the same without the
    background), transmittance [...].
    """

    def __init__(self, shape: torch.Size | tuple[int, ...], *, like: Tensor):
        """shape: leading shape of one layer, e.g. (N, R)."""
        self.colour = like.new_zeros((*shape, 3))
        self.weighted_distance = like.new_zeros(shape)
        self.weight = like.new_zeros(shape)
        self.foreground = like.new_zeros(shape)
        self.transmittance = like.new_ones(shape)

    def add(self, colour: Tensor, alpha: Tensor, distance: Tensor, *, background: Tensor | bool = False) -> None:
        """One layer: colour [..., 3], alpha [...] in [0, 1], distance [...]; background: where it is the backdrop."""
        weight = alpha * self.transmittance  # w_i = alpha_i T_i
        self.colour = torch.addcmul(self.colour, weight[..., None], colour)
        self.weighted_distance = torch.addcmul(self.weighted_distance, weight, distance)
        self.weight = self.weight + weight
        if background is not True:
            self.foreground = self.foreground + (weight if background is False else weight * ~background)
        self.transmittance = self.transmittance * (1 - alpha + KEEP)

    def state(self) -> tuple[Tensor, ...]:
        """Everything accumulated so far; see `resumed`."""
        return tuple(vars(self).values())

    @classmethod
    def resumed(cls, *state: Tensor) -> FrontToBack:
        """The accumulator that had this `state`."""
        picture = cls.__new__(cls)
        names = ("colour", "weighted_distance", "weight", "foreground", "transmittance")
        vars(picture).update(zip(names, state, strict=True))
        return picture

    @classmethod
    def joined(cls, parts: list[FrontToBack]) -> FrontToBack:
        """Chunks of rays side by side (dimension 1)."""
        whole = cls.__new__(cls)
        for name in vars(parts[0]):
            setattr(whole, name, torch.cat([getattr(part, name) for part in parts], dim=1))
        return whole


def front_to_back(distance: Tensor, valid: Tensor) -> Tensor | None:
    """The order [..., L] that sorts layers front to back, or None where valid layers already are in order.

    distance [..., L]; entries that are not valid do not matter (their alpha is zero).
    """
    reached = torch.where(valid, distance, -torch.inf).cummax(dim=-1).values
    if bool((torch.where(valid, distance, torch.inf) >= reached).all()):
        return None
    return distance.argsort(dim=-1, stable=True)
