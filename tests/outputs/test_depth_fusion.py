"""Depth is the median of what a ray meets; many depth maps give the true surface back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rasteriser import rasterise

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.outputs.depth_fusion import FusedSurface, fuse, median_distance, spread_cameras
from gramhd_core.scenes.head_manifolds import head_manifolds
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields

pytestmark = pytest.mark.slow

SEED = 8
IDENTITY = HeadIdentity.from_seed(SEED)


@pytest.fixture(scope="module")
def scene() -> RadianceManifolds:
    return head_manifolds(IDENTITY, size=256)


@pytest.fixture(scope="module")
def surface(scene: RadianceManifolds) -> FusedSurface:
    return fuse(scene, CameraPrior(), views=16, resolution=128)


def planes(alphas: list[float], heights: list[float]) -> RadianceManifolds:
    """Flat layers of even opacity."""
    z = torch.tensor(heights)[:, None, None].expand(-1, 8, 8).contiguous()
    maps = torch.tensor(alphas)[None, :, None, None, None].expand(1, -1, 4, 8, 8).contiguous()
    return RadianceManifolds(HeightFields(z, 0.15, 0.12), maps, torch.zeros(1, 3, 8, 8), 0.14)


@pytest.mark.parametrize(
    ("alphas", "height"),
    [
        ([0.0, 1.0, 0.0, 0.0], 0.03),  # one opaque layer is met exactly
        ([0.0, 0.3, 0.0, 0.0], 0.03),  # and so is a faint one: half of what there is
        ([0.0, 0.25, 1.0, 0.0], 0.25 * 0.03 + 0.75 * 0.01),  # a soft edge lies between its layers
        ([0.0, 0.0, 0.9, 1.0], 0.9 * 0.01 + 0.1 * -0.01),
        ([1.0, 0.0, 0.0, 1.0], 0.05),  # what is hidden does not count
    ],
)
def test_the_median_lies_where_half_of_the_opacity_is_passed(alphas: list[float], height: float) -> None:
    rays = camera_rays(Camera.orbit(0.0, 0.0, size=1))
    found = median_distance(planes(alphas, [0.05, 0.03, 0.01, -0.01]), rays)
    assert found.item() == pytest.approx(1 - height, abs=1e-6)


def test_the_median_does_not_hang_in_the_air_between_two_surfaces_as_the_mean_does() -> None:
    heights = [0.08, 0.06, 0.04, 0.02, 0.0, -0.02, -0.04]
    scene, camera = planes([0.4, 0, 0, 0, 0, 0, 1.0], heights), Camera.orbit(0.0, 0.0, size=1)
    median = 1 - median_distance(scene, camera_rays(camera)).item()
    with torch.no_grad():
        mean = 1 - scene.render(camera).distance.item()  # pyright: ignore[reportOptionalMemberAccess]
    assert median < -0.02 and mean > 0.005


def test_where_nothing_is_there_is_no_median() -> None:
    rays = camera_rays(Camera.orbit(0.1, 0.2, size=4))
    assert median_distance(planes([0.0, 0.0], [0.02, 0.0]), rays).isinf().all()


@pytest.mark.parametrize(("pitch", "yaw", "limit"), [(0.0, 0.0, 5e-4), (0.1, 0.3, 1.3e-3), (-0.1, -0.3, 1.3e-3)])
def test_the_median_of_a_head_is_its_true_distance(
    scene: RadianceManifolds, pitch: float, yaw: float, limit: float
) -> None:
    camera = Camera.orbit(pitch, yaw, size=96)
    truth = render_head(IDENTITY, camera)
    found = median_distance(scene, camera_rays(camera)).reshape(96, 96).numpy()
    with torch.no_grad():
        solid = scene.render(camera).alpha[0, 0].numpy() > 0.9
    error = np.abs(found - truth.distance)[solid & truth.mask]
    assert error.mean() < limit and np.median(error) < 0.8 * limit


def test_the_first_camera_is_frontal_and_the_others_stay_within_what_was_trained() -> None:
    prior = CameraPrior()
    cameras = spread_cameras(prior, 24, size=8, fov_degrees=14)
    assert cameras.pitch[0].abs() < 1e-6 and cameras.yaw[0].abs() < 1e-6
    assert cameras.yaw.abs().max() < 1.5 * prior.yaw_sd and cameras.pitch.abs().max() < 1.5 * prior.pitch_sd
    assert len(torch.stack([cameras.pitch, cameras.yaw], 1).unique(dim=0)) == 24


def true_points() -> np.ndarray:
    """[P, 3] what cameras all over the training range see of the head."""
    points = []
    for pitch, yaw in ((0.0, 0.0), (0.0, -0.4), (0.0, 0.4), (0.2, 0.0), (-0.2, 0.0)):
        camera = Camera.orbit(pitch, yaw, size=160)
        view, rays = render_head(IDENTITY, camera), camera_rays(camera)
        seen = rays.at(torch.from_numpy(view.distance).reshape(1, -1, 1))[0, :, 0]
        points.append(seen.numpy()[view.mask.reshape(-1)])
    joined = np.concatenate(points)
    return joined[np.abs(joined[:, :2]).max(axis=1) < 0.1]


def test_the_fused_surface_is_the_true_one_within_a_hundredth_of_the_head(surface: FusedSurface) -> None:
    from scipy.spatial import KDTree

    truth = true_points()
    width = np.ptp(truth[truth[:, 1] > -0.06, 0])
    mine = surface.vertices[surface.seen & (np.abs(surface.vertices[:, :2]).max(axis=1) < 0.1)]
    accuracy, completeness = KDTree(truth).query(mine)[0].mean(), KDTree(surface.vertices).query(truth)[0].mean()
    assert 0.1 < width < 0.14
    assert max(accuracy, completeness) < 0.01 * width
    assert (accuracy + completeness) / 2 < 0.008 * width


def test_the_fused_surface_has_the_colours_of_the_head(surface: FusedSurface) -> None:
    for yaw in (0.0, 0.3):
        camera = Camera.orbit(0.0, yaw, size=96)
        truth = render_head(IDENTITY, camera)
        picture, hit = rasterise(surface.vertices, surface.faces, surface.colours, camera)
        both = hit & truth.mask
        assert both.sum() > 0.95 * (hit | truth.mask).sum()
        error = (picture - truth.image / 255)[both]
        assert -10 * np.log10((error**2).mean()) > 23


def test_what_no_camera_sees_closes_the_surface_behind(surface: FusedSurface) -> None:
    assert 0.2 < surface.seen.mean() < 0.8
    assert surface.vertices[~surface.seen, 2].mean() < surface.vertices[surface.seen, 2].mean() - 0.03
    skin = surface.colours[surface.seen].min(axis=0)
    assert (surface.colours[~surface.seen] >= skin - 1e-6).all()


def test_the_same_scene_gives_the_same_surface(scene: RadianceManifolds) -> None:
    a, b = (fuse(scene, CameraPrior(), views=3, resolution=40) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_fewer_triangles_on_demand(scene: RadianceManifolds) -> None:
    pytest.importorskip("fast_simplification", reason="fast-simplification is an extra: pip install 'gramhd[mesh]'")
    small = fuse(scene, CameraPrior(), views=6, resolution=64, decimate=2000)
    assert len(small.faces) <= 2010 and small.colours.shape == small.vertices.shape
