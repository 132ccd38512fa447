"""Teaching the landmark network what procedural heads are: supervised, and the same for the same seed.

B pictures of a batch, K = 68 landmarks, G x G cells of the finder. Distances are in sides of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.data.landmark_network import (
    CELL,
    SURE,
    Finder,
    Frames,
    Grid,
    LandmarkConfig,
    LandmarkNetwork,
    Points,
    grid_like,
    start_weights,
)
from gramhd_core.errors import BadArgument
from gramhd_core.progress import Progress, Silent
from gramhd_core.training.landmark_photos import Heads, Photographs, draw_crops, draw_photographs, mean_shape_of

NEAR, FAR = 0.1, 0.3  # sides between a cell and a head's centre: here it is found, from there on it is not
ERROR_WEIGHT = 0.2


@dataclass(frozen=True)
class LandmarkPlan:
    """Steps of each network and their batches. held_out: how many of the last heads are only for the figures."""

    finder_steps: int = 1200
    pointer_steps: int = 3200
    batch: int = 16
    rate: float = 2e-3
    held_out: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "finder_steps", "pointer_steps", "batch", "held_out")


class Trained(NamedTuple):
    """The network and how far off it is on heads it has not seen."""

    network: LandmarkNetwork
    figures: dict[str, Any]


def train_landmarks(
    heads: Heads, wide: Heads, config: LandmarkConfig, plan: LandmarkPlan, *, progress: Progress | None = None
) -> Trained:
    """Both networks: the pointer learns from `heads` (pictures of the published angle of view), the finder from `wide`.
    Same arguments, same network."""
    progress = progress or Silent()
    if min(len(heads.images), len(wide.images)) <= plan.held_out:
        raise BadArgument(
            f"{len(heads.images)} heads and {len(wide.images)} photographs with {plan.held_out} held out",
            expected="some have to be left to learn from",
            remedy="make more of them or hold out fewer",
        )
    network = new_network(heads, config, plan)
    train_pointer(network, heads.part(0, -plan.held_out), plan, progress=progress)
    train_finder(network, wide.part(0, -plan.held_out), plan, progress=progress)
    network.eval().requires_grad_(False)
    unseen = (heads.part(-plan.held_out, None), wide.part(-plan.held_out, None))
    return Trained(network, {"plan": asdict(plan), **figures(network, *unseen)})


def new_network(heads: Heads, config: LandmarkConfig, plan: LandmarkPlan) -> LandmarkNetwork:
    """A network that has learnt nothing but where landmarks are on average."""
    network = LandmarkNetwork(config)
    start_weights(network, torch.Generator().manual_seed(plan.seed))
    network.mean_shape.copy_(mean_shape_of(heads))
    return network


def train_pointer(network: LandmarkNetwork, heads: Heads, plan: LandmarkPlan, *, progress: Progress) -> None:
    """The mean distance of landmarks, and the likelihood of distances around the error that is claimed."""
    config = network.config

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        shape = network.mean_shape
        crops = draw_crops(heads, index, rng, mean_shape=shape, size=config.crop_size, width=config.crop)
        return pointer_loss(network.pointer(crops.images), crops.points)

    rng = torch.Generator().manual_seed(plan.seed + 1)
    _train(network.pointer, loss, _indices(len(heads.images), plan.batch, rng), plan.pointer_steps, plan, rng, progress)


def train_finder(network: LandmarkNetwork, heads: Heads, plan: LandmarkPlan, *, progress: Progress) -> None:
    """Which cells are heads, and in which frames."""

    def loss(index: Tensor, rng: torch.Generator) -> Tensor:
        shape, size = network.mean_shape, network.config.finder_size
        photographs = draw_photographs(heads, index, rng, mean_shape=shape, size=size)
        return finder_loss(network.finder(photographs.images), photographs)

    rng = torch.Generator().manual_seed(plan.seed + 2)
    _train(network.finder, loss, _indices(len(heads.images), plan.batch, rng), plan.finder_steps, plan, rng, progress)


def _indices(count: int, batch: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Batches without end; every head once before any comes again."""
    batch = min(batch, count)
    while True:
        yield from torch.randperm(count, generator=rng)[: count // batch * batch].split(batch)


def _train(
    network: nn.Module,
    loss_of: Callable[[Tensor, torch.Generator], Tensor],
    indices: Iterator[Tensor],
    steps: int,
    plan: LandmarkPlan,
    rng: torch.Generator,
    progress: Progress,
) -> None:
    """AdamW, one cycle of the rate."""
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=max(steps, 2), pct_start=0.15)
    progress.start(f"Training the {type(network).__name__.lower()}", steps)
    for _ in range(steps):
        loss = loss_of(next(indices), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cycle.step()
        progress.advance(note=f"loss {loss.item():.3f}")
    progress.finish()
    network.eval()


def pointer_loss(answer: Points, truth: Tensor) -> Tensor:
    """Points, truth [B, K, 2] -> scalar."""
    distance = (answer.points - truth).norm(dim=-1)
    likelihood = distance.detach() / answer.error + answer.error.log()
    return distance.mean() / SURE + ERROR_WEIGHT * likelihood.mean()


def finder_loss(answer: Grid, truth: Photographs) -> Tensor:
    """Cross entropy of cells near (1) and far (0) from every head, and the frames that near cells answer."""
    count, heads = truth.shown.shape
    size, cells = answer.presence.shape[-1] * CELL, answer.presence.shape[-1]
    places = ((grid_like(answer.presence[:1, None])[0] + 1) / 2 * size).permute(1, 2, 0)  # [G, G, 2]
    centre = truth.frames.centre.view(count, heads, 1, 1, 2)
    side = truth.frames.side.view(count, heads, 1, 1)
    away = (places - centre).norm(dim=-1) / side  # [B, H, G, G]
    away = torch.where(truth.shown[..., None, None], away, torch.full_like(away, math.inf))
    nearest = away == away.flatten(2).amin(dim=-1)[..., None, None]
    near = ((away < NEAR) | nearest) & truth.shown[..., None, None]
    positive, ignored = near.any(dim=1), (away < FAR).any(dim=1)
    entropy = F.binary_cross_entropy_with_logits(answer.presence, positive.float(), reduction="none")
    found = entropy[positive].sum() / positive.sum().clamp(min=1)
    missed = (entropy * ~(positive | ignored)).sum() / (count * cells)  # a few cells of a photograph are hard
    which = near.float().argmax(dim=1)  # [B, G, G] the head of each near cell
    head = (which + torch.arange(count).view(-1, 1, 1) * heads)[positive]
    return found + 0.3 * missed + frame_distance(answer.frames[positive], truth.frames.take(head), size).mean()


def frame_distance(answer: Tensor, truth: Frames, size: int) -> Tensor:
    """[P, 5] of a Grid, P frames -> [P]: centre in sides, log of the side, and the roll's cosine and sine."""
    roll = torch.stack([truth.roll.cos(), truth.roll.sin()], dim=-1)
    return (
        2 * (answer[:, :2] - truth.centre).norm(dim=-1) / truth.side
        + (answer[:, 2] - (truth.side / size).log()).abs()
        + (answer[:, 3:] - roll).norm(dim=-1)
    )


@torch.no_grad()
def figures(network: LandmarkNetwork, heads: Heads, wide: Heads) -> dict[str, Any]:
    """On crops as the first look sees them: mean and 95 % quantile of landmark distances, in sides of the frame. On
    photographs: the share of heads that their own cell is sure of, of empty photographs in which any is, and the median
    errors of frames."""
    rng = torch.Generator().manual_seed(7)
    config, shape = network.config, network.mean_shape
    distances = []
    for index in torch.arange(len(heads.images)).split(50):
        crops = draw_crops(heads, index, rng, mean_shape=shape, size=config.crop_size, width=config.crop)
        distances.append((network.pointer(crops.images).points - crops.points).norm(dim=-1))
    distance = torch.cat(distances)
    index = torch.arange(len(wide.images))
    photographs = draw_photographs(wide, index, rng, mean_shape=shape, size=config.finder_size)
    return {
        "heads": len(heads.images),
        "landmark_error": round(float(distance.mean()), 5),
        "landmark_error_95": round(float(distance.mean(dim=1).quantile(0.95)), 5),
        **_finder_figures(network.finder, photographs),
    }


def _finder_figures(finder: Finder, photographs: Photographs) -> dict[str, float]:
    grid = finder(photographs.images)
    count, heads = photographs.shown.shape
    size = photographs.images.shape[-1]
    places = Frames(*(part.unflatten(0, (count, heads))[:, 0] for part in photographs.frames))  # the first heads
    cell = (places.centre / CELL).long().clamp(0, size // CELL - 1)
    rows = torch.arange(count)
    presence, answer = grid.presence[rows, cell[:, 1], cell[:, 0]], grid.frames[rows, cell[:, 1], cell[:, 0]]
    there, empty = photographs.shown[:, 0], ~photographs.shown.any(dim=1)
    turn = torch.atan2(answer[:, 4], answer[:, 3]) - places.roll
    turn = torch.atan2(turn.sin(), turn.cos()).abs()[there].rad2deg()
    off = (answer[:, :2] - places.centre).norm(dim=-1) / places.side
    return {
        "heads_found": round(float((presence[there] > 0).float().mean()), 4),
        "empty_refused": round(float((grid.presence[empty].flatten(1) < 0).all(dim=1).float().mean()), 4),
        "centre_error": round(float(off[there].median()), 4),
        "side_error": round(float((answer[:, 2] - (places.side / size).log()).abs()[there].median()), 4),
        "roll_error_degrees": round(float(turn.median()), 2),
    }
