"""GRAM-HD (Xiang et al., ICCV 2023): GRAM's surfaces as 2D maps, super-resolved once per identity.

N identities, L level sets, g low-resolution map side, S = scale * g map and image side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gramhd_core.errors import BadConfig
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.level_sets import Hits
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import CENTRE_SAMPLES, CENTRE_SEED, Gram, GramConfig, Grid, LowResolutionMaps
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.super_resolution import (
    BackgroundSuperResolution,
    MapSuperResolution,
    SuperResolutionConfig,
)
from gramhd_core.scenes.manifolds import FieldManifolds, RadianceManifolds, RenderConvention
from gramhd_core.scenes.surfaces import HeightFields, Surfaces

CHUNK_MAPS = 6  # maps super-resolved at once when no gradient is recorded


@dataclass(frozen=True)
class GramHdConfig:
    """`low` is the frozen stage-1 network (its image_size is the side g of the grid); `sr` the networks trained on it."""

    low: GramConfig = GramConfig(field=FieldConfig(features=32))
    sr: SuperResolutionConfig = SuperResolutionConfig()
    convention: RenderConvention = RenderConvention()

    def __post_init__(self) -> None:
        if self.low.field.features != self.sr.features:
            raise BadConfig(
                f"low.field.features={self.low.field.features} and sr.features={self.sr.features}",
                expected="super-resolution reads as many features as the field makes",
                remedy="set both to the same number",
            )

    @property
    def image_size(self) -> int:
        """Side of the images, pixels."""
        return self.low.image_size * self.sr.scale

    def compatible(self) -> GramHdConfig:
        """The conventions official weights were trained with."""
        convention = RenderConvention(
            "endpoints", "upsampled", self.low.image_size, "cut", "sum", opaque_background=True
        )
        return replace(self, low=self.low.compatible(), convention=convention)


class HighResolution(NamedTuple):
    """What a training step compares: scene, its maps [N, L, 4, S, S] and background [N, 3, S, S], and the LR ones."""

    scene: RadianceManifolds
    low: LowResolutionMaps


class GramHd(nn.Module):
    """The GRAM-HD generator."""

    family: ClassVar[str] = "gram-hd"

    def __init__(self, config: GramHdConfig):
        super().__init__()
        self.config = config
        self.low = Gram(config.low)
        self.foreground = MapSuperResolution(config.sr)
        self.background = BackgroundSuperResolution(config.sr)
        self.register_buffer("style_centre", torch.zeros(sum(config.sr.style_widths)))
        self.style_centre: Tensor
        self.cache_geometry()
        self.register_load_state_dict_post_hook(lambda module, _: module.cache_geometry())

    @property
    def latent_dim(self) -> int:
        """Length of z."""
        return self.low.latent_dim

    @property
    def cameras(self) -> CameraPrior:
        """The training distribution of cameras."""
        return self.low.cameras

    @property
    def image_size(self) -> int:
        """Side of the training images, pixels."""
        return self.config.image_size

    def cache_geometry(self) -> None:
        """Grid hits and height fields of the frozen surfaces: they depend on neither identity nor camera.

        Called at construction and after weights are loaded; kept as buffers that are not saved.
        """
        hits, backdrop = self.low.grid(self.config.low.image_size)
        tensors = {"grid_points": hits.points, "grid_distance": hits.distance, "grid_valid": hits.valid}
        surfaces = self.low.height_fields()
        if isinstance(surfaces, HeightFields):
            tensors["heights"] = surfaces.tables
        for name, tensor in {**tensors, "grid_backdrop": backdrop}.items():
            self.register_buffer(name, tensor, persistent=False)

    def grid(self) -> Grid:
        """The cached gridding hits."""
        hits = Hits(self.get_buffer("grid_points"), self.get_buffer("grid_distance"), self.get_buffer("grid_valid"))
        return Grid(hits, self.get_buffer("grid_backdrop"))

    def surfaces(self) -> Surfaces:
        """What camera rays are met with: the predictor itself in compatible mode and for spheres, else height fields."""
        if self.config.convention.hits == "upsampled" or self.config.low.manifolds.predictor == "spheres":
            return self.low.predictor
        c = self.config.low
        return HeightFields(self.get_buffer("heights"), 1.05 * c.half_width, c.manifolds.box)

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        """z [N, z_dim] -> Latent; one z drives the field and the super-resolution style."""
        film = self.low.latent(z, truncation).film
        style = self.foreground.mapping(z)
        if truncation < 1:
            style = torch.lerp(self.style_centre.expand_as(style), style, truncation)
        return Latent(film, style)

    @torch.no_grad()
    def measure_centre(self) -> None:
        """Store both truncation centres (10,000 latents, seed 0)."""
        self.low.measure_centre()
        rng = torch.Generator().manual_seed(CENTRE_SEED)
        z = torch.randn(CENTRE_SAMPLES, self.latent_dim, generator=rng).to(self.style_centre.device)
        self.style_centre.copy_(self.foreground.mapping(z).mean(dim=0))

    def scene(self, latent: Latent, view_from: Camera | None = None) -> RadianceManifolds:
        """N identities as maps. `view_from` (N cameras) matters only with low.field.view_dependence = "camera"."""
        return self.high_resolution(latent, view_from=view_from).scene

    def high_resolution(self, latent: Latent, *, view_from: Camera | None = None) -> HighResolution:
        """The scene with the low-resolution maps it came from."""
        low = self.low.low_maps(latent, self.grid(), view_from=view_from)
        n, levels = low.maps.shape[:2]
        flat = low.maps.flatten(0, 1)
        if torch.is_grad_enabled():
            maps = self.foreground(flat, latent.style)
        else:  # identity by identity, a few maps at a time: memory does not grow with L
            maps = torch.cat(
                [
                    self.foreground(part, latent.style[i : i + 1])
                    for i in range(n)
                    for part in low.maps[i].split(CHUNK_MAPS)
                ]
            )
        c = self.config
        scene = RadianceManifolds(
            self.surfaces(),
            maps.unflatten(0, (n, levels)),
            self.background(low.background),
            c.low.half_width,
            c.low.manifolds.background_z,
            c.convention,
        )
        return HighResolution(scene, low)

    def low_scene(self, latent: Latent, *, locked: bool = True) -> FieldManifolds:
        """Stage 1's own rendering of the same identities, on the same surfaces (the consistency loss compares to it)."""
        return self.low.field_scene(latent, locked=locked, surfaces=self.surfaces())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Stage 2 trains the feature heads and both super-resolution networks; everything else is frozen."""
        return {
            name: p
            for name, p in self.named_parameters()
            if not name.startswith("low.") or name.startswith("low.field.output_feature")
        }
