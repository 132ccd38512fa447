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
from gramhd_core.metrics.evaluation import Pictures, Turned
from gramhd_core.metrics.ground_truth import NOSE, angle_errors, consistency_of, relief_of, spread_of
from gramhd_core.metrics.views import views_of_head
from gramhd_core.networks.feature_network import FeatureConfig, FeatureNetwork

pytestmark = pytest.mark.slow

FRESH = 5_200_000  # heads of no data set
FRONT = Camera.orbit(0.0, 0.0, size=64)


def views(camera: Camera, n: int) -> list[HeadView]:
    return [render_head(HeadIdentity.from_seed(FRESH + i), camera, supersample=2) for i in range(n)]


@pytest.fixture(scope="module")
def frontal() -> Tensor:
    """Distances of 60 true heads from the frontal camera [60, 64, 64]."""
    return torch.stack([torch.from_numpy(view.distance) for view in views(FRONT, 60)])


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


def test_true_heads_agree_between_views_and_other_heads_do_not() -> None:
    cameras = Camera.orbit(0.0, torch.tensor([0.0, -0.3, 0.3]), size=64)
    heads = [views_of_head(HeadIdentity.from_seed(FRESH + i), cameras, name="head") for i in range(4)]
    rgb = torch.stack([head.rgb for head in heads])
    alpha = torch.stack([head.alpha for head in heads if head.alpha is not None])
    distance = torch.stack([head.distance for head in heads if head.distance is not None])
    found = consistency_of(Turned(cameras, rgb, alpha, distance))
    assert found["psnr"] > 24 and found["seen_by_both"] > 0.7
    other = torch.cat([rgb[:, :1], rgb[:, 1:].roll(1, 0)], dim=1)
    assert consistency_of(Turned(cameras, other, alpha, distance))["psnr"] < found["psnr"] - 6
    nothing = consistency_of(Turned(cameras, rgb, 0 * alpha, distance))
    assert nothing == {"psnr": 0.0, "seen_by_both": 0.0}


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
    torch.testing.assert_close(angle_errors(network, asked), torch.tensor([[0.3, 0.3], [0.2, 0.2]]))
