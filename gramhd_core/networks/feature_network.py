"""A small network that looks at a picture of a procedural head and says what it shows: pose, colours, sizes, style.

What its last layer but one sees are features for scores (FID, KID) where no network trained on photographs is at hand.
B images, S x S; inside the network they are `image_size` pixels wide. F features; A attributes, each in its own unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least, from_dict, to_dict
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.networks.discriminators import SLOPE, coordinates
from gramhd_core.tensor_files import load_tensors, save_tensors

ASSET = Path(__file__).resolve().parents[1] / "assets" / "procedural_features.safetensors"
RIDGE = 0.1
PATCH = 4  # pixels: side of the squares whose colours enter as channels


@dataclass(frozen=True)
class FeatureConfig:
    """widths: channels at a quarter of `image_size`, and after each halving."""

    image_size: int = 128
    widths: tuple[int, ...] = (40, 64, 96, 128)
    features: int = 96

    def __post_init__(self) -> None:
        at_least(self, 1, "features")
        if not self.widths or min(self.widths) < 1 or self.image_size % self.smallest_step or self.image_size < 1:
            raise BadConfig(
                f"widths={self.widths} with image_size={self.image_size}",
                expected="widths are positive and every halving leaves whole pixels",
                remedy=f"choose a multiple of {self.smallest_step}",
            )

    @property
    def smallest_step(self) -> int:
        """Pixels of the image behind one of the last map."""
        return PATCH * 2 ** (max(len(self.widths), 1) - 1)


class Reading(NamedTuple):
    """features [B, F], white over training pictures (see `whiten`); attributes [B, A] in their own units."""

    features: Tensor
    attributes: Tensor


class _Stage(nn.Module):
    """Halve, then refine with a skip."""

    def __init__(self, fan_in: int, fan_out: int, *, refine: bool):
        super().__init__()
        self.halve = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(fan_out)
        self.refine = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False) if refine else None
        self.refine_norm = nn.BatchNorm2d(fan_out) if refine else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.halve(x)), SLOPE)
        if self.refine is None or self.refine_norm is None:
            return x
        return x + F.leaky_relu(self.refine_norm(self.refine(x)), SLOPE)


class FeatureNetwork(nn.Module):
    """Images in [-1, 1] -> Reading. `attributes` are names, in the order of the answer."""

    def __init__(self, config: FeatureConfig, attributes: tuple[str, ...]):
        super().__init__()
        self.config, self.attributes = config, attributes
        widths = config.widths
        self.enter = nn.Conv2d(3 * PATCH**2 + 2, widths[0], 3, padding=1, bias=False)
        self.enter_norm = nn.BatchNorm2d(widths[0])
        last = len(widths) - 2
        self.stages = nn.Sequential(
            *(_Stage(a, b, refine=i < last) for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)))
        )
        side = config.image_size // config.smallest_step
        self.gather = nn.Linear(widths[-1] * side**2, config.features)
        self.standard = nn.BatchNorm1d(config.features, affine=False)
        self.answer = nn.Linear(config.features, len(attributes))
        self.register_buffer("centre", torch.zeros(config.features))
        self.register_buffer("whitening", torch.eye(config.features))
        self.register_buffer("attribute_mean", torch.zeros(len(attributes)))
        self.register_buffer("attribute_sd", torch.ones(len(attributes)))
        self.centre: Tensor
        self.whitening: Tensor
        self.attribute_mean: Tensor
        self.attribute_sd: Tensor

    def forward(self, image: Tensor) -> Reading:
        """[B, 3, S, S] in [-1, 1], any S -> Reading."""
        seen = self._see(image)
        attributes = self.attribute_mean + self.attribute_sd * self.answer(seen)
        return Reading((seen - self.centre) @ self.whitening, attributes)

    def features(self, image: Tensor) -> Tensor:
        """[B, 3, S, S] in [-1, 1] -> [B, F]."""
        return self(image).features

    @torch.no_grad()
    def whiten(self, features: Tensor) -> None:
        """Let features [n, F], made before, have mean 0 and about the unit covariance from now on.

        Without it two thirds of their variance lie in one direction, and distances hardly see the others. Directions
        of little variance are held back: `RIDGE` of the mean variance is added to each.
        """
        self.centre += features.mean(dim=0) @ torch.linalg.inv(self.whitening)
        variance, axes = torch.linalg.eigh((features - features.mean(dim=0)).T.cov().double())
        scale = (variance + RIDGE * variance.mean()).rsqrt()
        self.whitening.copy_(self.whitening @ ((axes * scale) @ axes.T).float())

    def _see(self, image: Tensor) -> Tensor:
        """[B, F], each of mean 0 and variance 1."""
        patches = F.pixel_unshuffle(resized(image, self.config.image_size), PATCH)
        x = torch.cat([patches, coordinates(patches)], dim=1)
        x = F.leaky_relu(self.enter_norm(self.enter(x)), SLOPE)
        return self.standard(F.leaky_relu(self.gather(self.stages(x).flatten(1)), SLOPE))

    def pose(self, image: Tensor) -> Tensor:
        """[B, 3, S, S] in [-1, 1] -> pitch and yaw [B, 2], radians: the mean of what the picture and its mirror say."""
        columns = [self.attributes.index(name) for name in ("pitch", "yaw")]
        straight, mirrored = (self(x).attributes[:, columns] for x in (image, image.flip(-1)))
        return (straight + mirrored * mirrored.new_tensor([1.0, -1.0])) / 2


def resized(image: Tensor, size: int) -> Tensor:
    """[B, 3, S, S] -> [B, 3, size, size]: antialiased when it gets smaller, bilinear."""
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def images_from_bytes(images: Tensor) -> Tensor:
    """uint8 [B, 3, S, S] -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def save_feature_network(path: Path | str, network: FeatureNetwork, provenance: dict[str, Any]) -> None:
    """One safetensors file, weights as 16-bit floats."""
    tensors = {name: t.half() if name.endswith("weight") else t for name, t in network.state_dict().items()}
    header = {
        "kind": "feature network",
        "config": to_dict(network.config),
        "attributes": list(network.attributes),
        "provenance": provenance,
    }
    save_tensors(path, tensors, header)


class LoadedFeatures(NamedTuple):
    """The network, ready to use, and where it came from: its recipe and its errors on heads it had not seen."""

    network: FeatureNetwork
    provenance: dict[str, Any]


def load_feature_network(path: Path | str = ASSET) -> LoadedFeatures:
    """The inverse of `save_feature_network`; by default the network of the package. BadCheckpoint for other files."""
    tensors, header = load_tensors(path)
    try:
        config, attributes = from_dict(FeatureConfig, header["config"]), tuple(header["attributes"])
        network = FeatureNetwork(config, attributes)
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
        return LoadedFeatures(network.eval().requires_grad_(False), dict(header["provenance"]))
    except (KeyError, TypeError, RuntimeError, BadConfig) as error:
        raise BadCheckpoint(
            f"{path} holds no feature network ({str(error).splitlines()[0]})",
            expected="the file that `make features` writes is needed",
            remedy="install gramhd again, or make the file anew",
        ) from error


def start_weights(network: FeatureNetwork, rng: torch.Generator) -> None:
    """He's start for every matrix, each draw from `rng`; biases of zero."""
    with torch.no_grad():
        for layer in (m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
            weight, fan_in = layer.weight, layer.weight[0].numel()
            if layer.bias is not None:
                layer.bias.zero_()
            weight.copy_(torch.randn(weight.shape, generator=rng) * math.sqrt(2 / (1 + SLOPE**2) / fan_in))
