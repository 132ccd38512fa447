"""The analytic head as a scene: it looks like the head, and is empty where a trained scene is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import Camera
from gramhd_core.outputs.images import rgb8
from gramhd_core.scenes.head_manifolds import head_manifolds, shells
from gramhd_core.scenes.manifolds import RadianceManifolds

pytestmark = pytest.mark.slow

SEED = 11


@pytest.fixture(scope="module")
def scene() -> RadianceManifolds:
    return head_manifolds(HeadIdentity.from_seed(SEED), size=256)


@pytest.mark.parametrize("yaw", [0.0, -0.4, 0.4])
def test_the_stack_looks_like_the_head(scene: RadianceManifolds, yaw: float) -> None:
    camera = Camera.orbit(0.0, yaw, size=128)
    truth = render_head(HeadIdentity.from_seed(SEED), camera)
    with torch.no_grad():
        picture = scene.render(camera)
    error = rgb8(picture.rgb)[0].astype(float) - truth.image
    assert 10 * np.log10(255**2 / (error**2).mean()) > 26
    shown = picture.alpha[0, 0].numpy() > 0.5
    assert (shown & truth.mask).sum() > 0.93 * (shown | truth.mask).sum()


def test_most_cells_are_empty_and_a_band_is_opaque(scene: RadianceManifolds) -> None:
    alpha = scene.maps[0, :, 3]
    assert 0.8 < (alpha == 0).float().mean() < 0.95
    assert 0.05 < (alpha == 1).float().mean() < 0.15
    assert scene.maps.isfinite().all() and 0 <= scene.maps.min() and scene.maps.max() <= 1


def test_shells_are_nested_and_nowhere_steeper_than_training_cameras_can_see() -> None:
    z = shells(24).z
    assert (z.diff(dim=0) < 0).all()
    step = 2 * shells(24).half_width / (z.shape[-1] - 1)
    assert max(float(z.diff(dim=1).abs().max()), float(z.diff(dim=2).abs().max())) < 1.01 * step


def test_a_head_has_as_many_surfaces_as_asked_for() -> None:
    assert head_manifolds(HeadIdentity.from_seed(0), levels=5, size=16).maps.shape == (1, 5, 4, 16, 16)
