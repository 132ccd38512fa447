"""GRAM (Deng et al., CVPR 2022): radiance on a few learned surfaces. Stage 1 of GRAM-HD.

N identities, L level sets, g map side, F features. World units and angles as in geometry/camera.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.errors import BadConfig
from gramhd_core.generators.generator import Latent
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.level_sets import Hits
from gramhd_core.geometry.rays import PixelSampling, axis, orthographic_rays
from gramhd_core.networks.fields import Field, FieldConfig
from gramhd_core.networks.predictors import ManifoldsConfig, MlpPredictor, build_predictor
from gramhd_core.scenes.field_manifolds import FieldManifolds
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.refined import refined
from gramhd_core.scenes.surfaces import Surfaces, single_valued, stamp
from gramhd_core.scenes.views import RenderConvention, background_point

CENTRE_SAMPLES = 10_000  # latents averaged for the truncation centre (both official repositories)
CENTRE_SEED = 0
# field points evaluated at once when no gradient is recorded: what a processor's cache holds, what keeps a GPU busy
CHUNK_POINTS, CHUNK_POINTS_GPU = 1 << 12, 1 << 17


@dataclass(frozen=True)
class GramConfig:
    """A GRAM network and how it takes pictures. Defaults: new training; `compatible()`: official weights."""

    image_size: int = 64
    field: FieldConfig = FieldConfig()
    manifolds: ManifoldsConfig = ManifoldsConfig()
    cameras: CameraPrior = CameraPrior()
    convention: RenderConvention = RenderConvention()
    half_width: float = 0.14  # maps cover |x|, |y| <= half_width world units, whatever the camera's field of view
    map_sampling: PixelSampling = "area"  # where map cells are; look-ups always use "area", the official grid does not
    mask_maps: bool = False  # True: alpha is zeroed in cells without a crossing (published); False: only along rays
    scene: Literal["baked", "field"] = "baked"  # what `scene()` returns: maps of side map_size, or the field itself
    map_size: int = 128

    def __post_init__(self) -> None:
        at_least(self, 2, "image_size", "map_size")
        if not (self.half_width > 0 and 0 < self.cameras.fov_degrees < 180):
            raise BadConfig(
                f"half_width={self.half_width} and cameras.fov_degrees={self.cameras.fov_degrees}",
                expected="a length above 0 and an angle between 0 and 180 degrees are needed",
                remedy="mend the one that is not",
            )
        if self.field.box != self.manifolds.box:
            raise BadConfig(
                f"field.box={self.field.box} and manifolds.box={self.manifolds.box}",
                expected="field and manifolds live in the same box",
                remedy="set both to the same length",
            )

    def compatible(self) -> GramConfig:
        """The conventions official weights were trained with."""
        return replace(
            self,
            field=replace(self.field, view_dependence="camera", fp32_phases=False),
            manifolds=replace(self.manifolds, hits="dense"),
            convention=RenderConvention("endpoints", "full", 64, "cut", "sum", opaque_background=False),
            half_width=0.12,
            map_sampling="endpoints",
            mask_maps=True,
            scene="field",
        )


class Grid(NamedTuple):
    """Where the field is asked when surfaces are gridded: hits of [1, g * g, L]; background points [1, g * g, 3].

    Levels that a ray misses share one point. distinct [1, U, 3]: all points once; place [g * g * (L + 1)]: where among
    them each is, cells first, levels and then the background within.
    """

    hits: Hits
    backdrop: Tensor
    distinct: Tensor
    place: Tensor


class LowResolutionMaps(NamedTuple):
    """maps [N, L, 4 + F, g, g] (r, g, b, alpha, features; y ascending); background [N, 3, g, g]."""

    maps: Tensor
    background: Tensor


class Gram(nn.Module):
    """The GRAM generator. `field_scene` is what training renders; `scene` what everybody else does."""

    family: ClassVar[str] = "gram"

    def __init__(self, config: GramConfig):
        super().__init__()
        self.config = config
        self.predictor = build_predictor(config.manifolds)
        self.field = Field(config.field)
        self.register_buffer("film_centre", torch.zeros(config.field.film_layers, 2, config.field.hidden))
        self.film_centre: Tensor
        self.forget_geometry()

    @property
    def latent_dim(self) -> int:
        """Length of z."""
        return self.config.field.z_dim

    @property
    def cameras(self) -> CameraPrior:
        """The training distribution of cameras."""
        return self.config.cameras

    @property
    def image_size(self) -> int:
        """Side of the training images, pixels."""
        return self.config.image_size

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        """z [N, z_dim] -> Latent, pulled towards the stored centre by 1 - truncation (GRAM: truncation)."""
        film = self.field.film(z)
        if truncation < 1:
            film = torch.lerp(self.film_centre.expand_as(film), film, truncation)
        return Latent(film, film.new_zeros(len(z), 0))

    @torch.no_grad()
    def measure_centre(self) -> None:
        """Store the truncation centre: the mean modulation of 10,000 latents (seed 0)."""
        rng = torch.Generator().manual_seed(CENTRE_SEED)
        z = torch.randn(CENTRE_SAMPLES, self.latent_dim, generator=rng).to(self.film_centre.device)
        self.film_centre.copy_(self.field.film(z).mean(dim=0))

    def scene(self, latent: Latent, view_from: Camera | None = None) -> RadianceManifolds | FieldManifolds:
        """N identities. `view_from` is ignored unless colours depend on the camera (compatible mode)."""
        if self.config.scene == "field":
            return self.field_scene(latent, locked=view_from is None or not self._sees_directions)
        c = self.config
        low = self.low_maps(latent, self.grid(c.map_size), view_from=view_from)
        return self.manifolds(self.height_fields(), low.maps[:, :, :4], low.background)

    @property
    def _sees_directions(self) -> bool:
        return self.config.field.view_dependence == "camera"

    def field_scene(
        self, latent: Latent, *, locked: bool | None = None, surfaces: Surfaces | None = None
    ) -> FieldManifolds:
        """The scene whose every view asks the field. `locked`: directions are (0, 0, -1) (default: as configured)."""
        c = self.config
        if locked is None:
            locked = not self._sees_directions

        def ask(points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
            value = self.field(points, None if locked else directions, latent.film)
            return value.rgb, value.sigma

        return FieldManifolds(
            surfaces or self.ray_surfaces(),
            ask,
            len(latent),
            c.manifolds.level_sets,
            c.field.delta,
            c.manifolds.background_z,
            c.convention,
        )

    def manifolds(self, surfaces: Surfaces, maps: Tensor, background: Tensor) -> RadianceManifolds:
        """Pictures on surfaces, with this network's lengths and conventions."""
        c = self.config
        return RadianceManifolds(surfaces, maps, background, c.half_width, c.manifolds.background_z, c.convention)

    def forget_geometry(self) -> None:
        """Drop the cached grids and height fields.

        They depend on neither identity nor camera, so they are made on first use and kept as long as the predictor has
        the same weights on the same device; nobody needs to call this.
        """
        self._grids: dict[int, Grid] = {}
        self._heights: Surfaces | None = None
        self._made_with: Tensor | None = None
        self._refined: tuple[tuple, Surfaces] | None = None

    def ray_surfaces(self) -> Surfaces:
        """What the rays of the field's own pictures meet: the predictor, searched along every ray or (once per change
        of its weights) into a table. Gradients reach the predictor either way."""
        c = self.config
        if not isinstance(self.predictor, MlpPredictor) or c.manifolds.hits == "dense":
            return self.predictor
        now = stamp(*self.predictor.parameters())
        if self._refined is None or self._refined[0] != now:
            made = refined(self.predictor, c.cameras, background_z=c.manifolds.background_z)
            self._refined = (now, made)
        return self._refined[1]

    def _keep_geometry_only_of_these_weights(self) -> None:
        weights = torch.cat(
            [self.film_centre.new_zeros(1), *(p.detach().flatten() for p in self.predictor.parameters())]
        )
        old = self._made_with
        if old is None or (old.device, old.dtype) != (weights.device, weights.dtype) or not torch.equal(old, weights):
            self.forget_geometry()
            self._made_with = weights

    def height_fields(self) -> Surfaces:
        """Surfaces that need no network: tabulated ones, or the spheres themselves. Kept: see `forget_geometry`."""
        c = self.config
        if not isinstance(self.predictor, MlpPredictor):
            return self.predictor
        self._keep_geometry_only_of_these_weights()
        if self._heights is None:
            self._heights = single_valued(self.predictor, half_width=c.half_width, like=self.film_centre)
        return self._heights

    def grid(self, size: int) -> Grid:
        """Hits of the gridding rays; independent of identity and camera. Kept: see `forget_geometry`."""
        self._keep_geometry_only_of_these_weights()
        if size not in self._grids:
            self._grids[size] = self._gridded(size)
        return self._grids[size]

    @torch.no_grad()
    def _gridded(self, size: int) -> Grid:
        c = self.config
        hits = self.predictor.hits(
            orthographic_rays(size, c.half_width, sampling=c.map_sampling, like=self.film_centre)
        )
        u = background_point(axis(size, c.map_sampling, like=self.film_centre), c.half_width)
        y, x = torch.meshgrid(u, u, indexing="ij")
        backdrop = torch.stack([x, y, torch.full_like(x, c.manifolds.background_z)], dim=-1).reshape(1, -1, 3)
        distinct, place = torch.unique(_points(hits, backdrop)[0], dim=0, return_inverse=True)
        return Grid(hits, backdrop, distinct[None], place)

    def low_maps(self, latent: Latent, grid: Grid, *, view_from: Camera | None = None) -> LowResolutionMaps:
        """Ask the field at the grid points: LR maps of N identities (GRAM-HD: manifold gridding).

        With `view_from` (N cameras) directions point from each item's own camera; otherwise they are locked.
        """
        n, size, levels = len(latent), int(grid.backdrop.shape[1] ** 0.5), grid.hits.points.shape[2]
        ask = self._ask if torch.is_grad_enabled() else self._ask_in_chunks
        channels = ask(grid.distinct.expand(n, -1, -1), latent, view_from).index_select(1, grid.place)
        channels = channels.reshape(n, size, size, levels + 1, -1).permute(0, 3, 4, 1, 2)
        maps, background = channels[:, :-1], channels[:, -1, :3]
        if self.config.mask_maps:
            valid = grid.hits.valid.reshape(1, size, size, levels).permute(0, 3, 1, 2)
            maps = torch.cat([maps[:, :, :3], maps[:, :, 3:4] * valid[:, :, None], maps[:, :, 4:]], dim=2)
        return LowResolutionMaps(maps, background)

    def _ask(self, points: Tensor, latent: Latent, view_from: Camera | None) -> Tensor:
        """[N, P, 3] -> [N, P, 4 + F]: r, g, b, alpha, features."""
        directions = None
        if view_from is not None and self._sees_directions:
            directions = points - view_from.position[:, None]
            directions = directions / directions.norm(dim=-1, keepdim=True)
        rgb, sigma, features = self.field(points, directions, latent.film)
        alpha = 1 - torch.exp(-self.config.field.delta * sigma)
        return torch.cat([rgb, alpha[..., None], features], dim=-1)

    def _ask_in_chunks(self, points: Tensor, latent: Latent, view_from: Camera | None) -> Tensor:
        """`_ask` identity by identity, so that none of them sees how many there are."""
        n, count, _ = points.shape
        step = CHUNK_POINTS if points.device.type == "cpu" else CHUNK_POINTS_GPU
        channels = points.new_empty(n, count, 4 + self.config.field.features)
        for i in range(n):
            one, seen_from = latent[i], view_from if view_from is None else view_from[i]
            for part, out in zip(points[i : i + 1].split(step, 1), channels[i : i + 1].split(step, 1), strict=True):
                out.copy_(self._ask(part, one, seen_from))
        return channels


def _points(hits: Hits, backdrop: Tensor) -> Tensor:
    """[1, g * g * (L + 1), 3]: the hits of every cell, then its background point."""
    return torch.cat([hits.points, backdrop[:, :, None]], dim=2).flatten(1, 2)
