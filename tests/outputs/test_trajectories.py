"""Camera paths hold the published numbers, look at the head, and close."""

from __future__ import annotations

import math

import pytest
import torch

from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs import trajectories

PRIOR = CameraPrior()


def steps(path) -> torch.Tensor:
    """Distance from every camera to the next, the last one to the first."""
    return (path.position - path.position.roll(-1, dims=0)).norm(dim=-1)


def test_multiview1x3_has_the_published_yaws_from_left_to_right():
    views = trajectories.multiview1x3(PRIOR, size=32)
    torch.testing.assert_close(views.yaw, torch.tensor([-0.3, 0.0, 0.3]))
    torch.testing.assert_close(views.pitch, torch.zeros(3))


def test_multiview3x7_reads_from_above_left_to_below_right():
    views = trajectories.multiview3x7(PRIOR, size=32)
    pitch, yaw = views.pitch.reshape(3, 7), views.yaw.reshape(3, 7)
    torch.testing.assert_close(pitch[:, 0], torch.tensor([0.2, 0.0, -0.2]))
    torch.testing.assert_close(yaw[1], torch.linspace(-0.4, 0.4, 7), atol=1e-6, rtol=0)
    assert (views.position.reshape(3, 7, 3)[0, :, 1] > 0).all(), "the top row looks from above"
    torch.testing.assert_close(views[10].position, trajectories.frontal(PRIOR, size=32).position)


def test_ping_pong_is_the_official_video_path():
    there, back = torch.linspace(-0.3, 0.3, 31)[:-1], torch.linspace(0.3, -0.3, 31)[:-1]
    views = trajectories.ping_pong(PRIOR, size=32)
    torch.testing.assert_close(views.yaw, torch.cat([there, back]), atol=1e-6, rtol=0)
    torch.testing.assert_close(views.pitch, torch.zeros(60))


@pytest.mark.parametrize("frames", [2, 7, 60])
@pytest.mark.parametrize("path", [trajectories.orbit, trajectories.ping_pong])
def test_the_step_from_the_last_frame_to_the_first_is_an_ordinary_one(path, frames):
    step = steps(path(PRIOR, size=32, frames=frames))
    assert len(step) == frames
    torch.testing.assert_close(step[-1], step[0], atol=1e-6, rtol=1e-3)


def test_the_orbit_never_stands_still_and_stays_within_its_ellipse():
    views = trajectories.orbit(PRIOR, size=32, frames=120, yaw=0.3, pitch=0.1)
    step = steps(views)
    assert step.min() > 0.25 * step.max()
    torch.testing.assert_close((views.yaw / 0.3) ** 2 + (views.pitch / 0.1) ** 2, torch.ones(120), atol=1e-4, rtol=0)


def test_a_still_path_does_not_move():
    assert steps(trajectories.still(PRIOR, size=32, frames=5)).max() == 0


def test_the_epi_sweep_takes_equal_steps_through_the_frontal_view():
    views = trajectories.epi(PRIOR, size=32)
    gaps = views.yaw.diff()
    assert len(views) == 129 and abs(float(views.yaw[64])) < 1e-7
    torch.testing.assert_close(gaps, torch.full_like(gaps, 0.6 / 128), atol=1e-6, rtol=0)


def test_a_random_view_depends_on_its_stream_alone():
    first = trajectories.rand(PRIOR, torch.Generator().manual_seed(3), size=32)
    again = trajectories.rand(PRIOR, torch.Generator().manual_seed(3), size=64)
    other = trajectories.rand(PRIOR, torch.Generator().manual_seed(4), size=32)
    torch.testing.assert_close(first.position, again.position)
    assert not torch.allclose(first.position, other.position)


def test_paths_follow_the_mean_pose_radius_and_field_of_view_of_the_prior():
    cars = CameraPrior(pitch_mean=0.5, yaw_mean=1.0, radius=2.0, fov_degrees=30.0)
    for make in (
        trajectories.multiview3x7,
        trajectories.orbit,
        trajectories.ping_pong,
        trajectories.epi,
        trajectories.grid,
    ):
        views = make(cars, size=48)
        torch.testing.assert_close(views.position.norm(dim=-1), torch.full((len(views),), 2.0))
        assert views.height == views.width == 48 and (views.fov_degrees == 30).all()
        middle = (views.yaw.min() + views.yaw.max()) / 2, (views.pitch.min() + views.pitch.max()) / 2
        assert math.isclose(middle[0], 1.0, abs_tol=1e-4) and math.isclose(middle[1], 0.5, abs_tol=1e-4)
