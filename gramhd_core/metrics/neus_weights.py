"""From signed distances along rays to weights: the unbiased, occlusion-aware density of NeuS.

R rays, K samples along each, K - 1 sections between them. Phi_s(x) = 1 / (1 + exp(-s x)); s, the sharpness, is learned.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-4  # share of a ray's samples that every section gets, so that none is out of reach


def section_alphas(sdf: Tensor, sharpness: Tensor | float) -> Tensor:
    """Signed distances [R, K] -> opacities of the sections [R, K - 1] in [0, 1).

    alpha_i = max((Phi_s(f_i) - Phi_s(f_{i+1})) / Phi_s(f_i), 0), by logarithms, so that it is exact deep
    inside as well, where both are almost zero (NeuS: unbiased weights).
    """
    log_phi = F.logsigmoid(sharpness * sdf)
    return -torch.expm1((log_phi[:, 1:] - log_phi[:, :-1]).clamp(max=0))


def weights_of(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Opacities [R, K] -> what each contributes, w_i = alpha_i prod_{j<i} (1 - alpha_j), [R, K], and
    what is left behind them all [R]: they sum to one."""
    seen = torch.cat([torch.ones_like(alphas[:, :1]), (1 - alphas).cumprod(dim=1)], dim=1)
    return seen[:, :-1] * alphas, seen[:, -1]


def resampled(edges: Tensor, weights: Tensor, *, count: int, rng: torch.Generator | None) -> Tensor:
    """`count` distances [R, count] from the distribution that weights [R, K - 1] of sections between edges [R, K] are.

    rng: draws one number in each of `count` equal parts of it; without, their middles are taken.
    """
    share = weights + LEAST * weights.sum(dim=1, keepdim=True).clamp(min=LEAST) / weights.shape[1]
    total = F.pad(share.cumsum(dim=1), (1, 0))
    total = total / total[:, -1:]
    part = torch.arange(count, device=edges.device) + jitter((len(edges), count), rng, like=edges)
    asked = (part / count).clamp(max=1 - 1e-6).contiguous()
    place = torch.searchsorted(total, asked, right=True).clamp(1, edges.shape[1] - 1)
    low, high = total.gather(1, place - 1), total.gather(1, place)
    within = (asked - low) / (high - low).clamp(min=1e-9)
    start, end = edges.gather(1, place - 1), edges.gather(1, place)
    return start + within.clamp(0, 1) * (end - start)


def jitter(shape: tuple[int, ...], rng: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Numbers in [0, 1) drawn by a CPU generator; one half everywhere without one."""
    if rng is None:
        return torch.full(shape, 0.5, device=like.device, dtype=like.dtype)
    return torch.rand(shape, generator=rng, dtype=like.dtype).to(like.device)
