"""Teaching the feature network what procedural heads are: a small supervised training, the same for the same seed.

n heads, S x S pixels, A attributes: the numbers of `HeadIdentity` that vary, the pose (radians), and how an image was
degraded on purpose: `coarseness`, log2 of its reduction before it was enlarged again, and `noise`, the standard
deviation of noise in [-1, 1] units. Every picture may be mirrored or degraded, so that attributes are read from blurred
pictures too, while the features still know blur and noise when they see them.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.configs import at_least
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.image_files import open_files
from gramhd_core.data.labels import POSE_FILE
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.networks.feature_network import FeatureConfig, FeatureNetwork, images_from_bytes, start_weights
from gramhd_core.progress import Progress, Silent

POSE = ("pitch", "yaw")
DEGRADED = ("coarseness", "noise")
MIRRORED = ("yaw", "part", "light_yaw")  # change sign in the mirror
CONSTANT = 1e-6  # standard deviation below which there is nothing to learn
GROUP = 16  # images that are degraded alike
COARSEST, NOISIEST = 1.7, 0.08
CALIBRATION = 3000  # heads that say what white features are


@dataclass(frozen=True)
class TrainingPlan:
    """epochs: passes over the heads. held_out: how many of the last heads are only for the figures."""

    epochs: int = 8
    batch: int = 64
    rate: float = 2e-3
    held_out: int = 1000
    pose_weight: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "batch", "held_out")


class Heads(NamedTuple):
    """images uint8 [n, 3, S, S]; targets [n, A] with their names; known [n, A]: 1 where the picture can show it."""

    images: Tensor
    targets: Tensor
    known: Tensor
    names: tuple[str, ...]

    def part(self, start: int, stop: int | None) -> Heads:
        """Some of them."""
        return Heads(self.images[start:stop], self.targets[start:stop], self.known[start:stop], self.names)


class Trained(NamedTuple):
    """The network and what it does with heads it has not seen (see `figures`)."""

    network: FeatureNetwork
    figures: dict[str, Any]


def read_heads(data: Path | str, *, size: int, progress: Progress | None = None) -> Heads:
    """A procedural data set with its truth. BadDataset if images do not say which head they show."""
    progress = progress or Silent()
    reader = DatasetReader(data, size=size)
    seeds = _seeds(Path(data))
    if any(name not in seeds for name in reader.names):
        raise BadDataset(
            f"{data} does not say which heads it shows",
            expected=f"{POSE_FILE} of a procedural data set names the seed of every image",
            remedy="make one with `gramhd prep-data --procedural 12000 --size 128 --out DATA`",
        )
    progress.start("Reading heads", len(reader))
    images = torch.empty(len(reader), 3, size, size, dtype=torch.uint8)
    rows: list[dict[str, float]] = []
    for i, name in enumerate(reader.names):
        images[i] = reader.image(i)
        rows.append(HeadIdentity.from_seed(seeds[name]).attributes())
        progress.advance()
    progress.finish()
    names = tuple(rows[0])
    truth = torch.tensor([[row[name] for name in names] for row in rows])
    known = torch.stack([_shown(row, names) for row in rows])
    varies = (truth.std(dim=0) if len(rows) > 1 else truth[0] * 0) > CONSTANT
    kept = tuple(name for name, v in zip(names, varies.tolist(), strict=True) if v)
    targets = torch.cat([reader.angles, truth[:, varies], torch.zeros(len(rows), len(DEGRADED))], dim=1)
    ones = torch.ones(len(rows), 1)
    known = torch.cat([ones.expand(-1, len(POSE)), known[:, varies], ones.expand(-1, len(DEGRADED))], dim=1)
    return Heads(images, targets, known, (*POSE, *kept, *DEGRADED))


def _seeds(data: Path) -> dict[str, int]:
    files = open_files(data)
    if POSE_FILE not in files.sizes:
        return {}
    rows = (json.loads(line) for line in files.read(POSE_FILE).decode("utf-8").splitlines() if line.strip())
    return {row["name"]: row["seed"] for row in rows if isinstance(row.get("seed"), int)}


def _shown(row: dict[str, float], names: tuple[str, ...]) -> Tensor:
    """[A] 0 for numbers that leave no trace in this head's picture."""
    bald = row["hair_top"] == 0 and row["stubble"] == 0
    hidden = {
        **dict.fromkeys((n for n in names if n.startswith("glasses_")), row["glasses"] == 0),
        **dict.fromkeys((n for n in names if n.startswith("hair_") and n[5:] in "rgb"), bald),
        "beard_width": row["beard"] == 0,
    }
    return torch.tensor([0.0 if hidden.get(name) else 1.0 for name in names])


