"""The conventions of docs/conventions.md hold."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gramhd_core.geometry.camera import Camera, CameraPrior, angles_from_official
from gramhd_core.geometry.rays import camera_rays

angle = st.floats(-1.2, 1.2)


def test_level_frontal_camera_stands_on_plus_z_and_looks_back() -> None:
    camera = Camera.orbit(0.0, 0.0)
    assert torch.allclose(camera.position, torch.tensor([[0.0, 0.0, 1.0]]))
    assert torch.allclose(camera.world_from_camera[0, :3, :3], torch.eye(3), atol=1e-7)


def test_positive_yaw_moves_the_camera_to_plus_x_and_positive_pitch_up() -> None:
    assert Camera.orbit(0.0, 0.3).position[0, 0] > 0.2
    assert Camera.orbit(0.3, 0.0).position[0, 1] > 0.2


@given(pitch=angle, yaw=angle)
@settings(max_examples=40, deadline=None)
def test_orbit_is_a_rotation_and_gives_its_angles_back(pitch: float, yaw: float) -> None:
    camera = Camera.orbit(torch.tensor(pitch).double(), torch.tensor(yaw).double())
    rotation = camera.world_from_camera[0, :3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.det(rotation) == pytest.approx(1)
    assert camera.pitch.item() == pytest.approx(pitch, abs=1e-6)
    assert camera.yaw.item() == pytest.approx(yaw, abs=1e-6)


def test_official_angles_give_the_official_position() -> None:
    phi, theta = torch.tensor([1.3]).double(), torch.tensor([2.0]).double()
    pitch, yaw = angles_from_official(phi, theta)
    expected = torch.stack([phi.sin() * theta.cos(), phi.cos(), phi.sin() * theta.sin()], dim=-1)
    assert torch.allclose(Camera.orbit(pitch, yaw).position, expected, atol=1e-6)


@pytest.mark.parametrize("sampling", ["area", "endpoints"])
def test_rays_start_at_the_camera_have_unit_length_and_the_field_of_view(sampling: str) -> None:
    camera = Camera.orbit(0.2, -0.4, size=9)
    rays = camera_rays(camera, sampling=sampling)
    assert torch.allclose(rays.directions.norm(dim=-1), torch.ones(1, 81), atol=1e-6)
    middle = rays.directions[0, 40]
    assert torch.allclose(middle, -camera.position[0], atol=1e-6)
    left = rays.directions[0, 36]  # middle row, first column
    widest = math.degrees(math.acos(float(middle @ left)))
    edge = 6.0 if sampling == "endpoints" else math.degrees(math.atan(math.tan(math.radians(6)) * 8 / 9))
    assert widest == pytest.approx(edge, abs=1e-3)


def test_rays_keep_full_precision_under_autocast() -> None:
    camera = Camera.orbit(0.2, -0.4, size=9)
    exact = camera_rays(camera).directions
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(camera_rays(camera).directions, exact)


def test_top_left_ray_points_up_and_left() -> None:
    d = camera_rays(Camera.orbit(0.0, 0.0, size=4)).directions[0, 0]
    assert d[0] < 0 < d[1]


@given(pitch=angle, yaw=angle)
@settings(max_examples=20, deadline=None)
def test_projecting_points_along_rays_returns_the_pixel_centres(pitch: float, yaw: float) -> None:
    camera = Camera.orbit(torch.tensor(pitch).double(), torch.tensor(yaw).double(), size=6)
    rays = camera_rays(camera)
    points = rays.at(torch.full((1, 36, 1), 0.93, dtype=torch.float64))[:, :, 0]
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).reshape(1, 36, 2) + 0.5
    assert torch.allclose(camera.project(points), centres.double(), atol=1e-6)


def test_mirrored_camera_sees_the_mirrored_point_at_the_mirrored_pixel() -> None:
    camera = Camera.orbit(0.1, 0.35, size=32)
    point = torch.tensor([[[0.03, -0.02, 0.05]]])
    here = camera.project(point)[0, 0]
    there = camera.mirrored().project(point * torch.tensor([-1.0, 1.0, 1.0]))[0, 0]
    assert torch.allclose(there, torch.tensor([32 - here[0], here[1]]), atol=1e-4)
    assert camera.mirrored().yaw.item() == pytest.approx(-0.35, abs=1e-6)


def test_prior_has_the_published_spread_and_does_not_depend_on_the_batch() -> None:
    prior = CameraPrior()
    many = prior.sample(4000, torch.Generator().manual_seed(0))
    assert many.yaw.std().item() == pytest.approx(0.3, rel=0.05)
    assert many.pitch.std().item() == pytest.approx(0.155, rel=0.05)
    rng = torch.Generator().manual_seed(3)
    split = torch.cat([prior.sample(n, rng).yaw for n in (2, 3, 15, 20)])
    whole = prior.sample(40, torch.Generator().manual_seed(3)).yaw
    assert torch.allclose(split, whole)
