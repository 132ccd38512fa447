"""Image and patch discriminators (GRAM: discriminator; GRAM-HD: patch discriminator). B images in [-1, 1], S x S."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.errors import BadConfig
from gramhd_core.geometry.resample import downsample
from gramhd_core.world import Team

SLOPE = 0.2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """widths: channels after from-RGB and after each halving block; empty means the published rule for the size.

    coordinates: every convolution sees the row and column ("every", CoordConv) or only the input does ("input").
    entries: how many resolutions see the image, largest first. 1 is published. With more, every further one adds
    from-RGB of the reduced image to the output of the block before it, times a gain that starts at 0: a discriminator
    that begins as the one trained on smaller images and grows.
    minibatch_std: append the spread over the micro-batch before the last layer (published: off).
    patch: add the patch discriminator of stage 2.
    """

    image_size: int = 64
    widths: tuple[int, ...] = ()
    coordinates: Literal["every", "input"] = "every"
    entries: int = 1
    minibatch_std: bool = False
    patch: bool = False
    patch_width: int = 0  # 0: published rule
    patch_layers: int = 0  # 0: published rule

    def __post_init__(self) -> None:
        at_least(self, 8, "image_size")
        at_least(self, 1, "entries")
        blocks = len(self.channels()) - 1
        if self.entries > blocks or min(self.widths, default=1) < 1:
            raise BadConfig(
                f"discriminator.entries={self.entries} and widths={self.widths}",
                expected=f"at most {blocks} resolutions can see the image and widths are positive",
                remedy="lower entries or mend widths",
            )
        if self.patch and (self.patch_side() < 1 or min(self.patch_width, self.patch_layers) < 0):
            raise BadConfig(
                f"discriminator.patch with {self.image_size}-pixel images",
                expected="its convolutions leave nothing of images that small",
                remedy="lower discriminator.patch_layers or set patch=false",
            )

    def patch_side(self) -> int:
        """Side of the map of patch logits: halvings with 4 x 4 windows, then two steps of stride 1."""
        layers = self.patch_layers or max(3, int(math.log2(self.image_size)) - 6)
        return self.image_size // 2**layers - 2

    def channels(self) -> list[int]:
        """Channels after from-RGB and after each block; one block per halving down to 2 x 2."""
        blocks = int(math.log2(self.image_size)) - 1
        if 2 ** (blocks + 1) != self.image_size:
            raise BadConfig(
                f"discriminator.image_size={self.image_size}",
                expected="the discriminator halves images down to 2 x 2",
                remedy="choose a power of two from 8",
            )
        if self.widths:
            if len(self.widths) != blocks + 1:
                raise BadConfig(
                    f"discriminator.widths has {len(self.widths)} entries",
                    expected=f"{self.image_size}-pixel images need {blocks + 1} (from-RGB and {blocks} halvings)",
                    remedy="change widths or image_size, or leave widths empty for the published rule",
                )
            return list(self.widths)
        first = 13 - int(math.log2(self.image_size))
        return [min(400, 2**i) for i in range(first, first + blocks + 1)]


class Verdict(NamedTuple):
    """realness [B] logits; angles [B, 2] predicted (pitch, yaw), radians; patches [B, n] logits or None."""

    realness: Tensor
    angles: Tensor
    patches: Tensor | None


def coordinates(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 2, H, W]: row coordinate (-1 top .. 1 bottom), column coordinate (-1 left .. 1 right)."""
    rows = torch.linspace(-1, 1, x.shape[-2], device=x.device, dtype=x.dtype)
    columns = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([row, column]).expand(len(x), 2, *x.shape[-2:])


class HalvingBlock(nn.Module):
    """Two convolutions and a skip, both averaged 2 x 2; (y + x) / sqrt(2) (CoordConv: coordinate channels)."""

    def __init__(self, fan_in: int, fan_out: int, *, with_coordinates: bool):
        super().__init__()
        self.extra = 2 if with_coordinates else 0
        self.conv1 = nn.Conv2d(fan_in + self.extra, fan_out, 3, padding=1)
        self.conv2 = nn.Conv2d(fan_out + self.extra, fan_out, 3, padding=1)
        self.proj = nn.Conv2d(fan_in, fan_out, 1) if fan_in != fan_out else nn.Identity()

    def _see(self, x: Tensor) -> Tensor:
        return torch.cat([x, coordinates(x)], dim=1) if self.extra else x

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(self._see(x)), SLOPE)
        y = F.leaky_relu(self.conv2(self._see(y)), SLOPE)
        return (F.avg_pool2d(y, 2) + self.proj(F.avg_pool2d(x, 2))) / math.sqrt(2)


