"""Height fields stand for the surfaces they were made from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gramhd_core.errors import GramhdWarning
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.networks.predictors import ManifoldsConfig, MlpPredictor, SpherePredictor
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields, single_valued, tabulate
from gramhd_core.scenes.views import RenderConvention

CONFIG = ManifoldsConfig(count=4)


def ideal(config: ManifoldsConfig = CONFIG) -> MlpPredictor:
    """A predictor as trainings begin, with little of the noise of its random weights: sum of |x| of many directions."""
    torch.manual_seed(0)
    return MlpPredictor(replace(config, hidden=256, layers=1))


def dense_roots(predictor: MlpPredictor, rays: Rays) -> tuple[Tensor, Tensor]:
    """[R, L] distances of the first crossing, to 1e-9, and how many crossings there are, by looking at 400 places."""
    exact = MlpPredictor(predictor.config).double()
    exact.load_state_dict({name: value.double() for name, value in predictor.state_dict().items()})
    origins, directions = rays.origins[0].double(), rays.directions[0].double()
    at = torch.linspace(0.84, 1.2, 400, dtype=torch.double)
    roots, counts = [], []
    with torch.no_grad():
        values = exact(origins[:, None] + at[:, None] * directions[:, None])
        for level in predictor.config.levels(like=at):
            falls = (values[:, :-1] >= level) & (values[:, 1:] < level)
            k = falls.to(torch.uint8).argmax(dim=1)
            near, far = at[k], at[k + 1]
            for _ in range(30):
                middle = (near + far) / 2
                before = exact(origins + middle[:, None] * directions) >= level
                near, far = torch.where(before, middle, near), torch.where(before, far, middle)
            roots.append(near)
            counts.append(falls.sum(dim=1))
    return torch.stack(roots, dim=1), torch.stack(counts, dim=1)


@pytest.mark.parametrize(("pitch", "yaw"), [(0.0, 0.0), (0.2, -0.5)])
def test_hits_are_the_predictors_own_roots(pitch: float, yaw: float) -> None:
    predictor, rays = ideal(), camera_rays(Camera.orbit(pitch, yaw, size=16))
    hits = tabulate(predictor, half_width=0.14, like=torch.zeros(1)).hits(rays)
    roots, count = dense_roots(predictor, rays)
    inside = hits.points[0, :, :, :2].abs().amax(dim=-1) < 0.14
    compared = hits.valid[0] & (count == 1) & inside
    error = (hits.distance[0] - roots).abs()[compared]
    assert compared.float().mean() > 0.5
    assert error.mean() < 2e-6 and error.quantile(0.999) < 5e-5


def test_hits_on_spheres_are_exact() -> None:
    spheres, rays = SpherePredictor(CONFIG), camera_rays(Camera.orbit(0.1, 0.4, size=32))
    fields, exact = tabulate(spheres, half_width=0.14, like=torch.zeros(1)), spheres.hits(rays)
    found = fields.hits(rays)
    both = found.valid & exact.valid & (exact.points[..., :2].abs().amax(dim=-1) < 0.14)
    error = (found.distance - exact.distance).abs()[both]
    assert error.mean() < 2e-6 and error.quantile(0.999) < 5e-5
    assert (found.valid == exact.valid)[exact.points[..., :2].abs().amax(dim=-1) < 0.14].float().mean() > 0.995


def test_a_surface_that_leaves_the_slab_ends_in_a_smooth_line() -> None:
    """The deepest sphere ends in a circle: at every resolution its pixels are those inside the circle."""
    spheres = SpherePredictor(CONFIG)
    fields = tabulate(spheres, half_width=0.14, like=torch.zeros(1))
    rays = camera_rays(Camera.orbit(0.0, 0.0, size=400))
    found, exact = fields.hits(rays).valid[0, :, -1], spheres.hits(rays).valid[0, :, -1]
    assert 0.2 < exact.float().mean() < 0.9
    assert (found != exact).float().mean() < 2e-4


def test_surfaces_come_in_order_and_fold_nowhere() -> None:
    fields = tabulate(ideal(), half_width=0.14, like=torch.zeros(1), size=96)
    assert fields.nested and fields.folded == 0


@pytest.mark.slow
def test_folding_surfaces_are_reported_and_kept_as_they_are() -> None:
    predictor = MlpPredictor(ManifoldsConfig(hidden=3, layers=1))
    first, last = predictor.network[0], predictor.output_layer
    with torch.no_grad():  # along -z it falls from 35 to 8, rises to 14 and falls to 5
        first.weight.zero_()  # type: ignore[union-attr, operator]
        first.weight[:, 2] = 1  # type: ignore[index]
        first.bias.copy_(torch.tensor([0.0, -1.4, -1.6]))  # type: ignore[union-attr, operator]
        last.weight[0] = torch.tensor([10.0, -40.0, 60.0])
    with pytest.warns(GramhdWarning, match="fold over"):
        assert single_valued(predictor, half_width=0.14, like=torch.zeros(1)) is predictor
    fields = tabulate(predictor, half_width=0.14, like=torch.zeros(1), size=64)
    assert fields.folded > 0.2 and fields.nested
    scene = RadianceManifolds(predictor, torch.rand(1, 23, 4, 8, 8), torch.rand(1, 3, 8, 8), 0.14)
    camera = Camera.orbit(0.1, 0.3, size=12)
    with torch.no_grad():
        assert torch.allclose(scene.render(camera).rgb, scene.render(camera, twin="readable").rgb, atol=1e-5)


@pytest.mark.slow
def test_gradients_of_hits_are_those_of_finite_differences() -> None:
    a = torch.linspace(-0.15, 0.15, 9, dtype=torch.double)
    y, x = torch.meshgrid(a, a, indexing="ij")
    z = torch.stack([0.05 - x * y - 0.3 * x, -0.05 + 2 * x * y]).requires_grad_()
    angles = torch.tensor([0.13, 0.31], dtype=torch.double, requires_grad=True)

    def distances(z: Tensor, angles: Tensor) -> Tensor:
        hits = HeightFields(z, 0.15, 0.12).hits(camera_rays(Camera.orbit(angles[:1], angles[1:], size=3)))
        return hits.distance * hits.valid

    assert torch.autograd.gradcheck(distances, (z, angles), eps=1e-7, atol=1e-5)


@pytest.mark.slow
def test_gradients_of_pictures_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    z = torch.stack([torch.full((5, 5), 0.05), torch.full((5, 5), -0.05)]).double() + 0.004 * torch.rand(2, 5, 5)
    maps = torch.rand(1, 2, 4, 6, 6, dtype=torch.double, requires_grad=True)
    background = torch.rand(1, 3, 6, 6, dtype=torch.double, requires_grad=True)
    yaw = torch.tensor([0.2], dtype=torch.double, requires_grad=True)

    def picture(maps: Tensor, background: Tensor, yaw: Tensor) -> Tensor:
        scene = RadianceManifolds(HeightFields(z, 0.15, 0.12), maps, background, 0.14, -0.12, RenderConvention())
        seen = scene.render(Camera.orbit(torch.tensor([0.1]).double(), yaw, size=3))
        assert seen.distance is not None
        return torch.cat([seen.rgb.flatten(), seen.alpha.flatten(), seen.distance.flatten()])

    assert torch.autograd.gradcheck(picture, (maps, background, yaw), eps=1e-7, atol=1e-4)


def test_baking_keeps_the_picture() -> None:
    torch.manual_seed(0)
    scene = RadianceManifolds(SpherePredictor(CONFIG), torch.rand(1, 3, 4, 32, 32), torch.rand(1, 3, 32, 32), 0.14)
    camera = Camera.orbit(0.2, -0.3, size=48)
    baked = scene.baked()
    assert isinstance(baked.surfaces, HeightFields) and baked.baked() is baked
    with torch.no_grad():
        difference = (scene.render(camera, twin="readable").rgb - baked.render(camera).rgb).abs()
    assert difference.mean() < 1e-4
