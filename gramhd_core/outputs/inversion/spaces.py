"""The spaces in which an identity is searched: W and W+ of a generator whose mappings share no common w.

W: what the last hidden layers of all mapping networks (field, super-resolution style) give for one z, side by side.
W+: what the last linear layers make of it, every frequency, phase and style by itself (`Latent`). Both are counted in
standard deviations of the model's own latents: W along its K principal axes, W+ number by number. D numbers of W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.networks.mapping import Mapping

DRAWS = 4096  # latents whose mean and spread are taken
SEED = 0
THIN = 1e-4  # axes of W shorter than this share of the longest are left out


@dataclass(frozen=True)
class LatentSpaces:
    """mean [D], axes [K, D] (each a standard deviation long); sd [1] of the model's own latents."""

    mappings: tuple[Mapping, ...]
    mean: Tensor
    axes: Tensor
    sd: Latent

    @property
    def dimensions(self) -> int:
        """K."""
        return len(self.axes)

    def hidden(self, z: Tensor) -> Tensor:
        """z [N, z_dim] -> W [N, D]."""
        return torch.cat([mapping.network[:-1](z) for mapping in self.mappings], dim=1)

    def coordinates(self, w: Tensor) -> Tensor:
        """W [N, D] -> [N, K] standard deviations from the mean along the principal axes."""
        return (w - self.mean) @ self.axes.T / self.axes.square().sum(dim=1)

    def w(self, coordinates: Tensor) -> Tensor:
        """The inverse of `coordinates`, within the axes."""
        return self.mean + coordinates @ self.axes

    def latent(self, coordinates: Tensor, beside: Latent | None = None) -> Latent:
        """[N, K] -> Latent: the mappings' last layers; `beside` adds to it in standard deviations (W+)."""
        widths = [cast(nn.Linear, mapping.network[-1]).in_features for mapping in self.mappings]
        parts = self.w(coordinates).split(widths, dim=1)
        raw = [mapping.network[-1](part) for mapping, part in zip(self.mappings, parts, strict=True)]
        _, layers, _, hidden = self.sd.film.shape
        film = raw[0].unflatten(1, (2, layers, hidden)).transpose(1, 2)
        style = raw[1] if len(raw) > 1 else film.new_zeros(len(film), 0)
        if beside is None:
            return Latent(film, style)
        return Latent(film + beside.film * self.sd.film, style + beside.style * self.sd.style)

    def nothing(self, n: int = 1) -> Latent:
        """W+ that adds nothing."""
        film, style = self.sd.film, self.sd.style
        return Latent(film.new_zeros(n, *film.shape[1:]), style.new_zeros(n, *style.shape[1:]))


@torch.no_grad()
def spaces_of(generator: Generator) -> LatentSpaces:
    """Measure the spaces of a generator with `DRAWS` of its latents (seed 0)."""
    mappings = mappings_of(generator)
    weight = next(mappings[0].parameters())
    rng = torch.Generator().manual_seed(SEED)
    z = torch.randn(DRAWS, generator.latent_dim, generator=rng).to(weight)
    w = torch.cat([mapping.network[:-1](z) for mapping in mappings], dim=1)
    mean = w.mean(dim=0)
    variance, axes = torch.linalg.eigh((w - mean).double().T.cov())
    order = variance.argsort(descending=True)
    kept = order[: max(1, int((variance > THIN**2 * variance.max()).sum()))]
    scaled = (axes[:, kept] * variance[kept].clamp_min(0).sqrt()).T.to(w)
    latents = generator.latent(z)
    style = latents.style.std(dim=0, keepdim=True) if latents.style.numel() else latents.style[:1]
    sd = Latent(latents.film.std(dim=0, keepdim=True), style)
    return LatentSpaces(mappings, mean, scaled, sd)


def mappings_of(generator: Generator) -> tuple[Mapping, ...]:
    """The mapping networks of a generator: the field's first, then that of styles where there is one."""
    assert isinstance(generator, nn.Module)
    found = [part for part in generator.modules() if isinstance(part, Mapping)]
    assert 1 <= len(found) <= 2, len(found)
    return tuple(found)
