"""What every family promises, and the two sides of each family's own switches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import SMALL_HIGH, SMALL_LOW, thicken

from gramhd_core.errors import BadConfig
from gramhd_core.generators import FAMILIES, PUBLISHED
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays

CONFIGS = {"gram": SMALL_LOW, "gram-hd": SMALL_HIGH}


def build(family: str, config=None) -> Gram | GramHd:
    torch.manual_seed(0)
    generator = FAMILIES[family][0](config or CONFIGS[family])
    thicken(generator)
    return generator.eval()


@pytest.fixture(params=sorted(FAMILIES))
def generator(request: pytest.FixtureRequest) -> Gram | GramHd:
    return build(request.param)


@torch.no_grad()
def test_scene_renders_pictures_of_the_asked_size(generator: Gram | GramHd) -> None:
    z = torch.randn(2, generator.latent_dim, generator=torch.Generator().manual_seed(1))
    camera = generator.cameras.sample(2, torch.Generator().manual_seed(2), size=24)
    picture = generator.scene(generator.latent(z)).render(camera)
    assert picture.rgb.shape == (2, 3, 24, 24)
    assert torch.isfinite(picture.rgb).all() and picture.rgb.std() > 0.01
    assert 0 <= picture.alpha.min() and picture.alpha.max() <= 1 + 1e-6
    assert picture.distance is not None and 0.85 < picture.distance.min() and picture.distance.max() < 1.3


@torch.no_grad()
def test_same_z_same_picture_whatever_the_batch(generator: Gram | GramHd) -> None:
    z = torch.randn(3, generator.latent_dim, generator=torch.Generator().manual_seed(1))
    camera = generator.cameras.at(0.1, torch.tensor([-0.2, 0.0, 0.3]), size=16)
    whole = generator.scene(generator.latent(z)).render(camera).rgb
    alone = generator.scene(generator.latent(z[1:2])).render(camera[1]).rgb
    assert torch.allclose(whole[1:2], alone, atol=1e-4)


@torch.no_grad()
def test_default_scene_is_a_value_that_no_camera_changes(generator: Gram | GramHd) -> None:
    latent = generator.latent(torch.ones(1, generator.latent_dim))
    camera = generator.cameras.at(0.0, 0.2, size=16)
    plain = generator.scene(latent).render(camera).rgb
    told = generator.scene(latent, view_from=generator.cameras.at(0.2, -0.4)).render(camera).rgb
    assert torch.equal(plain, told)


@torch.no_grad()
def test_compatible_colours_depend_on_the_camera_only_when_it_is_named(generator: Gram | GramHd) -> None:
    compatible = build(generator.family, generator.config.compatible())
    latent = compatible.latent(torch.ones(1, compatible.latent_dim))
    camera = compatible.cameras.at(0.0, 0.4, size=16)
    locked = compatible.scene(latent).render(camera).rgb
    seen = compatible.scene(latent, view_from=camera).render(camera).rgb
    assert not torch.allclose(locked, seen, atol=1e-5)


@torch.no_grad()
def test_truncation_goes_from_the_stored_centre_to_the_latent(generator: Gram | GramHd) -> None:
    generator.measure_centre()
    z = torch.randn(2, generator.latent_dim, generator=torch.Generator().manual_seed(5))
    full, half, none = (generator.latent(z, psi) for psi in (1.0, 0.5, 0.0))
    assert torch.allclose(none.film[0], none.film[1])
    assert torch.allclose(half.film, (full.film + none.film) / 2, atol=1e-5)
    assert torch.allclose(half.style, (full.style + none.style) / 2, atol=1e-5)


def test_latents_interpolate_linearly() -> None:
    a, b = Latent(torch.zeros(1, 2, 2, 3), torch.zeros(1, 4)), Latent(torch.ones(1, 2, 2, 3), torch.ones(1, 4))
    assert torch.allclose(a.lerp(b, 0.25).film, torch.tensor(0.25)) and torch.allclose(
        a.lerp(b, 0.25).style, torch.tensor(0.25)
    )


@torch.no_grad()
@pytest.mark.parametrize("length", [0.12, 0.15])
def test_map_extent_is_a_length_that_no_field_of_view_changes(length: float) -> None:
    generator = build("gram", replace(SMALL_LOW, half_width=length))
    grid = generator.grid(8)
    assert grid.hits.points[..., :2].abs().max().item() == pytest.approx(length * 7 / 8)
    wide = build("gram", replace(generator.config, cameras=replace(generator.config.cameras, fov_degrees=20.0)))
    assert torch.equal(wide.grid(8).hits.points, grid.hits.points)


@torch.no_grad()
@pytest.mark.parametrize("sampling", ["area", "endpoints"])
def test_look_up_returns_what_was_gridded_only_with_one_convention(sampling: str) -> None:
    """A map that stores x is read back as x; the published grid is stretched by size / (size - 1)."""
    generator = build("gram", replace(SMALL_LOW, map_sampling=sampling))
    size = 16
    x = generator.grid(size).hits.points[0, :, 0, 0].reshape(size, size)
    read = torch.nn.functional.grid_sample(x[None, None], torch.tensor([[[[0.5, 0.0]]]]), align_corners=False)
    expected = 0.5 * generator.config.half_width
    exact = read.item() == pytest.approx(expected, abs=1e-6)
    assert exact == (sampling == "area")
    if sampling == "endpoints":
        assert read.item() == pytest.approx(expected * size / (size - 1), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_published_maps_are_empty_where_nothing_was_hit(masked: bool) -> None:
    generator = build("gram", replace(SMALL_LOW, mask_maps=masked))
    grid = generator.grid(16)
    maps = generator.low_maps(generator.latent(torch.ones(1, 8)), grid).maps
    missed = ~grid.hits.valid.reshape(16, 16, -1).permute(2, 0, 1)
    assert missed.any()
    assert (maps[0, :, 3][missed] == 0).all() == masked


@torch.no_grad()
def test_high_resolution_hits_are_full_by_default_and_interpolated_in_compatible_mode() -> None:
    new, old = build("gram-hd"), build("gram-hd", SMALL_HIGH.compatible())
    assert new.config.convention.hits == "full" and old.config.convention.hits == "upsampled"
    old.load_state_dict(new.state_dict())
    camera = Camera.orbit(0.1, 0.4, size=32)
    a, b = (g.scene(g.latent(torch.ones(1, 8))).render(camera).rgb for g in (new, old))
    assert 0 < (a - b).abs().mean() < 0.5


def test_cached_geometry_follows_the_weights() -> None:
    a = build("gram-hd")
    torch.manual_seed(7)
    b = GramHd(SMALL_HIGH)
    assert not torch.equal(a.grid().hits.points, b.grid().hits.points)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.grid().hits.points, b.grid().hits.points)
    rays = camera_rays(Camera.orbit(0.1, 0.2, size=8))
    assert torch.equal(a.surfaces().hits(rays).points, b.surfaces().hits(rays).points)


def test_geometry_is_made_once_and_again_when_the_surfaces_change(generator: Gram | GramHd) -> None:
    low = generator.low if isinstance(generator, GramHd) else generator
    grid, heights = low.grid(8), low.height_fields()
    assert low.grid(8) is grid and low.height_fields() is heights
    with torch.no_grad():
        next(low.predictor.parameters()).mul_(1.01)
    assert low.grid(8) is not grid and low.height_fields() is not heights
    assert not torch.equal(low.grid(8).hits.points, grid.hits.points)


@torch.no_grad()
def test_points_that_levels_share_are_asked_once_and_answered_everywhere(generator: Gram | GramHd) -> None:
    low = generator.low if isinstance(generator, GramHd) else generator
    grid, latent = low.grid(16), generator.latent(torch.ones(2, generator.latent_dim))
    everywhere = torch.cat([grid.hits.points, grid.backdrop[:, :, None]], dim=2).flatten(1, 2)
    assert grid.distinct.shape[1] < everywhere.shape[1], "levels that are missed end at one point"
    assert torch.equal(grid.distinct[:, grid.place], everywhere)
    quick = low.low_maps(latent, grid)
    with torch.enable_grad():
        plain = low.low_maps(latent, grid)
    assert torch.allclose(quick.maps, plain.maps, atol=1e-6)
    assert torch.allclose(quick.background, plain.background, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("compatible", [True, False])
def test_field_in_chunks_is_the_field(generator: Gram | GramHd, compatible: bool, monkeypatch) -> None:
    config = generator.config.compatible() if compatible else generator.config
    made = build(generator.family, config)
    low = made.low if isinstance(made, GramHd) else made
    latent, camera = made.latent(torch.ones(1, made.latent_dim)), made.cameras.at(0.1, 0.3, size=8)
    whole = low.low_maps(latent, low.grid(8), view_from=camera).maps
    monkeypatch.setattr("gramhd_core.generators.gram.CHUNK_POINTS", 37)
    assert torch.allclose(low.low_maps(latent, low.grid(8), view_from=camera).maps, whole, atol=1e-6)


def test_stage_two_trains_heads_and_super_resolution_only() -> None:
    names = build("gram-hd").trainable()
    assert {name.split(".")[0] for name in names} == {"low", "foreground", "background"}
    assert all("output_feature" in name for name in names if name.startswith("low."))


def test_features_of_field_and_super_resolution_must_agree() -> None:
    with pytest.raises(BadConfig, match="features"):
        GramHdConfig(SMALL_LOW, SMALL_HIGH.sr)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_configurations_have_the_published_sizes(name: str) -> None:
    config = PUBLISHED[name]
    size = int("".join(c for c in name.split("-")[0] if c.isdigit()))
    assert config.image_size == size
    low = config.low if isinstance(config, GramHdConfig) else config
    assert (low.image_size, low.manifolds.count, low.manifolds.samples) == (64, 24, 64)
    if isinstance(config, GramHdConfig):
        assert sum(config.sr.style_widths) == 256


@torch.no_grad()
@pytest.mark.parametrize("start", [0.0, 6.0])
def test_start_density_is_a_ball(start: float) -> None:
    config = replace(SMALL_LOW, field=replace(SMALL_LOW.field, start_density=start, delta=1.0))
    torch.manual_seed(0)
    scene = Gram(config).field_scene(Gram(config).latent(torch.ones(1, 8)))
    centre, corner = scene.density(torch.tensor([[[0.0, 0.0, 0.0], [0.11, 0.11, 0.0]]]))[0, :, 0]
    assert (centre > 4 * corner).item() == (start > 0)
