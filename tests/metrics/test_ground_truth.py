"""Ground truth: the true heads pass, and each measure falls when what it measures is spoilt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.procedural_heads import HeadView, render_head
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.evaluation import Pictures
from gramhd_core.metrics.ground_truth import NOSE, angle_errors, moved, relief_of, spread_of
from gramhd_core.networks.feature_network import FeatureConfig, FeatureNetwork

pytestmark = pytest.mark.slow

FRESH = 5_200_000  # heads of no data set
FRONT, SIDE = Camera.orbit(0.0, 0.0, size=64), Camera.orbit(0.0, 0.3, size=64)


def views(camera: Camera, n: int) -> list[HeadView]:
    return [render_head(HeadIdentity.from_seed(FRESH + i), camera, supersample=2) for i in range(n)]


@pytest.fixture(scope="module")
def frontal() -> Tensor:
    """Distances of 60 true heads from the frontal camera [60, 64, 64]."""
    return torch.stack([torch.from_numpy(view.distance) for view in views(FRONT, 60)])


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor, Tensor]:
    """rgb [8, 2, 3, 64, 64], alpha of the second [8, 64, 64], distance [8, 2, 64, 64] of true heads."""
    both = [views(FRONT, 8), views(SIDE, 8)]
    rgb = torch.stack([torch.stack([torch.from_numpy(v.image).movedim(-1, 0) for v in part]) for part in both], dim=1)
    distance = torch.stack([torch.stack([torch.from_numpy(v.distance) for v in part]) for part in both], dim=1)
    return rgb, torch.stack([torch.from_numpy(v.mask) for v in both[1]]).float(), distance


def test_the_nose_is_where_the_average_head_has_it() -> None:
    average = HeadIdentity()
    assert landmarks_of(average, shape_of(average))[30] == pytest.approx(NOSE, abs=0.02)


def test_true_heads_have_noses_before_cheeks_before_ears(frontal: Tensor) -> None:
    relief = relief_of(FRONT, frontal)
    assert relief.ordered.all()
    assert relief.nose_to_cheeks.mean() / WORLD_PER_U == pytest.approx(1.9, abs=0.2)
    assert relief.cheeks_to_ears.mean() / WORLD_PER_U == pytest.approx(4.0, abs=0.6)


def test_hollow_faces_and_walls_are_not_heads(frontal: Tensor) -> None:
    assert not relief_of(FRONT, 2 - frontal).ordered.any()
    noise = 1e-4 * torch.randn(60, 64, 64, generator=torch.Generator().manual_seed(0))
    assert relief_of(FRONT, 1 + noise).ordered.float().mean() < 0.5
    assert not relief_of(FRONT, torch.ones(2, 64, 64)).ordered.any()


def test_a_view_moved_onto_itself_is_itself(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    rgb, alpha, distance = pairs
    same = moved(SIDE, SIDE, rgb[:, [1, 1]], alpha, distance[:, [1, 1]])
    assert same.psnr.min() > 60 and same.seen.min() == pytest.approx(1, abs=0.02)


def test_true_heads_agree_between_views_and_wrong_distances_do_not(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    rgb, alpha, distance = pairs
    true = moved(FRONT, SIDE, rgb, alpha, distance)
    assert true.psnr.mean() > 24 and true.seen.mean() > 0.7
    flat = moved(FRONT, SIDE, rgb, alpha, torch.ones_like(distance))
    assert flat.psnr.mean() < true.psnr.mean() - 3
    other = moved(FRONT, SIDE, torch.stack([rgb[:, 0], rgb[:, 1].roll(1, 0)], dim=1), alpha, distance)
    assert other.psnr.mean() < true.psnr.mean() - 6


def test_what_something_nearer_hides_is_not_compared(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    rgb, alpha, distance = pairs
    curtain = torch.stack([distance[:, 0] - 0.1, distance[:, 1]], dim=1)
    hidden = moved(FRONT, SIDE, rgb, alpha, curtain)
    assert hidden.seen.max() < 0.05 and hidden.psnr[hidden.seen == 0].isnan().all()
    nothing = moved(FRONT, SIDE, rgb, torch.zeros_like(alpha), distance)
    assert (nothing.seen == 0).all()


def test_spread_of_three_points_by_hand() -> None:
    pairs, nearest = spread_of(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    assert pairs == pytest.approx((5 + 1 + math.sqrt(18)) / 3)
    assert nearest == pytest.approx((1 + math.sqrt(18) + 1) / 3)
    assert spread_of(torch.ones(4, 3)) == (0.0, 0.0)


def test_angle_errors_by_hand() -> None:
    network = FeatureNetwork(FeatureConfig(16, (4,), 2), ("yaw", "hair", "pitch")).eval().requires_grad_(False)
    network.answer.weight.zero_()
    network.answer.bias.copy_(torch.tensor([5.0, 9.0, 0.3]))  # the mirror takes a constant yaw away
    asked = Pictures(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([[0.0, 0.3], [0.1, -0.2]]))
    torch.testing.assert_close(angle_errors(network, asked), torch.tensor([0.25, 0.25]))