class PatchDiscriminator(nn.Module):
    """4 x 4 convolutions, padding 1, stride 2 except the last two (PatchGAN: discriminator).

    No normalisation; the middle ones have no bias.
    """

    def __init__(self, image_size: int, *, width: int = 0, layers: int = 0):
        super().__init__()
        log = int(math.log2(image_size))
        width = width or min(64, 2 ** (14 - log))
        layers = layers or max(3, log - 6)
        channels = [3, *(width * min(2**n, 8) for n in range(layers + 1)), 1]
        ends = (0, len(channels) - 2)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2 if i < layers else 1, padding=1, bias=i in ends)
            for i, (a, b) in enumerate(zip(channels[:-1], channels[1:], strict=True))
        )

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, n] logits."""
        x = image
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.convs[-1](x).flatten(1)


class Discriminator(nn.Module):
    """Realness and pose of an image; with `patch`, realness of its patches too.

    team: the processes that see one micro-batch together; the spread is that of all their images.
    """

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config, self.team = config, Team()
        channels = config.channels()
        every = config.coordinates == "every"
        self.layers = nn.ModuleList(
            HalvingBlock(a, b, with_coordinates=every) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        self.from_rgb = nn.ModuleList(nn.Conv2d(3 if every else 5, c, 1) for c in channels[: config.entries])
        self.gains = nn.Parameter(torch.zeros(config.entries - 1))
        self.final_layer = nn.Conv2d(channels[-1] + config.minibatch_std, 3, 2)
        self.patch = (
            PatchDiscriminator(config.image_size, width=config.patch_width, layers=config.patch_layers)
            if config.patch
            else None
        )

    def forward(self, image: Tensor) -> Verdict:
        """Images [B, 3, S, S] in [-1, 1] -> Verdict."""
        x = self._enter(image, 0)
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if i < self.config.entries:
                x = self.gains[i - 1] * x + self._enter(downsample(image, 2**i), i)
        if self.config.minibatch_std:
            x = torch.cat([x, _spread_over_batch(x, self.team)], dim=1)
        out = self.final_layer(x).flatten(1).float()
        return Verdict(out[:, 0], out[:, 1:3], None if self.patch is None else self.patch(image).float())

    def _enter(self, image: Tensor, level: int) -> Tensor:
        if self.config.coordinates == "input":
            image = torch.cat([image, coordinates(image)], dim=1)
        return F.leaky_relu(self.from_rgb[level](image), SLOPE)

    def grow_from(self, weights: dict[str, Tensor]) -> None:
        """Take over a discriminator of half (a quarter, ...) the size: with zero gains this one then judges as it did.

        weights: its state dict. Raises BadConfig if its layers are not this one's last ones.
        """
        shift = len(self.layers) - len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        renamed = {
            re.sub(r"^(layers|from_rgb)\.(\d+)", lambda m: f"{m[1]}.{int(m[2]) + shift}", name): tensor
            for name, tensor in weights.items()
            if not name.startswith("patch.") and name != "gains"
        }
        ours = self.state_dict()
        misfits = [name for name, t in renamed.items() if name not in ours or ours[name].shape != t.shape]
        if shift < 0 or misfits:
            raise BadConfig(
                f"the smaller discriminator's {misfits[0] if misfits else 'layers'}",
                expected="a growing discriminator keeps the last widths and sees the image at the smaller size too",
                remedy="match discriminator.widths and discriminator.entries, or set train.grow_discriminator=false",
            )
        gains = torch.zeros_like(self.gains)  # the small one's gains belong to the last entries
        gains[len(gains) - len(weights["gains"]) :] = weights["gains"]
        self.load_state_dict({**renamed, "gains": gains}, strict=False)


def _spread_over_batch(x: Tensor, team: Team) -> Tensor:
    """One number for the batch, as a channel [B, 1, H, W]: mean over features of the standard deviation over items.

    The items are those of the whole team, the channel is that of this process's B.
    """
    if team.size == 1:
        variance = x.float().var(dim=0, unbiased=False)
    else:
        items = len(x) * team.size
        mean = team.sum(x.float().sum(dim=0)) / items
        variance = team.sum((x.float() - mean).square().sum(dim=0)) / items
    deviation = (variance + 1e-8).sqrt().mean()
    return deviation.to(x.dtype).expand(len(x), 1, *x.shape[-2:])
