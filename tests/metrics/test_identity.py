"""Who a head is from every side: nothing drifts in one picture, other heads drift by one, damage lets heads drift."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics.identity import identity, readable
from gramhd_core.metrics.views import ViewSet, views_of_head
from gramhd_core.networks.feature_network import load_feature_network

pytestmark = pytest.mark.slow

HEADS, VIEWS = 4, 5
FRESH = 7_000_000


@pytest.fixture(scope="module")
def sets() -> list[ViewSet]:
    cameras = CameraPrior().at(0.1, torch.linspace(-0.3, 0.3, VIEWS), size=64)
    heads = [HeadIdentity.from_seed(FRESH + index) for index in range(HEADS)]
    return [views_of_head(head, cameras, name=str(i), supersample=1) for i, head in enumerate(heads)]


def changed(sets: list[ViewSet], change) -> list[ViewSet]:
    return [one._replace(rgb=change(one.rgb)) for one in sets]


def test_one_picture_again_and_again_is_one_head(sets: list[ViewSet]) -> None:
    found = identity(changed(sets, lambda rgb: rgb[:1].expand(VIEWS, -1, -1, -1)))
    assert found.drift < 1e-3 and max(found.each) < 1e-3


def test_analytic_heads_hardly_drift_and_other_heads_are_other_heads(sets: list[ViewSet]) -> None:
    ceiling = identity(sets)
    mixed = [one._replace(rgb=torch.stack([sets[v % HEADS].rgb[v] for v in range(VIEWS)])) for one in sets]
    assert ceiling.drift < 0.3 and 0.6 < identity(mixed).drift < 1.4
    assert len(ceiling.each) == HEADS and set(ceiling.attributes) == set(readable(load_feature_network()))


def test_neither_the_order_of_views_nor_that_of_heads_matters(sets: list[ViewSet]) -> None:
    straight, turned = identity(sets), identity(changed(sets[::-1], lambda rgb: rgb.flip(0)))
    assert turned.drift == pytest.approx(straight.drift, rel=1e-5)
    assert turned.each[::-1] == pytest.approx(straight.each, rel=1e-5)
    assert identity(sets[:1]).each == pytest.approx(straight.each[:1], rel=1e-5)


def test_the_drift_is_the_root_mean_square_of_the_heads(sets: list[ViewSet]) -> None:
    found = identity(sets)
    assert found.drift**2 == pytest.approx(sum(value**2 for value in found.each) / HEADS, rel=1e-5)


def test_more_noise_in_every_view_is_more_drift(sets: list[ViewSet]) -> None:
    def noisy(sd: float):
        rng = torch.Generator().manual_seed(0)

        def add(rgb: Tensor) -> Tensor:
            return (rgb + sd * torch.randn(rgb.shape, generator=rng)).clamp(0, 255).byte()

        return add

    drifts = [identity(changed(sets, noisy(sd))).drift for sd in (0, 16, 32, 64)]
    assert drifts == sorted(drifts) and drifts[-1] > 1.3 * drifts[0]
