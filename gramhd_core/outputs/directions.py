"""Directions in which latents can be moved: found without labels, kept in files.

A latent is also a row of D numbers, film and then style. z has Z numbers; n latents, K principal axes. A direction is
as long as one standard deviation of the model's own latents (truncation 1), so that a strength says how unusual the
result is: 3 is far, 10 is nonsense. Nothing here looks at a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gramhd_core import __version__
from gramhd_core.checkpoints.saved_latent import family_of, latent_space
from gramhd_core.errors import BadArgument, BadCheckpoint
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.networks.mapping import Mapping
from gramhd_core.outputs.shots import device_of
from gramhd_core.tensor_files import header_keys, load_tensors, save_tensors

KEY = "gramhd_direction"
FORMAT = 1
DRAWS = 10_000  # latents whose spread is measured
DRAWS_OF_SLOPE = 1_000  # latents over which the mapping's slope is averaged
AT_ONCE = 1_000
THIN = 1e-5  # share of the widest axis' variance below which there is no axis


@dataclass(frozen=True)
class Direction:
    """What is added to a latent at strength 1: film [layers, 2, hidden] and style [S].

    facts: how it was found, for files and documents.
    """

    name: str
    film: Tensor
    style: Tensor
    facts: dict[str, Any] = field(default_factory=dict)

    def move(self, latent: Latent, strength: float) -> Latent:
        """The latent [N] that many standard deviations along; at 0 the same one, bit by bit."""
        if strength == 0:
            return latent
        return Latent(
            latent.film + strength * self.film.to(latent.film), latent.style + strength * self.style.to(latent.style)
        )


class PrincipalAxes(NamedTuple):
    """mean [D]; axes [K, D], each one standard deviation long, the widest first; share [K] of the variance (sums to 1).

    scale [D]: what the numbers were divided by before (see `principal_axes`).
    """

    mean: Tensor
    axes: Tensor
    share: Tensor
    scale: Tensor

    def coordinates(self, latent: Latent) -> Tensor:
        """[N, K] how many standard deviations latents are along each axis; over the model's own about N(0, 1)."""
        long = self.axes / self.scale
        return (flat(latent).cpu() - self.mean) / self.scale @ (long / long.square().sum(dim=1, keepdim=True)).mT


def flat(latent: Latent) -> Tensor:
    """[N, D]: film, then style."""
    return torch.cat([latent.film.flatten(1), latent.style], dim=1)


def latent_of(numbers: Tensor, like: Latent) -> Latent:
    """The inverse of `flat`; `like` says the shape."""
    film, style = numbers.split([like.film[0].numel(), like.style.shape[1]], dim=1)
    return Latent(film.unflatten(1, like.film.shape[1:]), style)


@torch.no_grad()
def principal_axes(generator: Generator, rng: torch.Generator, *, draws: int = DRAWS) -> PrincipalAxes:
    """The axes along which the model's own latents vary most (GANSpace: principal directions).

    Frequencies, phases and styles are in different units: each of the three is divided by its own mean standard
    deviation before, so that none of them decides alone.
    """
    latent_space(generator)  # refuses what has no mappings
    assert draws > 1, draws
    z = torch.randn(draws, generator.latent_dim, generator=rng)
    like = generator.latent(z[:1].to(device_of(generator)))
    width = flat(like).shape[1]
    total, second = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    origin = flat(like)[0].cpu().double()  # near the mean: differences keep their digits
    for part in z.split(AT_ONCE):
        x = flat(generator.latent(part.to(device_of(generator)))).cpu().double() - origin
        total += x.sum(dim=0)
        second += x.mT @ x
    shift = total / draws
    covariance = (second - draws * torch.outer(shift, shift)) / (draws - 1)
    scale = _scale(covariance.diagonal(), like)
    variance, axes = torch.linalg.eigh(covariance / torch.outer(scale, scale))
    variance, axes = variance.flip(0).clamp(min=0), axes.flip(1)
    kept = max(1, int((variance > THIN * variance[0]).sum()))
    long = torch.stack([_turned(axis) for axis in axes[:, :kept].mT]) * variance[:kept, None].sqrt() * scale
    share = variance[:kept] / variance[:kept].sum().clamp(min=1e-30)
    return PrincipalAxes((origin + shift).float(), long.float(), share.float(), scale.float())


def _scale(variance: Tensor, like: Latent) -> Tensor:
    """[D]: for every number the mean standard deviation of its kind; 1 for kinds that do not vary."""
    film = torch.zeros_like(like.film, dtype=torch.long, device="cpu")
    film[:, :, 1] = 1
    kind = flat(Latent(film, torch.full_like(like.style, 2, dtype=torch.long, device="cpu")))[0]
    scale = torch.ones_like(variance)
    for k in range(3):
        mean = variance[kind == k].clamp(min=0).mean().sqrt() if bool((kind == k).any()) else variance.new_zeros(())
        if mean > 0:
            scale[kind == k] = mean
    return scale


def pca(generator: Generator, index: int, axes: PrincipalAxes) -> Direction:
    """Principal axis number `index` of the latents. BadArgument where there are not so many."""
    _check_index("pca", index, len(axes.axes))
    axis = latent_of(axes.axes[index : index + 1], _like(generator))
    facts = {"method": "pca", "share": round(float(axes.share[index]), 4)}
    return Direction(f"pca:{index}", axis.film[0].cpu(), axis.style[0].cpu(), facts)


