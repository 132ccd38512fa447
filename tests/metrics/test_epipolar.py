"""Epipolar strips: a wall moves as its depth says; what sticks, flickers or is upsampled is found out."""

from __future__ import annotations

import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from planes import views_of_wall

from gramhd_core.errors import BadDataset
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.damage import Damage, damaged
from gramhd_core.metrics.epipolar import epi, spectrum, stride, tracks
from gramhd_core.metrics.reprojection import chosen
from gramhd_core.metrics.views import ViewSet
from gramhd_core.outputs.epi import epi_picture

SIZE, STEPS, Z = 40, 25, 0.08  # the wall is where a face is
CAMERAS = Camera.orbit(0.0, torch.linspace(-0.3, 0.3, STEPS), size=SIZE)


@pytest.fixture(scope="module")
def wall() -> ViewSet:
    return views_of_wall(CAMERAS, z=Z)


def planted(wall: ViewSet, kind: str, strength: float) -> ViewSet:
    rng = torch.Generator().manual_seed(0)
    return damaged(wall, Damage(kind, strength), look=partial(views_of_wall, z=Z), rng=rng)


def test_a_smooth_wall_moves_as_its_depth_says(wall: ViewSet) -> None:
    found = epi(wall)
    assert found.residual_psnr > 42 and found.flicker < 1
    assert found.percentage > 80 and found.followed > 40
    assert found.spectrum.shape == (STEPS // 2 + 1,)


def test_a_wall_at_another_depth_does_not(wall: ViewSet) -> None:
    other = views_of_wall(CAMERAS, z=0.0)
    found = epi(wall._replace(distance=other.distance))
    assert found.residual_psnr < epi(wall).residual_psnr - 10 and found.flicker > 5


@pytest.mark.parametrize("kind", ["sticking", "flicker"])
def test_textures_that_are_not_on_the_wall_are_found_and_stronger_ones_more(wall: ViewSet, kind: str) -> None:
    found = [epi(wall), *(epi(planted(wall, kind, strength)) for strength in (3.0, 6.0, 12.0))]
    assert (np.diff([score.residual_psnr for score in found]) < -1).all()
    assert (np.diff([score.flicker for score in found]) > 0.3).all()


def test_flicker_is_faster_than_what_sticks(wall: ViewSet) -> None:
    sticking, flicker = (epi(planted(wall, kind, 8.0)).spectrum for kind in ("sticking", "flicker"))
    assert sticking[1:4].sum() > 2 * flicker[1:4].sum() and flicker[8:].sum() > 5 * sticking[8:].sum()


def test_the_way_back_is_the_same_and_batches_do_not_matter(wall: ViewSet, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = planted(wall, "flicker", 4.0)
    before, back = epi(sweep), epi(chosen(sweep, torch.arange(STEPS - 1, -1, -1)))
    assert back.flicker == pytest.approx(before.flicker, rel=1e-3)
    assert back.residual_psnr == pytest.approx(before.residual_psnr, abs=0.2)  # the other picture is warped
    monkeypatch.setattr(sys.modules[epi.__module__], "AT_ONCE", 1)
    assert epi(sweep).flicker == pytest.approx(before.flicker, rel=1e-5)


def test_pictures_that_are_compared_are_about_a_pixel_apart(wall: ViewSet) -> None:
    # half the picture is tan(6 degrees) wide at distance 1 - Z; the camera turns around the origin, Z behind the wall
    step = 0.6 / (STEPS - 1) * Z * SIZE / (2 * math.tan(math.radians(6)) * (1 - Z))
    assert stride(wall) == pytest.approx(1 / step, abs=1)
    assert stride(views_of_wall(CAMERAS.with_size(2 * SIZE), z=Z)) == pytest.approx(0.5 / step, abs=1)


def test_a_point_is_followed_with_its_colour_and_those_that_leave_are_not(wall: ViewSet) -> None:
    found = tracks(wall)
    assert found.colours.shape[:2] == (STEPS, 3) and 0.4 < found.share < 1
    assert found.colours.std(dim=0).mean() < 1
    assert wall.distance is not None
    hidden = wall.distance.clone()
    hidden[3] -= 0.1
    assert tracks(wall._replace(distance=hidden)).share == 0
    nothing = epi(wall._replace(distance=hidden))
    assert math.isnan(nothing.flicker) and nothing.followed == 0 and nothing.spectrum.isnan().all()


def test_a_sweep_without_a_head_is_nan_and_unknown_distances_are_skipped(wall: ViewSet) -> None:
    nothing = epi(wall._replace(alpha=torch.zeros_like(wall.rgb[:, 0], dtype=torch.float32)))
    assert math.isnan(nothing.residual_psnr) and math.isnan(nothing.flicker) and nothing.followed == 0
    assert wall.distance is not None
    unknown = wall.distance.clone()
    unknown[:, 10:13] = math.nan
    found = epi(wall._replace(distance=unknown))
    assert found.residual_psnr == pytest.approx(epi(wall).residual_psnr, rel=0.03)
    unknown[STEPS // 2] = math.nan
    assert math.isnan(epi(wall._replace(distance=unknown)).flicker)


@pytest.mark.parametrize("steps", [32, 33])
def test_the_spectrum_of_a_wave_is_one_peak_whose_sum_is_its_variance(steps: int) -> None:
    time = 2 * math.pi * torch.arange(steps) / steps
    wave = 5 + (3 * torch.sin(8 * time)).reshape(steps, 1, 1).expand(-1, 3, 2)
    power = spectrum(wave)
    assert power.argmax() == 8 and power.sum() == pytest.approx(4.5, rel=0.02)
    assert power[7:10].sum() == pytest.approx(4.5, rel=0.03)
    assert spectrum(torch.linspace(0, 9, steps).reshape(steps, 1, 1)).sum() < 1e-8  # slow changes are no flicker


def test_the_strip_is_that_of_sample(wall: ViewSet) -> None:
    rgb, row = wall.rgb.movedim(1, -1).numpy(), int(0.25 * SIZE)
    wanted = epi_picture(rgb[STEPS // 2], rgb[:, row], row=row)
    assert np.array_equal(epi(wall, line=0.25).strip.numpy(), wanted)


def test_what_is_no_sweep_is_refused(wall: ViewSet) -> None:
    with pytest.raises(BadDataset, match="10 views"):
        epi(chosen(wall, torch.arange(10)))
    with pytest.raises(BadDataset, match="radians apart"):
        epi(chosen(wall, torch.tensor([0, 20, *range(1, 20)])))
    with pytest.raises(BadDataset, match="depth_file_path"):
        epi(wall._replace(distance=None))
