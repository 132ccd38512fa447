"""What one head's maps have beyond what the networks make of its latent: the freckles that no latent says.

A photograph's colours put straight onto the surfaces (inversion). L level sets, M map side, S offset side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# In lengths of the way from the head to the average one: edits stay within the first, other heads are at the second.
NEAR, FAR = 0.8, 1.4


class MapOffsets(nn.Module):
    """Added to the maps of one head, and less to heads farther from it. Zero to begin with.

    maps [L, 4, S, S]: colours and opacity. background [3, S, S]. film [layers, 2, hidden]: whose they are.
    """

    def __init__(self, *, levels: int, side: int, film_shape: tuple[int, ...]):
        super().__init__()
        self.maps = nn.Parameter(torch.zeros(levels, 4, side, side))
        self.background = nn.Parameter(torch.zeros(3, side, side))
        self.register_buffer("film", torch.zeros(film_shape))
        self.film: Tensor

    def share(self, film: Tensor, centre: Tensor) -> Tensor:
        """Latents [N, layers, 2, hidden] and the average one [layers, 2, hidden] -> [N] in [0, 1]: 1 for this head
        and its neighbours (up to NEAR), 0 from FAR on."""
        whole = (self.film - centre).flatten().norm().clamp_min(1e-6)
        way = (film - self.film).flatten(1).norm(dim=1) / whole
        return ((FAR - way) / (FAR - NEAR)).clamp(0, 1)

    def forward(self, maps: Tensor, background: Tensor, *, share: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """maps [N, L, 4, M, M], background [N, 3, M, M] -> the same with `share` of the offsets; opacity in [0, 1]."""
        parts = torch.as_tensor(share).to(maps).reshape(-1, 1, 1, 1, 1)
        maps = maps + parts * _sized(self.maps, maps.shape[-1])
        background = background + parts[:, 0] * _sized(self.background[None], background.shape[-1])
        return torch.cat([maps[:, :, :3], maps[:, :, 3:].clamp(0, 1)], dim=2), background


def _sized(offsets: Tensor, side: int) -> Tensor:
    """[B, C, S, S] -> [B, C, side, side]."""
    if offsets.shape[-1] == side:
        return offsets
    return F.interpolate(offsets, size=(side, side), mode="bilinear", align_corners=False)
