"""The paper's test of consistency: train NeuS on the views of one head, and compare its re-renderings with them.

V views of S x S pixels. Views of one solid head can be explained by one surface with one paint; views that contradict
each other cannot, and the contradiction is what is missing in the re-renderings (GRAM-HD, section 4: 30 views of 50
identities; the fit is scored on the very views it was trained on).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.metrics.neus_config import NeusConfig
from gramhd_core.metrics.views import ViewSet
from gramhd_core.progress import Progress


class NeusFit(NamedTuple):
    """psnr (decibels) and ssim: means over the views; per_view_psnr: V of them. rgb: uint8 [V, 3, S, S], the
    re-rendered pictures. distance: float [V, S, S] along the rays in world units, mean over what the ray meets.
    sharpness: the learned s, in radii of the region of interest. seconds: wall clock; iterations: done."""

    psnr: float
    ssim: float
    per_view_psnr: list[float]
    rgb: Tensor
    distance: Tensor
    sharpness: float
    seconds: float
    iterations: int


def fit(
    views: ViewSet,
    config: NeusConfig,
    *,
    rng: torch.Generator,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> NeusFit:
    """Train NeuS on the views and re-render them.

    rng: on the CPU; weights, rays and samples come from it, so the same seed is the same fit on the same machine.
    Results are on the CPU.
    """
    raise NotImplementedError
