"""From an image to the latents that may have made it (VAE: recognition model). B images in [-1, 1], S x S."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.errors import BadConfig
from gramhd_core.geometry.resample import downsample
from gramhd_core.networks.discriminators import HalvingBlock, coordinates

SMALLEST = 2  # pixels: side of the last feature map


@dataclass(frozen=True)
class EncoderConfig:
    """Images are first reduced to `image_size`; one width for the input and one per halving."""

    image_size: int = 32
    widths: tuple[int, ...] = (24, 48, 96, 128, 160)

    def __post_init__(self) -> None:
        at_least(self, 8, "image_size")
        if SMALLEST * 2 ** (len(self.widths) - 1) != self.image_size:
            raise BadConfig(
                f"encoder.widths has {len(self.widths)} entries and encoder.image_size={self.image_size}",
                expected=f"images are halved once per width after the first, down to {SMALLEST} x {SMALLEST}",
                remedy="change widths or image_size",
            )


class Guess(NamedTuple):
    """A Gaussian over z: mean and log variance [B, z_dim]."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """z [B, z_dim] of unit noise of the same shape (VAE: reparameterisation)."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def divergence(self) -> Tensor:
        """KL from the prior N(0, 1), nats, mean over the batch (VAE: divergence)."""
        m, v = self.mean, self.log_variance
        return 0.5 * (m.square() + v.exp() - v - 1).sum(dim=1).mean()


class Encoder(nn.Module):
    """Halving blocks, then one linear layer. Begins by guessing the prior."""

    def __init__(self, config: EncoderConfig, z_dim: int):
        super().__init__()
        self.config, self.z_dim = config, z_dim
        widths = config.widths
        self.enter = nn.Conv2d(5, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(
            *(HalvingBlock(a, b, with_coordinates=False) for a, b in zip(widths[:-1], widths[1:], strict=True))
        )
        self.leave = nn.Linear(widths[-1] * SMALLEST**2, 2 * z_dim)
        with torch.no_grad():
            self.leave.weight[z_dim:].mul_(0.1)
            self.leave.bias.zero_()
            self.leave.bias[z_dim:].fill_(2 * math.log(0.5))

    def forward(self, image: Tensor) -> Guess:
        """[B, 3, S, S], S a power of two -> Guess. Smaller images are enlarged."""
        side, size = image.shape[-1], self.config.image_size
        if side < size:
            small = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
        else:
            small = downsample(image, side // size)
        x = self.blocks(self.enter(torch.cat([small, coordinates(small)], dim=1)))
        return Guess(*self.leave(x.flatten(1)).chunk(2, dim=1))
