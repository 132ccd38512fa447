"""Planted damage: as strong as asked, only in the colours, and of the kind that was asked for."""

from __future__ import annotations

import math

import pytest
import torch
from planes import views_of_wall
from torch import Tensor

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.damage import KINDS, TABLE, Damage, aliased, damaged, planted_rms
from gramhd_core.metrics.views import ViewSet

CAMERAS = Camera.orbit(torch.tensor([0.0, 0.1, 0.0]), torch.tensor([-0.2, 0.0, 0.2]), size=64)


def fine(x: Tensor, y: Tensor) -> Tensor:
    """Some twenty waves across the picture."""
    return 128 + 60 * torch.sin(600 * x) * torch.cos(510 * y)


def look(cameras: Camera) -> ViewSet:
    return views_of_wall(cameras, paint=fine)


def planted(kind: str, strength: float, *, seed: int = 0, clean: ViewSet | None = None) -> ViewSet:
    rng = torch.Generator().manual_seed(seed)
    return damaged(clean or look(CAMERAS), Damage(kind, strength), look=look, rng=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_only_colours_are_damaged_and_the_seed_decides_how(kind: str) -> None:
    clean = look(CAMERAS)
    first, second, other = planted(kind, 2.0), planted(kind, 2.0), planted(kind, 2.0, seed=1)
    assert first.alpha is not None and first.distance is not None and clean.distance is not None
    assert torch.equal(first.distance, clean.distance) and first.cameras is CAMERAS or first.cameras == clean.cameras
    assert not torch.equal(first.rgb, clean.rgb) and torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.rgb, other.rgb) == (kind == "upsampled")


@pytest.mark.parametrize("kind", ["sticking", "flicker"])
@pytest.mark.parametrize("strength", [4.0, 8.0])
def test_textures_are_as_strong_as_asked(kind: str, strength: float) -> None:
    assert planted_rms(planted(kind, strength), look(CAMERAS)) == pytest.approx(strength, rel=0.03)


def test_sticking_is_the_same_at_the_same_pixels_and_flicker_is_not() -> None:
    grey = look(CAMERAS)._replace(rgb=torch.full((3, 3, 64, 64), 128, dtype=torch.uint8))
    stuck, flicker = planted("sticking", 8.0, clean=grey).rgb, planted("flicker", 8.0, clean=grey).rgb
    assert torch.equal(stuck[0], stuck[1]) and torch.equal(stuck[1], stuck[2]) and stuck.float().std() > 7
    together = torch.corrcoef(flicker[:, 0].flatten(1).float())
    assert together[0, 1].abs() < 0.05 and together[1, 2].abs() < 0.05


def test_textures_are_on_the_head_only() -> None:
    clean = look(CAMERAS)
    assert clean.alpha is not None
    clean.alpha[:, :, 32:] = 0
    assert torch.equal(planted("flicker", 8.0, clean=clean).rgb[..., 32:], clean.rgb[..., 32:])
    assert planted_rms(planted("flicker", 8.0, clean=clean), clean) == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("size", [16, 24, 32, 64])
def test_an_aliased_picture_is_what_the_middles_of_its_pixels_see(size: int) -> None:
    cameras = CAMERAS.with_size(size)

    def directions(seen: Camera) -> ViewSet:
        assert seen.width >= 64
        way = camera_rays(seen).directions.mT.unflatten(2, (seen.width, seen.width))
        return ViewSet("ways", seen, way)

    wanted = camera_rays(cameras).directions.mT.unflatten(2, (size, size))
    assert torch.allclose(aliased(directions, cameras), wanted, atol=1e-6)


def test_upsampling_leaves_what_is_smooth_and_no_colours_that_are_not_around() -> None:
    grey = look(CAMERAS)._replace(rgb=torch.full((3, 3, 64, 64), 128, dtype=torch.uint8))
    flat = damaged(
        grey,
        Damage("upsampled", 2.0),
        look=lambda cameras: views_of_wall(cameras, paint=lambda x, y: 128 + 0 * x),
        rng=torch.Generator(),
    )
    assert torch.equal(flat.rgb, grey.rgb)

    def gradients(views: ViewSet) -> float:
        return float(views.rgb.float().diff(dim=-1).square().mean() + views.rgb.float().diff(dim=-2).square().mean())

    clean, sharp = look(CAMERAS), planted("upsampled", 4 / 3)
    assert 0.5 < gradients(sharp) / gradients(clean) < 1.05
    assert 40 < sharp.rgb.min() and sharp.rgb.max() < 216  # the wall's own are 68 to 188


def test_more_is_planted_from_row_to_row_of_a_kind() -> None:
    clean = look(CAMERAS)
    assert {damage.kind for damage in TABLE} == set(KINDS)
    for kind in KINDS:
        rows = [planted_rms(planted(*damage), clean) for damage in TABLE if damage.kind == kind]
        assert len(rows) > 1 and rows == sorted(rows) and rows[0] > 0.5 and math.isfinite(rows[-1])
