"""The two super-resolution networks (GRAM-HD: super-resolution): one for the surfaces' maps, one for the background.

M maps (N identities x L surfaces), C channels, g x g grid in, (scale g) x (scale g) out.
Foreground channels in: r, g, b in about [0, 1], alpha, features. Out: r, g, b unbounded, alpha logit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.errors import BadConfig
from gramhd_core.networks.mapping import Mapping

SLOPE = 0.2  # of every LeakyReLU
RESIDUAL = 0.2  # scale of dense-block, RRDB and background residuals
LOGIT_FLOOR = 1e-3  # alpha is kept this far from 0 and 1 before its logit is taken ("residual" start only)


@dataclass(frozen=True)
class SuperResolutionConfig:
    """Widths of both networks. Defaults: GRAM-HD at scale 4 (64 -> 256).

    start "published": the foreground net starts from random weights. "residual": it adds to the up-sampled input and
    its last layer starts at zero, so that a short training can only add detail (as the background net always does).
    """

    z_dim: int = 256
    features: int = 32
    width: int = 64
    growth: int = 32
    blocks: int = 8
    up_channels: tuple[int, ...] = (64, 64)
    style_hidden: int = 256
    background_blocks: int = 4
    background_up_channels: tuple[int, ...] = (64, 32)
    start: Literal["published", "residual"] = "published"
    # "bilinear": features are up-sampled smoothly instead of shuffled, which cannot make a checkerboard
    upsampling: Literal["shuffle", "bilinear"] = "shuffle"

    def __post_init__(self) -> None:
        at_least(self, 1, "z_dim", "width", "growth", "style_hidden")
        if len(self.up_channels) != len(self.background_up_channels) or not self.up_channels:
            raise BadConfig(
                f"{len(self.up_channels)} sr.up_channels and {len(self.background_up_channels)} background_up_channels",
                expected="both networks double the same number of times, at least once",
                remedy="give as many of one as of the other",
            )

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return 2 ** len(self.up_channels)

    @property
    def is_wide(self) -> bool:
        """Whether compiled convolutions pay: the channels of dense blocks fill whole registers."""
        return self.width % 16 == 0 and self.growth % 16 == 0 and min(self.blocks, self.background_blocks) > 0

    @property
    def style_widths(self) -> list[int]:
        """Input channels of every modulated convolution in order: up-convolutions, HR, last."""
        return [self.width, *self.up_channels[:-1], self.up_channels[-1], self.up_channels[-1]]


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each reading everything before it; 0.2 x the last is added to the input."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth if i < 4 else width, 3, padding=1) for i in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in self.convs[:-1]:
            seen.append(F.leaky_relu(conv(torch.cat(seen, dim=1)), SLOPE, inplace=True))
        return torch.add(x, self.convs[-1](torch.cat(seen, dim=1)), alpha=RESIDUAL)


class Rrdb(nn.Module):
    """Three dense blocks, 0.2 x their output added to the input (ESRGAN: residual-in-residual dense block)."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.blocks(x), alpha=RESIDUAL)


