"""Antialiased resampling of image batches [B, C, H, W]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gramhd_core.errors import BadConfig


def downsample(image: Tensor, factor: int) -> Tensor:
    """Antialiased bicubic reduction (a = -0.5) by an integer factor, borders replicated (GRAM-HD: consistency loss)."""
    height, width = image.shape[-2:]
    if height % factor or width % factor:
        raise BadConfig(
            f"a {width} x {height} picture cannot be reduced by {factor}",
            expected="both sides must be multiples of the factor",
            remedy="choose sizes that divide",
        )
    if factor == 1:
        return image
    padded = F.pad(image, (2 * factor,) * 4, mode="replicate")
    size = (height // factor + 4, width // factor + 4)
    small = F.interpolate(padded, size=size, mode="bicubic", align_corners=False, antialias=True)
    return small[..., 2:-2, 2:-2]
