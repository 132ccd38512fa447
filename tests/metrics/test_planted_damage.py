"""Every metric of consistency puts planted damage in the right order: the table of docs/results.md, on a small head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.metrics.damage import KINDS, TABLE, damaged, look_at_head
from gramhd_core.metrics.epipolar import epi
from gramhd_core.metrics.neus_config import FAST
from gramhd_core.metrics.neus_fitting import fit
from gramhd_core.metrics.reprojection import reprojection
from gramhd_core.metrics.views import ViewSet, around, views_of_head
from gramhd_core.outputs import trajectories

pytestmark = pytest.mark.slow

HEAD, SIZE, STEPS = 5_300_000, 32, 33
SHORT = replace(FAST, iterations=120, rays=512)
Rows = dict[str, list[ViewSet]]


def rows(cameras: Camera) -> Rows:
    """Kind -> the clean head, damaged a little, damaged more."""
    identity = HeadIdentity.from_seed(HEAD)
    clean = views_of_head(identity, cameras, name="head", supersample=4)
    found: Rows = {kind: [clean] for kind in KINDS}
    for damage in TABLE:
        rng = torch.Generator().manual_seed(HEAD)
        found[damage.kind].append(damaged(clean, damage, look=look_at_head(identity), rng=rng))
    return found


@pytest.fixture(scope="module")
def seen() -> Rows:
    return rows(around(CameraPrior(), size=SIZE))


@pytest.fixture(scope="module")
def swept() -> Rows:
    return rows(trajectories.epi(CameraPrior(), size=SIZE, steps=STEPS))


def falls(score: Callable[[ViewSet], float], ordered: list[ViewSet], *, by: float) -> bool:
    """Whether each set of views scores less than the one before, by so much at least."""
    scores = [score(views) for views in ordered]
    return all(better - worse > by for better, worse in zip(scores, scores[1:], strict=False))


@pytest.mark.parametrize("kind", KINDS)
def test_reprojection_falls_with_damage(seen: Rows, kind: str) -> None:
    assert falls(lambda views: reprojection(views).neighbours.psnr, seen[kind], by=0.5)
    assert falls(lambda views: reprojection(views).frontal.psnr, seen[kind], by=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_strips_fall_with_damage_and_flicker_rises(swept: Rows, kind: str) -> None:
    assert falls(lambda views: epi(views).residual_psnr, swept[kind], by=0.5)
    assert falls(lambda views: -epi(views).flicker, swept[kind], by=0.2)


def test_neus_falls_with_damage(seen: Rows) -> None:
    scores = {
        id(views): fit(views, SHORT, rng=torch.Generator().manual_seed(0)).psnr
        for views in {id(views): views for row in seen.values() for views in row}.values()
    }
    for kind, row in seen.items():
        assert falls(lambda views: scores[id(views)], row, by=0.3), kind