class ModulatedConv(nn.Conv2d):
    """A convolution whose input channels are scaled by a style and whose weight is then normalised per output channel
    (StyleGAN2: weight demodulation).

    w' = w s_in;  w'' = w' / sqrt(sum_{in,k} w'^2 + 1e-8); the bias is not modulated.
    """

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # type: ignore[override]
        """x [N * L, in, H, W] with identity-major order, style [N, in] -> [N * L, out, H, W]."""
        n, weight = len(style), self.modulated(style)
        parts = x.split(len(x) // n)  # one ordinary convolution per identity, shared by its maps
        padding = self.kernel_size[0] // 2
        done = [F.conv2d(part, w, self.bias, padding=padding) for part, w in zip(parts, weight, strict=True)]
        return done[0] if n == 1 else torch.cat(done)

    def modulated(self, style: Tensor) -> Tensor:
        """style [N, in] -> the N weights [N, out, in, k, k]."""
        weight = self.weight * style[:, None, :, None, None]
        return weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()


class MapSuperResolution(nn.Module):
    """Foreground network: every surface's map through one trunk; style enters after it."""

    def __init__(self, config: SuperResolutionConfig):
        super().__init__()
        self.config = c = config
        self.conv_first = nn.Conv2d(4 + c.features, c.width, 3, padding=1)
        self.trunk = nn.Sequential(*(Rrdb(c.width, c.growth) for _ in range(c.blocks)))
        self.trunk_conv = nn.Conv2d(c.width, c.width, 3, padding=1)
        ins, per = [c.width, *c.up_channels[:-1]], 4 if c.upsampling == "shuffle" else 1
        self.upconvs = nn.ModuleList(ModulatedConv(i, per * o, 3) for i, o in zip(ins, c.up_channels, strict=True))
        last = c.up_channels[-1]
        self.hr_conv = ModulatedConv(last, last, 3)
        self.conv_last = ModulatedConv(last, 4, 1)
        self.mapping = Mapping(c.z_dim, sum(c.style_widths), hidden=c.style_hidden)
        if c.start == "residual":  # demodulation undoes a zero weight, so the gain that starts at zero stands after it
            self.detail = nn.Parameter(torch.zeros(4))

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """maps [N * L, 4 + F, g, g], style [N, S] -> [N * L, 4, scale g, scale g]: rgb and alpha in (0, 1)."""
        styles = style.split(self.config.style_widths, dim=1)
        first = self.conv_first(maps)
        x = first + self.trunk_conv(self.trunk(first))
        for conv, s in zip(self.upconvs, styles, strict=False):
            x = F.leaky_relu(self._double(conv(x, s)), SLOPE, inplace=True)
        x = F.leaky_relu(self.hr_conv(x, styles[-2]), SLOPE, inplace=True)
        return self.finish(maps, self.conv_last(x, styles[-1]).float())

    def finish(self, maps: Tensor, x: Tensor) -> Tensor:
        """What follows the last convolution: x [M, 4, scale g, scale g] of maps [M, 4 + F, g, g] -> rgb and alpha."""
        if self.config.start == "residual":
            x = self._start(maps) + self.detail[:, None, None] * x
        return torch.cat([x[:, :3], torch.sigmoid(x[:, 3:])], dim=1)

    def _double(self, x: Tensor) -> Tensor:
        if self.config.upsampling == "shuffle":
            return F.pixel_shuffle(x, 2)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def _start(self, maps: Tensor) -> Tensor:
        up = F.interpolate(maps[:, :4].float(), scale_factor=self.config.scale, mode="bilinear", align_corners=False)
        return torch.cat([up[:, :3], torch.logit(up[:, 3:], eps=LOGIT_FLOOR)], dim=1)


class BackgroundSuperResolution(nn.Module):
    """Background network: rgb only, no style, bicubic input plus 0.2 x a branch that starts at zero."""

    def __init__(self, config: SuperResolutionConfig):
        super().__init__()
        self.config = c = config
        self.conv_first = nn.Conv2d(3, c.width, 3, padding=1)
        self.trunk = nn.Sequential(*(Rrdb(c.width, c.growth) for _ in range(c.background_blocks)))
        self.trunk_conv = nn.Conv2d(c.width, c.width, 3, padding=1)
        outs = c.background_up_channels
        self.upconvs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip([c.width, *outs[:-1]], outs, strict=True)
        )
        self.hr_conv = nn.Conv2d(outs[-1], outs[-1], 3, padding=1)
        self.conv_last = nn.Conv2d(outs[-1], 3, 3, padding=1)
        nn.init.zeros_(self.conv_last.weight)
        assert self.conv_last.bias is not None
        nn.init.zeros_(self.conv_last.bias)

    def forward(self, rgb: Tensor) -> Tensor:
        """rgb [N, 3, g, g] -> [N, 3, scale g, scale g]."""
        first = self.conv_first(rgb)
        x = first + self.trunk_conv(self.trunk(first))
        for conv in self.upconvs:
            x = F.leaky_relu(conv(x), SLOPE, inplace=True)
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.finish(rgb, self.conv_last(F.leaky_relu(self.hr_conv(x), SLOPE, inplace=True)).float())

    def finish(self, rgb: Tensor, x: Tensor) -> Tensor:
        """What follows the last convolution: x [N, 3, scale g, scale g] of rgb [N, 3, g, g] -> colours."""
        up = F.interpolate(rgb.float(), scale_factor=self.config.scale, mode="bicubic", align_corners=False)
        return up + RESIDUAL * x