def sefa(generator: Generator, index: int, rng: torch.Generator, *, draws: int = DRAWS_OF_SLOPE) -> Direction:
    """The direction of z that the first layers of all mapping networks answer to most, next most, ...
    (SeFa: closed form), as the latents follow it on average."""
    found = sefa_axes(generator)
    _check_index("sefa", index, len(found.axes))
    facts = {"method": "sefa", "share": round(float(found.share[index]), 4)}
    return carried(generator, found.axes[index], rng, name=f"sefa:{index}", facts=facts, draws=draws)


class WeightAxes(NamedTuple):
    """axes [Z, Z], unit rows; share [Z] of what the weights make of all of them (sums to 1), the largest first."""

    axes: Tensor
    share: Tensor


@torch.no_grad()
def sefa_axes(generator: Generator) -> WeightAxes:
    """Eigenvectors of A'A, where A stacks the first layers of all mapping networks: they read one z
    (SeFa: closed form)."""
    latent_space(generator)  # refuses what has no mappings
    assert isinstance(generator, nn.Module)
    first = [cast(nn.Linear, part.network[0]).weight for part in generator.modules() if isinstance(part, Mapping)]
    product = sum(weight.detach().cpu().double().mT @ weight.detach().cpu().double() for weight in first)
    strength, axes = torch.linalg.eigh(cast(Tensor, product))
    axes = torch.stack([_turned(axis) for axis in axes.flip(1).mT])
    return WeightAxes(axes.float(), (strength.flip(0) / strength.sum()).float())


def carried(
    generator: Generator,
    along: Tensor,
    rng: torch.Generator,
    *,
    name: str,
    facts: dict[str, Any],
    draws: int = DRAWS_OF_SLOPE,
) -> Direction:
    """What a step along the unit vector `along` [Z] of z does to latents: the slope of the mappings, averaged over
    their latents. z ~ N(0, 1), so the step is one standard deviation."""
    like = _like(generator)
    total = flat(like)[0].cpu().double() * 0
    for part in torch.randn(draws, generator.latent_dim, generator=rng).split(AT_ONCE):
        part = part.to(device_of(generator)).requires_grad_()
        with torch.enable_grad():
            there = flat(generator.latent(part))
            weight = torch.zeros_like(there, requires_grad=True)
            (back,) = torch.autograd.grad(there, part, weight, create_graph=True)  # J' weight, linear in the weight
            (slope,) = torch.autograd.grad(back, weight, along.to(part).expand_as(part))  # so this is J along
        total += slope.cpu().double().sum(dim=0)
    moved = latent_of((total / draws).float()[None], like)
    return Direction(name, moved.film[0], moved.style[0], facts)


def save_direction(path: Path | str, direction: Direction, generator: Generator) -> None:
    """One safetensors file, atomically: film, style, name and facts, and which model's latents they belong to."""
    header = {
        "format": FORMAT,
        "name": direction.name,
        "family": family_of(generator),
        "space": latent_space(generator),
        "facts": {"version": __version__, **direction.facts},
    }
    save_tensors(path, {"film": direction.film.float(), "style": direction.style.float()}, header, key=KEY)


def load_direction(path: Path | str, generator: Generator) -> Direction:
    """The inverse of `save_direction`. BadCheckpoint for other files and for directions of other models."""
    path = Path(path)
    if KEY not in header_keys(path):
        raise BadCheckpoint(
            f"{path} is not a saved direction",
            expected="a file written by gramhd edit --find --save is needed",
            remedy="name one, or a direction such as pca:0",
        )
    tensors, header = load_tensors(path, key=KEY)
    if header.get("format") != FORMAT or header.get("space") != latent_space(generator):
        raise BadCheckpoint(
            f"{path} is a direction of another {header.get('family')} model",
            expected=f"its numbers mean nothing to the {family_of(generator)} model that was named",
            remedy="find it again with this model",
        )
    like = _like(generator)
    film, style = tensors.get("film", torch.zeros(0)), tensors.get("style", torch.zeros(0))
    if film.shape != like.film.shape[1:] or style.shape != like.style.shape[1:] or not _finite(film, style):
        raise BadCheckpoint(
            f"{path} holds film {list(film.shape)} and style {list(style.shape)}",
            expected=f"finite numbers {list(like.film.shape[1:])} and {list(like.style.shape[1:])} are needed",
            remedy="find it again",
        )
    return Direction(str(header.get("name", path.stem)), film.clone(), style.clone(), dict(header.get("facts") or {}))


@torch.no_grad()
def _like(generator: Generator) -> Latent:
    """Some latent [1], for its shape."""
    return generator.latent(torch.zeros(1, generator.latent_dim, device=device_of(generator)))


def _turned(axis: Tensor) -> Tensor:
    """An axis points both ways: the one in which its largest number is positive."""
    return axis if axis[axis.abs().argmax()] >= 0 else -axis


def _finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _check_index(method: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise BadArgument(
            f"--direction {method}:{index}",
            expected=f"this model has {method}:0 to {method}:{count - 1}",
            remedy="use one of them",
        )
