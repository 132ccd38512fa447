"""Fits of NeuS: seeds repeat, rays keep to themselves, spheres are found. (Damage: `test_planted_damage.py`.)"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gramhd_core.errors import BadConfig
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.neus_config import FAST, PAPER, PRESETS, QUICK, NeusConfig
from gramhd_core.metrics.neus_fitting import NeusFit, batches_of, field_of, fit, rate_at, regularity
from gramhd_core.metrics.neus_rays import rays_of, region_of
from gramhd_core.metrics.neus_rendering import render
from gramhd_core.metrics.views import ViewSet, around

TINY = replace(FAST, name="tiny", iterations=3, rays=64, coarse=8, fine=4, outside=4, warm_up=1)
BALL = 0.07  # world units


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views_of_ball(size: int, *, every: int = 1) -> ViewSet:
    """A ball at the origin, coloured by its surface, before something even; each `every`-th of the usual views."""
    cameras = around(CameraPrior(), size=size)[slice(None, None, every)]
    rays = camera_rays(cameras)
    middle = -(rays.origins * rays.directions).sum(dim=-1)
    gap = (rays.origins + middle[..., None] * rays.directions).square().sum(dim=-1)
    hit = gap < BALL**2
    t = middle - (BALL**2 - gap).clamp(min=0).sqrt()
    surface = (rays.origins + t[..., None] * rays.directions) / BALL
    colours = torch.where(hit[..., None], 0.5 + 0.4 * (3 * surface).sin(), torch.tensor(0.6))
    rgb = (colours.reshape(-1, size, size, 3).movedim(-1, 1) * 255).round().byte()
    return ViewSet("ball", cameras, rgb, hit.float().reshape(-1, size, size), t.reshape(-1, size, size))


@pytest.fixture(scope="module")
def ball() -> ViewSet:
    return views_of_ball(16, every=6)


@pytest.fixture(scope="module")
def plain(ball: ViewSet) -> NeusFit:
    return fit(ball, TINY, rng=rng())


def test_a_field_that_shows_nothing_is_regular_without_a_surface(ball: ViewSet) -> None:
    field, region = field_of(TINY, size=16, rng=rng()), region_of(ball.cameras)
    rendered = render(field, rays_of(ball.cameras, region).pick(slice(0, 8)), TINY)
    empty = rendered._replace(surface=rendered.surface[:0], slopes=None)
    assert regularity(field, empty, TINY, rng()).isfinite()


def numbers(found: NeusFit) -> tuple[float, float, float, bytes]:
    return found.psnr, found.ssim, found.sharpness, found.rgb.numpy().tobytes()


def test_the_same_seed_is_the_same_fit_and_another_seed_is_another(ball: ViewSet, plain: NeusFit) -> None:
    again, other = (fit(ball, TINY, rng=rng(seed)) for seed in (0, 1))
    assert numbers(plain) == numbers(again) and torch.equal(plain.distance, again.distance)
    assert numbers(plain) != numbers(other)


def test_shapes_of_what_a_fit_gives(ball: ViewSet, plain: NeusFit) -> None:
    assert plain.rgb.shape == ball.rgb.shape and plain.rgb.dtype == torch.uint8
    assert plain.distance.shape == (5, 16, 16) and plain.distance.isfinite().all()
    assert len(plain.per_view_psnr) == 5 and plain.iterations == 3
    assert plain.psnr == pytest.approx(sum(plain.per_view_psnr) / 5)


@pytest.mark.parametrize(
    "change",
    [
        {"view_dependence": True},
        {"loss": "l1"},
        {"every": 1},
        {"rounds": 0},
        {"rounds": 1},
        {"lightest": 0.0},
        {"eikonal": 0.0},
        {"bend": 0.0},
        {"sharpness": 10.0},
        {"beta2": 0.999},
        {"warm_up": 0},
        {"final_rate": 1.0},
        {"rays": 32},
        {"outside": 8},
        {"learning_rate": 1e-3},
    ],
)
def test_every_switch_changes_the_fit(ball: ViewSet, plain: NeusFit, change: dict) -> None:
    changed = fit(ball, replace(TINY, **change), rng=rng())
    assert not torch.equal(plain.distance, changed.distance)


def test_networks_learn_by_the_same_code(ball: ViewSet) -> None:
    config = replace(PAPER, iterations=2, rays=8, coarse=4, fine=2, rounds=1, outside=2, warm_up=1)
    few = ball._replace(cameras=ball.cameras[:2].with_size(8), rgb=ball.rgb[:2, :, ::2, ::2])
    found = fit(few, config, rng=rng())
    assert 5 < found.psnr < 40 and found.rgb.shape == (2, 3, 8, 8)


def test_a_ray_looks_the_same_in_any_company() -> None:
    cameras = around(CameraPrior(), size=8)
    rays = rays_of(cameras, region_of(cameras))
    field = field_of(TINY, size=8, rng=rng())
    with torch.no_grad():
        field.distances.table.normal_(generator=rng()).mul_(0.3)
        field.colours.table.normal_(generator=rng())
        field.surroundings.table.normal_(generator=rng())
        every = render(field, rays, TINY)
        some = render(field, rays.pick(torch.arange(5, 300, 7)), TINY)
    torch.testing.assert_close(some.rgb, every.rgb[5:300:7])
    torch.testing.assert_close(some.t, every.t[5:300:7])


def test_the_first_fit_is_the_sphere_of_the_stated_radius() -> None:
    cameras = Camera.orbit(0.0, 0.0, size=65)
    region = region_of(cameras)
    field = field_of(replace(TINY, sharpness=2000.0), size=16, rng=rng())
    with torch.no_grad():
        seen = render(field, rays_of(cameras, region), replace(FAST, rounds=4, every=1))
    solid = seen.solid.reshape(65, 65)
    middle = float(seen.t.reshape(65, 65)[32, 32]) * region.radius
    assert middle == pytest.approx(1 - float(region.centre[2]) - 0.7 * region.radius, abs=0.002)
    wide = float((solid[32] > 0.5).float().mean()) * 2 * 0.1051
    assert wide == pytest.approx(1.4 * region.radius, abs=0.006)


def test_learning_rate_warms_up_and_falls_to_its_last_share() -> None:
    config = NeusConfig("test", iterations=1000, warm_up=100)
    assert rate_at(0, config) == pytest.approx(0.01) and rate_at(100, config) == 1
    assert rate_at(1000, config) == pytest.approx(0.05)
    falling = [rate_at(step, config) for step in range(100, 1000, 50)]
    assert falling == sorted(falling, reverse=True)


def test_every_pixel_comes_once_before_any_comes_twice() -> None:
    batches = batches_of(10, 4, rng())
    seen = torch.cat([next(batches) for _ in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10)) and sorted(seen[10:].tolist()) == list(range(10))


def test_presets_are_found_by_their_names_and_nonsense_is_refused() -> None:
    assert PRESETS == {"paper": PAPER, "fast": FAST, "quick": QUICK}
    for nonsense in ({"iterations": 0}, {"learning_rate": 0.0}, {"sharpness": -1.0}, {"coarse": 1}):
        with pytest.raises(BadConfig):
            replace(FAST, **nonsense)


@pytest.mark.slow
def test_a_ball_is_found() -> None:
    views = views_of_ball(24)
    found = fit(views, replace(FAST, iterations=150, rays=512), rng=rng())
    assert found.psnr > 38
    assert views.alpha is not None and views.distance is not None
    middle = views.alpha.bool() & (views.distance < 1 - 0.7 * BALL)
    assert float((found.distance - views.distance).abs()[middle].mean()) < 0.004
