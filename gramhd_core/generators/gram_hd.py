"""GRAM-HD (Xiang et al., ICCV 2023): GRAM's surfaces as 2D maps, super-resolved once per identity.

N identities, L level sets, g low-resolution map side, S = scale * g map and image side.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.errors import BadArgument, BadConfig
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import (
    CENTRE_SAMPLES,
    CENTRE_SEED,
    Gram,
    GramConfig,
    Grid,
    LowResolutionMaps,
)
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.forgetful import forgets, made_again
from gramhd_core.networks.map_offsets import MapOffsets
from gramhd_core.networks.super_resolution import (
    BackgroundSuperResolution,
    MapSuperResolution,
    SuperResolutionConfig,
)
from gramhd_core.scenes.field_manifolds import FieldManifolds
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import Surfaces
from gramhd_core.scenes.views import RenderConvention

CHUNK_PIXELS = 1 << 19  # output pixels super-resolved at once when no gradient is recorded, but at least one map
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class GramHdConfig:
    """`low`: the frozen stage-1 network (its image_size is the side g of the grid); `sr`: the networks on top;
    `map_offsets`: the side of what one photograph's head has of its own (networks/map_offsets.py), 0: nothing."""

    low: GramConfig = GramConfig(field=FieldConfig(features=32))
    sr: SuperResolutionConfig = SuperResolutionConfig()
    convention: RenderConvention = RenderConvention()
    map_offsets: int = 0

    def __post_init__(self) -> None:
        at_least(self, 0, "map_offsets")
        if self.low.field.features != self.sr.features:
            raise BadConfig(
                f"low.field.features={self.low.field.features} and sr.features={self.sr.features}",
                expected="super-resolution reads as many features as the field makes",
                remedy="set both to the same number",
            )
        if self.low.field.z_dim != self.sr.z_dim:
            raise BadConfig(
                f"low.field.z_dim={self.low.field.z_dim} and sr.z_dim={self.sr.z_dim}",
                expected="one z drives the field and the super-resolution style",
                remedy="set both to the same number",
            )
        if self.convention.hits == "upsampled" and self.convention.hit_size != self.low.image_size:
            raise BadConfig(
                f"convention.hit_size={self.convention.hit_size}",
                expected=f"interpolated hits are those of the {self.low.image_size}-pixel picture",
                remedy="set it to low.image_size, or convention.hits=full",
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
    """The GRAM-HD generator.

    `precision` says how super-resolution computes when no gradient is recorded; everything else is float32 always.
    "fp32", as made: float32, on processors by compiled convolutions where the networks are wide enough (equal to 1e-4
    in colour, the same bits for any batch and number of threads). "bf16": autocast, equal to 1e-2. "auto": bf16 where
    it is the faster of the two (matrix units: NVIDIA from compute capability 8, processors with AMX) and the config is
    not the compatible one, else fp32.
    """

    family: ClassVar[str] = "gram-hd"

    def __init__(self, config: GramHdConfig):
        super().__init__()
        self.config = config
        self.low = Gram(config.low)
        self.foreground = MapSuperResolution(config.sr)
        self.background = BackgroundSuperResolution(config.sr)
        self.register_buffer("style_centre", torch.zeros(sum(config.sr.style_widths)))
        self.style_centre: Tensor
        self.precision: Precision = "fp32"
        self.offsets = self._no_offsets(config.map_offsets) if config.map_offsets else None

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

    def forget_geometry(self) -> None:
        """Drop the cached grid hits and height fields: see `Gram.forget_geometry`."""
        self.low.forget_geometry()

    def grid(self) -> Grid:
        """The gridding hits, made once."""
        return self.low.grid(self.config.low.image_size)

    def surfaces(self) -> Surfaces:
        """What camera rays meet: the predictor itself in compatible mode and for spheres, else height fields."""
        return self.low.predictor if self.config.convention.hits == "upsampled" else self.low.height_fields()

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

    def give_offsets(self, latent: Latent, *, side: int) -> MapOffsets:
        """Maps of its own [L, 4, side, side], zero, for the head of a latent [1], instead of those there were."""
        self.config = replace(self.config, map_offsets=side)
        self.offsets = self._no_offsets(side)
        self.offsets.film.copy_(latent.film[0])
        return self.offsets

    def _no_offsets(self, side: int) -> MapOffsets:
        centre, levels = self.low.film_centre, self.config.low.manifolds.level_sets
        return MapOffsets(levels=levels, side=side, film_shape=tuple(centre.shape)).to(centre)

    def scene(self, latent: Latent, view_from: Camera | None = None) -> RadianceManifolds:
        """N identities as maps. `view_from` (N cameras) matters only with low.field.view_dependence = "camera"."""
        return self.high_resolution(latent, view_from=view_from).scene

    def high_resolution(self, latent: Latent, *, view_from: Camera | None = None) -> HighResolution:
        """The scene with the low-resolution maps it came from."""
        low = self.low.low_maps(latent, self.grid(), view_from=view_from)
        maps, background = self._super_resolved(low, latent.style)
        if self.offsets is not None:
            share = self.offsets.share(latent.film, self.low.film_centre)
            maps, background = self.offsets(maps, background, share=share)
        c = self.config
        scene = RadianceManifolds(
            self.surfaces(), maps, background, c.low.half_width, c.low.manifolds.background_z, c.convention
        )
        return HighResolution(scene, low)

    def _super_resolved(self, low: LowResolutionMaps, style: Tensor) -> tuple[Tensor, Tensor]:
        """maps [N, L, 4, S, S] and background [N, 3, S, S]."""
        n, levels = low.maps.shape[:2]
        if torch.is_grad_enabled():
            flat = low.maps.flatten(0, 1)
            if forgets(self.config.sr, flat):
                return self._made_again(low, style)
            return self.foreground(flat, style).unflatten(0, (n, levels)), self.background(low.background)
        return self._made(low, style)

    def _made_again(self, low: LowResolutionMaps, style: Tensor) -> tuple[Tensor, Tensor]:
        """With gradients, in the memory of one map: see networks/forgetful.py."""
        with torch.no_grad():
            maps, background = self._made(LowResolutionMaps(low.maps.detach(), low.background.detach()), style.detach())
        maps = made_again(self.foreground, lambda: maps.flatten(0, 1), low.maps.flatten(0, 1), style)
        background = made_again(self.background, lambda: background, low.background)
        return maps.unflatten(0, low.maps.shape[:2]), background

    def _made(self, low: LowResolutionMaps, style: Tensor) -> tuple[Tensor, Tensor]:
        """Without gradients."""
        if self._compiled(low.maps):
            from gramhd_core.networks.fast_super_resolution import super_resolve  # numba takes a second to import

            return super_resolve(self.foreground, self.background, low, style)
        return self._in_chunks(low, style)

    def _compiled(self, maps: Tensor) -> bool:
        plain = maps.device.type == "cpu" and maps.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and self.config.sr.is_wide and not self._in_bf16(maps.device)

    def _in_bf16(self, device: torch.device) -> bool:
        if self.precision == "auto":
            return fast_in_bf16(device) and self.config != self.config.compatible()
        return self.precision == "bf16"

    def _in_chunks(self, low: LowResolutionMaps, style: Tensor) -> tuple[Tensor, Tensor]:
        """Identity by identity, a few maps at a time, into one place: memory does not grow with N or L."""
        n, levels = low.maps.shape[:2]
        size, device = self.image_size, low.maps.device
        maps, background = low.maps.new_empty(n, levels, 4, size, size), low.maps.new_empty(n, 3, size, size)
        in_bf16, step = self._in_bf16(device), max(1, CHUNK_PIXELS // size**2)
        order = torch.channels_last if in_bf16 else torch.contiguous_format  # as the kernels of either like it best
        with torch.autocast(device.type, torch.bfloat16) if in_bf16 else nullcontext():
            for i in range(n):
                for part, out in zip(low.maps[i].split(step), maps[i].split(step), strict=True):
                    out.copy_(self.foreground(part.contiguous(memory_format=order), style[i : i + 1]))
                rgb = low.background[i : i + 1].contiguous(memory_format=order)
                background[i].copy_(self.background(rgb)[0])
        return maps, background

    def low_scene(self, latent: Latent, *, locked: bool = True) -> FieldManifolds:
        """Stage 1's rendering of the same identities on the same surfaces, for the consistency loss."""
        return self.low.field_scene(latent, locked=locked, surfaces=self.surfaces())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Stage 2 trains the feature heads and both super-resolution networks; everything else is frozen."""
        return {
            name: p
            for name, p in self.named_parameters()
            if not name.startswith(("low.", "offsets.")) or name.startswith("low.field.output_feature")
        }


def fast_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 beats float32 here: where matrix units compute it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public question for it
    return device.type == "cpu" and has_amx is not None and has_amx()


def set_precision(generator: object, precision: Precision | str) -> None:
    """Choose the precision of super-resolution: auto, fp32 or bf16 (see `GramHd`).

    BadArgument: bf16 for something that super-resolves nothing.
    """
    assert precision in get_args(Precision), f"no precision {precision}"
    if isinstance(generator, GramHd):
        generator.precision = cast(Precision, precision)
    elif precision == "bf16":
        raise BadArgument(
            "precision bf16",
            expected="it is for super-resolution and there is none in this model",
            remedy="leave the precision at auto",
        )
