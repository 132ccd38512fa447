"""Depth against the procedural head that a picture looks like."""

from __future__ import annotations

import math

import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics.depth import depth_error, read_identity
from gramhd_core.metrics.views import ViewSet, views_of_head

SEEDS = (2, 3, 5, 8)


@pytest.fixture(scope="module")
def heads() -> list[ViewSet]:
    camera = CameraPrior().at(torch.zeros(1), torch.zeros(1), size=64)
    return [views_of_head(HeadIdentity.from_seed(seed), camera, name=str(seed), supersample=1) for seed in SEEDS]


def mean(errors: list[float]) -> float:
    return sum(errors) / len(errors)


def test_a_head_is_nearer_to_its_own_picture_than_to_anybody_elses(heads: list[ViewSet]) -> None:
    own = mean([depth_error(head).distance for head in heads])
    swapped = [head._replace(rgb=other.rgb) for head, other in zip(heads, [*heads[1:], heads[0]], strict=True)]
    assert own < 0.003 and mean([depth_error(head).distance for head in swapped]) > 1.5 * own


def test_the_error_grows_as_relief_is_lost(heads: list[ViewSet]) -> None:
    def flattened(head: ViewSet, share: float) -> ViewSet:
        assert head.distance is not None and head.alpha is not None
        shown = head.alpha > 0.5
        middle = head.distance[shown].median()
        flat = torch.where(shown, middle + (1 - share) * (head.distance - middle), head.distance)
        return head._replace(distance=flat)

    errors = [mean([depth_error(flattened(head, share)).relief for head in heads]) for share in (0.0, 0.5, 1.0)]
    assert errors[0] < 0.6 * errors[1] and errors[1] < errors[2]


def test_moving_a_head_away_changes_its_distance_and_not_its_relief(heads: list[ViewSet]) -> None:
    head = heads[0]
    assert head.distance is not None
    before, after = depth_error(head), depth_error(head._replace(distance=head.distance + 0.05))
    assert after.relief == pytest.approx(before.relief, abs=1e-6)
    assert after.distance == pytest.approx(0.05, abs=2 * before.distance)


def test_pixels_that_are_nobodys_do_not_count(heads: list[ViewSet]) -> None:
    head = heads[0]
    assert head.distance is not None and head.alpha is not None
    wild = torch.where(head.alpha > 0.5, head.distance, torch.full_like(head.distance, 9.0))
    assert depth_error(head._replace(distance=wild)) == depth_error(head)
    assert all(map(math.isnan, depth_error(head._replace(alpha=torch.zeros_like(head.alpha)))))


def test_a_picture_and_its_mirror_are_read_alike(heads: list[ViewSet]) -> None:
    image = heads[1].rgb[0]
    one, other = read_identity(image), read_identity(image.flip(-1))
    assert one.attributes() == pytest.approx(other.attributes(), abs=1e-4)