def train_features(
    heads: Heads, config: FeatureConfig, plan: TrainingPlan, *, progress: Progress | None = None
) -> Trained:
    """Mean squared error of standardised attributes, AdamW, one cycle of the rate. Same arguments, same network."""
    progress = progress or Silent()
    if len(heads.images) <= plan.held_out + 1:
        raise BadArgument(
            f"{len(heads.images)} heads with {plan.held_out} of them held out",
            expected="some have to be left to learn from",
            remedy="prepare more heads or hold out fewer",
        )
    rng = torch.Generator().manual_seed(plan.seed)
    seen, unseen = heads.part(0, -plan.held_out), heads.part(-plan.held_out, None)
    network = FeatureNetwork(config, heads.names)
    start_weights(network, rng)
    _standardise(network, seen)
    flip = torch.tensor([-1.0 if name in MIRRORED else 1.0 for name in heads.names])
    weight = torch.tensor([plan.pose_weight if name in POSE else 1.0 for name in heads.names])
    batch = min(plan.batch, len(seen.images))
    steps = plan.epochs * (len(seen.images) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=steps, pct_start=0.15)
    progress.start("Training features", steps)
    network.train()
    for _ in range(plan.epochs):
        order = torch.randperm(len(seen.images), generator=rng)
        for index in order[: len(order) // batch * batch].split(batch):
            images, targets = images_from_bytes(seen.images[index]), seen.targets[index].clone()
            mirrored = torch.rand(batch, generator=rng) < 0.5
            images[mirrored] = images[mirrored].flip(-1)
            targets[mirrored] *= flip
            images, targets[:, -len(DEGRADED) :] = degrade(images, rng)
            error = (network(images).attributes - targets) / network.attribute_sd
            loss = (error.square() * seen.known[index] * weight).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            progress.advance(note=f"loss {loss.item():.3f}")
    progress.finish()
    network.eval().requires_grad_(False)
    calibrate(network, seen)
    return Trained(network, {"plan": asdict(plan), **figures(network, unseen)})


@torch.no_grad()
def calibrate(network: FeatureNetwork, heads: Heads) -> None:
    """White features over the first heads, as they are."""
    batches = heads.images[:CALIBRATION].split(100)
    network.whiten(torch.cat([network.features(images_from_bytes(batch)) for batch in batches]))


def _standardise(network: FeatureNetwork, heads: Heads) -> None:
    """Mean and spread of every attribute where it is known; of mirrored ones and degradations by their range."""
    count = heads.known.sum(dim=0).clamp(min=1)
    mean = (heads.targets * heads.known).sum(dim=0) / count
    for name in MIRRORED:
        mean[heads.names.index(name)] = 0.0
    spread = ((heads.targets - mean).square() * heads.known).sum(dim=0) / count
    spread[-len(DEGRADED) :] = torch.tensor([COARSEST / 3, NOISIEST / 3]).square()
    network.attribute_mean.copy_(mean)
    network.attribute_sd.copy_(spread.sqrt().clamp(min=1e-3))


def degrade(images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [B, 3, S, S] in [-1, 1], some of them coarser or noisier -> the images and [B, 2] what was done.

    A third of the groups stay sharp, and half of the images clean.
    """
    parts, done = [], []
    for group in images.split(GROUP):
        octaves = max(0.0, torch.empty(1).uniform_(-COARSEST / 2, COARSEST, generator=rng).item())
        side = max(8, round(group.shape[-1] / 2**octaves))
        octaves = math.log2(group.shape[-1] / side) if side < group.shape[-1] else 0.0
        noise = torch.empty(len(group), 1, 1, 1).uniform_(-NOISIEST, NOISIEST, generator=rng).clamp(min=0)
        group = coarsened(group, side)
        group = (group + noise * torch.randn(group.shape, generator=rng)).clamp(-1, 1)
        parts.append(group)
        done.append(torch.stack([torch.full((len(group),), octaves), noise.flatten()], dim=1))
    return torch.cat(parts), torch.cat(done)


def coarsened(images: Tensor, side: int) -> Tensor:
    """[B, 3, S, S] reduced to `side` pixels, if that is less, and enlarged again."""
    if side >= images.shape[-1]:
        return images
    small = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def figures(network: FeatureNetwork, heads: Heads) -> dict[str, Any]:
    """Errors on heads: mean |error| of pitch and yaw in radians, as they are and at half the resolution; R2 of every
    attribute (1: exact, 0: no better than the mean) where the picture shows it."""
    found: dict[str, Any] = {"heads": len(heads.images)}
    batches = [images_from_bytes(part) for part in heads.images.split(100)]
    for name, side in (("sharp", heads.images.shape[-1]), ("half", heads.images.shape[-1] // 2)):
        angles = torch.cat([network.pose(coarsened(batch, side)) for batch in batches])
        error = (angles - heads.targets[:, : len(POSE)]).abs().mean(dim=0)
        found |= {f"{angle}_error_{name}": round(float(e), 5) for angle, e in zip(POSE, error, strict=True)}
    attributes = torch.cat([network(batch).attributes for batch in batches])
    count = heads.known.sum(dim=0).clamp(min=1)
    mean = (heads.targets * heads.known).sum(dim=0) / count
    rest = ((attributes - heads.targets).square() * heads.known).sum(dim=0)
    total = ((heads.targets - mean).square() * heads.known).sum(dim=0)
    r2 = 1 - rest / total.clamp(min=1e-12)
    found["r2"] = {n: round(float(r), 3) for n, r in zip(heads.names, r2, strict=True) if n not in DEGRADED}
    return found
