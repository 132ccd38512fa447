"""The losses of GRAM and GRAM-HD, one equation each. B images, f = softplus; docs/papers.md maps them to the papers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.geometry.resample import downsample


def realistic(logits: Tensor) -> Tensor:
    """mean f(-D(x)): low when the discriminator calls x real (GRAM: adversarial loss).

    The generator's loss on fakes, the discriminator's on reals.
    """
    return F.softplus(-logits).mean()


def fake(logits: Tensor) -> Tensor:
    """mean f(D(x)): low when the discriminator calls x fake (GRAM: adversarial loss)."""
    return F.softplus(logits).mean()


def pose(predicted: Tensor, actual: Tensor) -> Tensor:
    """Mean squared error of (pitch, yaw) [B, 2], radians (GRAM: pose loss); mean over both angles as in the code."""
    return F.mse_loss(predicted, actual)


def r1(scores: Tensor, images: Tensor) -> Tensor:
    """mean_b ||d sum(scores) / d x_b||^2 on real images that require gradients (R1: gradient penalty)."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def consistency(high: Tensor, low: Tensor) -> Tensor:
    """mean (down(high) - low)^2 for image batches [B, C, S, S] and [B, C, s, s] (GRAM-HD: consistency loss)."""
    return F.mse_loss(downsample(high, high.shape[-1] // low.shape[-1]), low)
