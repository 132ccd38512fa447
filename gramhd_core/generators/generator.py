"""The Generator protocol: three verbs, no kwargs; and the Latent they exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.scenes.scene import Scene


@dataclass(frozen=True)
class Latent:
    """What an identity is, in the generator's own terms; what inversion optimises and what is saved with a photo.

    film: [N, layers, 2, hidden] raw frequencies (index 0) and phases (index 1) of every FiLM layer.
    style: [N, S] scales of the modulated super-resolution convolutions; S = 0 for families without one.
    """

    film: Tensor
    style: Tensor

    def __len__(self) -> int:
        return len(self.film)

    def __getitem__(self, index: int | slice) -> Latent:
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return Latent(self.film[index], self.style[index])

    def lerp(self, other: Latent, weight: float | Tensor) -> Latent:
        """Linear interpolation: weight 0 is `self`, 1 is `other`. weight: a number or [N, 1]."""
        w = torch.as_tensor(weight, dtype=self.film.dtype, device=self.film.device).reshape(-1, 1)
        return Latent(
            self.film + w[..., None, None] * (other.film - self.film),
            self.style + w * (other.style - self.style),
        )


class Generator(Protocol):
    """A family's network. Every implementation is an nn.Module."""

    config: Any

    @property
    def latent_dim(self) -> int:
        """Length of z."""
        ...

    @property
    def cameras(self) -> CameraPrior:
        """The poses it was trained on."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the images it was trained to make, pixels."""
        ...

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        """z [N, latent_dim] ~ N(0, I) -> Latent; truncation (psi) in [0, 1] pulls it towards the stored centre."""
        ...

    def scene(self, latent: Latent, view_from: Camera | None = None) -> Scene:
        """The expensive step, once per identity. `view_from` matters only where maps depend on the camera
        (compatible mode of GRAM-HD with view-dependent colour)."""
        ...
