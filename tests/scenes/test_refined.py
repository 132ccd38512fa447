"""Surfaces met through a table and refined: the hits and the gradients of a dense search along every ray."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gramhd_core.generators.gram import Gram
from gramhd_core.geometry import level_sets
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.level_sets import plane_distance
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.networks.predictors import ManifoldsConfig, MlpPredictor
from gramhd_core.scenes.refined import RefinedSurfaces, refined

CONFIG = ManifoldsConfig(hidden=32, count=9)


def predictor_of(seed: int = 0) -> MlpPredictor:
    torch.manual_seed(seed)
    return MlpPredictor(CONFIG).double()


def seen_by(*, size: int) -> Rays:
    camera = Camera.orbit(torch.tensor([0.15, -0.1]), torch.tensor([0.45, -0.3]), size=size)
    return Rays(*(t.double() for t in camera_rays(camera)))


def dense(predictor: MlpPredictor, *, samples: int) -> MlpPredictor:
    """The same weights, searched at so many points of every ray."""
    other = copy.copy(predictor)
    other.config = replace(predictor.config, samples=samples)
    return other


def in_front(rays: Rays, valid: Tensor, distance: Tensor) -> Tensor:
    return valid & (distance <= plane_distance(rays, -0.12))


def gradient(predictor: MlpPredictor, distance: Tensor, weight: Tensor) -> Tensor:
    found = torch.autograd.grad((weight * distance).sum(), list(predictor.parameters()), retain_graph=True)
    return torch.cat([g.flatten() for g in found])


def test_hits_and_their_gradients_are_what_a_dense_search_comes_closer_to(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, rays = predictor_of(), seen_by(size=9)
    surfaces = refined(predictor, CameraPrior(), background_z=-0.12)
    assert isinstance(surfaces, RefinedSurfaces)
    monkeypatch.setattr(level_sets, "FLAT", 1e-9)
    ours = surfaces.hits(rays)
    errors = []
    for samples in (64, 512):
        theirs = dense(predictor, samples=samples).hits(rays)
        visible = in_front(rays, theirs.valid, theirs.distance)
        both = visible & ours.valid
        assert both.sum() >= 0.99 * visible.sum() > 300
        assert (in_front(rays, ours.valid, ours.distance) & ~theirs.valid).sum() <= 0.01 * both.sum()
        weight = both * torch.randn(both.shape, generator=torch.Generator().manual_seed(1))
        a, b = (gradient(predictor, hits.distance, weight) for hits in (ours, theirs))
        errors.append(float((a - b).norm() / b.norm()))
    assert (ours.distance - theirs.distance)[both].abs().max() < 1e-4
    assert errors[1] < min(0.05, 0.7 * errors[0]), errors


def test_a_step_is_exact_on_the_surface_and_its_gradient_is_that_of_the_root() -> None:
    """dt / dtheta of one ray and level against finite differences of the root."""
    predictor, rays = predictor_of(), seen_by(size=3)
    surfaces = refined(predictor, CameraPrior(), background_z=-0.12)
    hits = surfaces.hits(rays)
    level = int(hits.valid[0, 4].nonzero()[0])
    value = predictor(hits.points[0, 4, level].detach())
    assert abs(float(value.detach()) - float(CONFIG.levels(like=value)[level])) < 1e-3
    bias = predictor.output_layer.bias
    (slope,) = torch.autograd.grad(hits.distance[0, 4, level], bias)
    with torch.no_grad():
        bias += 1e-3
        moved = surfaces.hits(rays).distance[0, 4, level] - hits.distance[0, 4, level].detach()
    assert torch.allclose(moved / 1e-3, slope, rtol=0.02)


def test_surfaces_that_fold_are_searched_for() -> None:
    predictor = predictor_of()
    with torch.no_grad():
        predictor.output_layer.weight.copy_(torch.randn(predictor.output_layer.weight.shape) * 20)
    assert refined(predictor, CameraPrior(), background_z=-0.12) is predictor


def test_the_table_is_made_again_when_the_weights_change(small_gram: Gram) -> None:
    table = small_gram.ray_surfaces()
    assert small_gram.ray_surfaces() is table
    with torch.no_grad():
        next(small_gram.predictor.parameters()).mul_(1.01)
    assert small_gram.ray_surfaces() is not table


def test_pictures_of_both_kinds_are_the_same(small_gram: Gram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_sets, "FLAT", 1e-9)
    small_gram.double()
    latent = small_gram.latent(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).double())
    camera = Camera.orbit(0.1, 0.2, size=12)
    searched = small_gram.field_scene(latent, surfaces=dense(small_gram.predictor, samples=200))  # type: ignore[arg-type]
    ours = small_gram.field_scene(latent)
    assert isinstance(ours.surfaces, RefinedSurfaces)
    exact = replace(
        camera, world_from_camera=camera.world_from_camera.double(), fov_degrees=camera.fov_degrees.double()
    )
    assert (ours.render(exact).rgb - searched.render(exact).rgb).abs().mean() < 2e-3


def test_the_switch_chooses_and_compatible_networks_search(small_gram: Gram) -> None:
    config = small_gram.config
    searching = Gram(replace(config, manifolds=replace(config.manifolds, hits="dense")))
    assert searching.ray_surfaces() is searching.predictor
    assert small_gram.ray_surfaces() is not small_gram.predictor
    assert config.compatible().manifolds.hits == "dense"
