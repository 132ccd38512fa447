"""Crossings, spheres and planes against cases with a known answer."""

from __future__ import annotations

import torch

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.level_sets import first_crossings, plane_distance, sphere_hits
from gramhd_core.geometry.rays import camera_rays, orthographic_rays

POSITIONS = torch.tensor([0.0, 1.0, 2.0, 3.0])


def test_linear_root_is_where_the_line_meets_the_level() -> None:
    position, valid = first_crossings(torch.tensor([[[4.0, 2.0, 1.0, 0.0]]]), POSITIONS, torch.tensor([3.0, 0.5]))
    assert valid.all()
    assert torch.allclose(position, torch.tensor([[[0.5, 2.5]]]))


def test_only_descending_crossings_count_and_the_first_wins() -> None:
    rising_then_falling = torch.tensor([[[0.0, 2.0, 0.0, 2.0]]])
    position, valid = first_crossings(rising_then_falling, POSITIONS, torch.tensor([1.0]))
    assert valid.item() and position.item() == 1.5
    falling_twice = torch.tensor([[[2.0, 0.0, 2.0, 0.0]]])
    assert first_crossings(falling_twice, POSITIONS, torch.tensor([1.0]))[0].item() == 0.5


def test_no_crossing_ends_at_the_last_sample() -> None:
    position, valid = first_crossings(torch.tensor([[[9.0, 8.0, 7.0, 6.0]]]), POSITIONS, torch.tensor([3.0]))
    assert not valid.item() and position.item() == 3.0


def test_flat_interval_takes_its_far_end_but_counts() -> None:
    position, valid = first_crossings(torch.tensor([[[1.04, 1.0, 0.0, 0.0]]]), POSITIONS, torch.tensor([1.02]))
    assert valid.item() and position.item() == 1.0


def test_root_gradient_follows_the_sampled_values() -> None:
    values = torch.tensor([[[4.0, 2.0, 1.0, 0.0]]], requires_grad=True)
    position, _ = first_crossings(values, POSITIONS, torch.tensor([3.0]))
    position.sum().backward()
    # x = (4 - 3) / (4 - 2): raising s0 by 1 moves the root by (1 - 0.5) / 2
    assert torch.allclose(values.grad, torch.tensor([[[0.25, 0.25, 0.0, 0.0]]]))


def test_sphere_hits_lie_on_the_sphere_and_face_the_camera() -> None:
    rays = camera_rays(Camera.orbit(0.2, 0.4, size=16))
    radii, centre = torch.tensor([0.28, 0.2]), (0.0, 0.0, -0.18)
    hits = sphere_hits(rays, radii, centre, slab=0.12)
    from_centre = hits.points - torch.tensor(centre)
    off = (from_centre.norm(dim=-1) - radii).abs()[hits.valid]
    assert hits.valid.float().mean() > 0.5 and off.max() < 1e-5
    facing = (from_centre * rays.directions[:, :, None]).sum(-1)[hits.valid]
    assert (facing < 0).all()


def test_rays_past_a_sphere_are_invalid_and_end_on_the_back_of_the_slab() -> None:
    rays = orthographic_rays(8, 0.12, sampling="area", like=torch.zeros(1))
    hits = sphere_hits(rays, torch.tensor([0.03]), (0.0, 0.0, 0.0), slab=0.12)
    assert not hits.valid[0, 0, 0] and torch.isclose(hits.points[0, 0, 0, 2], torch.tensor(-0.12))


def test_plane_distance_reaches_the_plane() -> None:
    rays = camera_rays(Camera.orbit(0.3, -0.5, size=5))
    points = rays.at(plane_distance(rays, -0.12))
    assert torch.allclose(points[..., 2], torch.tensor(-0.12), atol=1e-6)


def test_grid_rays_run_with_y_ascending() -> None:
    rays = orthographic_rays(4, 0.12, sampling="endpoints", like=torch.zeros(1))
    assert torch.allclose(rays.origins[0, 0], torch.tensor([-0.12, -0.12, 1.0]))
    assert torch.allclose(rays.origins[0, -1], torch.tensor([0.12, 0.12, 1.0]))


def test_rays_that_miss_a_sphere_leave_the_gradient_of_the_camera_finite() -> None:
    yaw = torch.tensor([0.1], requires_grad=True)
    hits = sphere_hits(camera_rays(Camera.orbit(0.0, yaw, size=8)), torch.tensor([0.03]), (0.0, 0.0, 0.0), slab=0.12)
    assert hits.valid.any() and not hits.valid.all()
    hits.points.sum().backward()
    assert yaw.grad is not None and bool(yaw.grad.isfinite().all())
