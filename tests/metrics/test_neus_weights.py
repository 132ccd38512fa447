"""The density of NeuS: unbiased, aware of what is in front, and exact sums, on a plane whose distances are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics.neus_fields import contracted
from gramhd_core.metrics.neus_rays import even_samples, outside_samples, rays_of, region_of
from gramhd_core.metrics.neus_weights import resampled, section_alphas, weights_of
from gramhd_core.metrics.views import around

T = torch.linspace(0, 2, 401)[None]  # samples along one ray


def plane(at: float, *, slope: float = 1.0) -> Tensor:
    """Signed distances along a ray that goes through a plane at t = `at`, at an angle whose cosine is `slope`."""
    return slope * (at - T)


def weights_for(sdf: Tensor, sharpness: float) -> tuple[Tensor, float]:
    weights, left = weights_of(section_alphas(sdf, sharpness))
    return weights[0], float(left[0])


@pytest.mark.parametrize("slope", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("sharpness", [20.0, 100.0])
def test_the_weight_is_largest_where_the_surface_is_crossed(slope: float, sharpness: float) -> None:
    weights, _ = weights_for(plane(1.0, slope=slope), sharpness)
    middle = (T[0, 1:] + T[0, :-1]) / 2
    assert float(middle[weights.argmax()]) == pytest.approx(1.0, abs=0.006)


def test_as_sharpness_grows_the_distance_becomes_that_of_the_crossing() -> None:
    middle = (T[0, 1:] + T[0, :-1]) / 2
    spread = []
    for sharpness in (10.0, 40.0, 160.0, 640.0):
        weights, _ = weights_for(plane(0.7), sharpness)
        mean = float((weights * middle).sum() / weights.sum())
        spread.append(float((weights * (middle - 0.7).square()).sum()))
    assert mean == pytest.approx(0.7, abs=0.002)
    assert spread == sorted(spread, reverse=True) and spread[-1] < 1e-4


def test_what_is_in_front_hides_an_equal_surface_behind() -> None:
    sdf = torch.minimum((T - 0.5).abs(), (T - 1.5).abs()) - 0.1  # two slabs: crossed at 0.4 and 1.4
    weights, left = weights_for(sdf, 200.0)
    front = T[0, :-1] < 1.0
    assert float(weights[front].sum()) > 0.999 and left < 1e-3


def test_weights_and_what_is_left_are_one_in_sum_and_none_is_negative() -> None:
    sdf = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    weights, left = weights_of(section_alphas(sdf, 30.0))
    torch.testing.assert_close(weights.sum(dim=1) + left, torch.ones(50))
    assert (weights >= 0).all() and (left >= 0).all()


def test_leaving_a_surface_is_transparent_and_far_inside_nothing_is_lost() -> None:
    assert float(section_alphas(torch.tensor([[-0.2, -0.1, 0.3]]), 50.0).abs().max()) == 0
    deep = section_alphas(torch.tensor([[-5.0, -5.1]]), 50.0)  # Phi underflows there; the quotient is 1 - e^-5
    assert float(deep) == pytest.approx(1 - math.exp(-5), rel=1e-4)


def test_samples_are_drawn_where_the_weight_is() -> None:
    edges = torch.linspace(0, 1, 11)[None]
    weights = torch.zeros(1, 10)
    weights[0, 3] = 1
    for rng in (None, torch.Generator().manual_seed(0)):
        t = resampled(edges, weights, count=16, rng=rng)
        assert ((t > 0.299) & (t < 0.401)).all() and (t.diff() > 0).all()
    even = resampled(edges, torch.ones(1, 10), count=5, rng=None)
    torch.testing.assert_close(even, torch.tensor([[0.1, 0.3, 0.5, 0.7, 0.9]]))
    assert resampled(edges, torch.zeros(1, 10), count=4, rng=None).isfinite().all()


def test_rays_enter_and_leave_the_unit_sphere_and_the_plane_behind_the_head_is_outside() -> None:
    cameras = around(CameraPrior(), size=32)
    region = region_of(cameras)
    assert region.radius == pytest.approx(0.135, abs=0.001)
    frontal = float(region.centre[2]) - region.radius
    assert frontal == pytest.approx(-0.12, abs=0.002)
    rays = rays_of(cameras, region)
    hit = rays.far > rays.near
    assert 0.7 < hit.float().mean() < 1
    for t in (rays.near, rays.far):
        torch.testing.assert_close(rays.at(t[:, None])[hit, 0].norm(dim=-1), torch.ones(int(hit.sum())))
    t = even_samples(rays, count=5, rng=torch.Generator().manual_seed(0))
    assert (t[hit].diff() > 0).all() and (rays.at(t)[hit].norm(dim=-1) < 1 + 1e-5).all()


def test_sections_outside_begin_where_the_sphere_ends_and_reach_far() -> None:
    rays = rays_of(around(CameraPrior(), size=8), region_of(around(CameraPrior(), size=8)))
    t = outside_samples(rays, count=6, rng=torch.Generator().manual_seed(0))
    torch.testing.assert_close(t[:, 0], rays.far, atol=1e-3, rtol=0)
    assert (t.diff() >= 0).all() and (rays.at(t[:, -1:])[:, 0].norm(dim=-1) > 5).all()
    assert (contracted(rays.at(t)).norm(dim=-1) < 2).all()


def test_contraction_leaves_the_unit_ball_alone() -> None:
    inside = torch.tensor([[0.3, -0.5, 0.2]])
    torch.testing.assert_close(contracted(inside), inside)
    torch.testing.assert_close(contracted(torch.tensor([[0.0, 4.0, 0.0]])), torch.tensor([[0.0, 1.75, 0.0]]))
