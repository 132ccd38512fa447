"""What an inversion makes small. Pictures are [N, 3, S, S] in [-1, 1]; losses are [N], one per picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.checkpoints.training_state import load_state
from gramhd_core.configs import from_dict
from gramhd_core.errors import BadArgument, MissingDependency
from gramhd_core.networks.discriminators import Discriminator, DiscriminatorConfig, coordinates
from gramhd_core.networks.feature_network import PATCH, SLOPE, FeatureNetwork, load_feature_network, resized
from gramhd_core.scenes.scene import Rendering

SCALES = (1, 2, 4)  # pictures are compared at these reductions
SMALLEST = 8  # pixels: none is reduced further
KINDS = ("auto", "procedural", "discriminator", "lpips", "none")

Features = Callable[[Tensor], list[Tensor]]  # pictures -> feature maps [N, C, h, w] of several depths


def reduced(image: Tensor, size: int) -> Tensor:
    """[N, 3, S, S] -> [N, 3, size, size], antialiased, where it is larger than that."""
    return resized(image, size) if size < image.shape[-1] else image


def pixels(made: Tensor, photo: Tensor) -> Tensor:
    """|d| + d^2 / 2, where d is counted in half ranges, averaged over the scales 1, 1/2 and 1/4."""
    side = made.shape[-1]
    losses = []
    for scale in (s for s in SCALES if s == 1 or side // s >= SMALLEST):
        off = reduced(made, side // scale) - reduced(photo, side // scale)
        losses.append((off.abs() + 2 * off.square()).mean(dim=(1, 2, 3)))
    return torch.stack(losses).mean(dim=0)


def perceptual(features: Features, made: Tensor, photo: Tensor) -> Tensor:
    """Mean squared distance of feature maps whose vectors have length 1, over depths, all weights equal
    (LPIPS: distance)."""
    with torch.no_grad():
        wanted = features(photo)
    losses = []
    for seen, want in zip(features(made), wanted, strict=True):
        off = F.normalize(seen, dim=1, eps=1e-6) - F.normalize(want, dim=1, eps=1e-6)
        losses.append(off.square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(losses).mean(dim=0)


def departure(made: Rendering, kept: Rendering, *, depth_unit: float) -> Tensor:
    """How far the geometry of a view has left what it was: opacity, and distance where it was opaque, in `depth_unit`
    world units."""
    change = (made.alpha - kept.alpha).abs().mean(dim=(1, 2, 3))
    if made.distance is not None and kept.distance is not None:
        moved = (made.distance - kept.distance).abs() / depth_unit
        change = change + (moved * kept.alpha).mean(dim=(1, 2, 3))
    return change


def find_features(kind: str, *, checkpoint: Path | None, is_procedural: bool) -> Features | None:
    """The feature maps that pictures are compared by; None for plain pixels.

    auto: those of the network that knows procedural heads for a model of such heads, else the model's own discriminator
    if its training state lies beside the checkpoint, else none. BadArgument, MissingDependency in one sentence.
    """
    if kind not in KINDS:
        raise BadArgument(f"--perceptual {kind}", expected=f"one of {', '.join(KINDS)} is needed", remedy="choose one")
    beside = discriminator_file(checkpoint)
    if kind == "procedural" or (kind == "auto" and is_procedural):
        return procedural_features(load_feature_network().network)
    if kind == "lpips":
        return lpips_features()
    if kind == "discriminator" and beside is None:
        raise BadArgument(
            "--perceptual discriminator",
            expected="no training state with one lies beside this checkpoint",
            remedy="name a run folder as --ckpt, or choose another --perceptual",
        )
    if beside is not None and kind in ("auto", "discriminator"):
        return discriminator_features(beside)
    return None


def procedural_features(network: FeatureNetwork) -> Features:
    """Maps after the first layer and after every halving of the network in networks/feature_network.py."""

    def features(image: Tensor) -> list[Tensor]:
        patches = F.pixel_unshuffle(resized(image, network.config.image_size), PATCH)
        x = torch.cat([patches, coordinates(patches)], dim=1)
        maps = [F.leaky_relu(network.enter_norm(network.enter(x)), SLOPE)]
        for stage in network.stages:
            maps.append(stage(maps[-1]))
        return maps

    return features


def discriminator_file(checkpoint: Path | None) -> Path | None:
    """The training state beside a checkpoint of a run folder, if it is there with the run's configuration."""
    if checkpoint is None:
        return None
    state = checkpoint.with_name(f"{checkpoint.stem}.state.safetensors")
    return state if state.is_file() and (checkpoint.parents[1] / "config.json").is_file() else None


def discriminator_features(state: Path) -> Features:
    """Maps after every block of the discriminator that trained the model."""
    config = json.loads((state.parents[1] / "config.json").read_text(encoding="utf-8"))
    network = Discriminator(from_dict(DiscriminatorConfig, config["discriminator"]))
    network.load_state_dict(load_state(state)["discriminator"])
    network.eval().requires_grad_(False)
    size = network.config.image_size

    def features(image: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []

        def keep(_module: nn.Module, _given: Any, answer: Any) -> None:
            maps.append(answer)

        hooks = [block.register_forward_hook(keep) for block in network.layers]
        try:
            network(resized(image, size))
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    return features


def lpips_features() -> Features:
    """The five depths of LPIPS' AlexNet. MissingDependency where the package or its weights are absent."""
    try:
        import lpips  # type: ignore[import-not-found]

        network = lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependency(
            f"LPIPS cannot be had here ({' '.join(str(error).split())[:120]})",
            expected="--perceptual lpips needs the package `lpips` and the weights of torchvision's AlexNet",
            remedy="run `pip install lpips` on a machine with a network once, or choose another --perceptual",
        ) from error
    return lambda image: list(network.net(network.scaling_layer(image)))
