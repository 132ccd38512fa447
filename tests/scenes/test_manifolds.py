"""Scenes: consistency between their forms, independence of items, both sides of every rendering switch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gramhd_core.generators.gram import Gram
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.level_sets import Hits, sphere_hits
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.networks.predictors import ManifoldsConfig, MlpPredictor, SpherePredictor
from gramhd_core.scenes import views
from gramhd_core.scenes.field_manifolds import FieldManifolds
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import tabulate
from gramhd_core.scenes.views import RenderConvention, background_coordinate, background_point

SPHERES = SpherePredictor(ManifoldsConfig(predictor="spheres", count=5))


def plane_scene(convention: RenderConvention = RenderConvention(), *, size: int = 24) -> RadianceManifolds:
    """Random maps on four spheres."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 4, 4, size, size, generator=rng)
    return RadianceManifolds(SPHERES, maps, torch.rand(1, 3, size, size, generator=rng), 0.12, -0.12, convention)


def test_one_identity_seen_by_many_cameras_is_many_single_views() -> None:
    scene, cameras = plane_scene(), Camera.orbit(0.1, torch.tensor([-0.3, 0.2]), size=12)
    both = scene.render(cameras)
    assert torch.allclose(both.rgb[1:], scene.render(cameras[1]).rgb, atol=1e-6)
    assert both.rgb.shape == (2, 3, 12, 12) and both.alpha.shape == both.distance.shape == (2, 1, 12, 12)


def test_each_item_has_its_own_camera() -> None:
    """The published code used the first item's camera for the distances and directions of all."""
    a, b = plane_scene(), plane_scene()
    pair = replace(a, maps=torch.cat([a.maps, b.maps.flip(1)]), background=torch.cat([a.background, b.background]))
    cameras = Camera.orbit(torch.tensor([0.0, 0.2]), torch.tensor([-0.4, 0.3]), size=10)
    alone = replace(pair, maps=pair.maps[1:], background=pair.background[1:])
    assert torch.allclose(pair.render(cameras).rgb[1:], alone.render(cameras[1]).rgb, atol=1e-6)
    assert torch.allclose(pair.render(cameras).distance[1:], alone.render(cameras[1]).distance, atol=1e-6)


def test_chunks_of_rays_make_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, camera = plane_scene(), Camera.orbit(0.1, 0.2, size=16)
    with torch.no_grad():
        whole = scene.render(camera)
    monkeypatch.setattr("gramhd_core.scenes.manifolds.CHUNK_RAYS", 37)
    with torch.no_grad():
        assert torch.allclose(scene.render(camera).rgb, whole.rgb, atol=1e-6)


def test_an_opaque_front_map_hides_the_rest_and_its_distance_is_the_surface() -> None:
    scene, camera = plane_scene(), Camera.orbit(0.0, 0.1, size=8)
    scene.maps[:, 0, 3] = 1.0
    scene.maps[:, 0, :3] = 0.25
    picture = scene.render(camera)
    assert torch.allclose(picture.rgb, torch.tensor(-0.5), atol=1e-5)
    rays = camera_rays(camera)
    nearest = sphere_hits(rays, SPHERES.radii(like=rays.origins), (0.0, 0.0, -0.18), slab=0.12).distance[..., 0]
    assert torch.allclose(picture.distance.flatten(), nearest.flatten(), atol=1e-5)
    assert torch.allclose(picture.alpha, torch.tensor(1.0), atol=1e-5)


def test_empty_maps_show_the_background_plane() -> None:
    scene, camera = plane_scene(), Camera.orbit(0.0, 0.0, size=8)
    scene.maps[:, :, 3] = 0
    scene.background[:] = 0.5
    picture = scene.render(camera)
    assert torch.allclose(picture.rgb, torch.tensor(0.0), atol=1e-5) and picture.alpha.max() == 0
    t = 1.12 / (-camera_rays(camera).directions[..., 2])
    assert torch.allclose(picture.distance.flatten(), t.flatten(), atol=1e-5)


class Shuffled:
    """Surfaces whose levels come in reverse order: only sorting makes the right picture."""

    slab = SPHERES.slab

    def hits(self, rays: Rays) -> Hits:
        points, distance, valid = SPHERES.hits(rays)
        return Hits(points.flip(2), distance.flip(2), valid.flip(2))


def test_levels_out_of_order_are_sorted() -> None:
    scene, camera = plane_scene(), Camera.orbit(0.1, 0.3, size=12)
    shuffled = replace(scene, surfaces=Shuffled(), maps=scene.maps.flip(1))
    assert torch.allclose(shuffled.render(camera).rgb, scene.render(camera).rgb, atol=1e-5)
    with torch.no_grad():  # the compiled twins sort too
        assert torch.allclose(shuffled.render(camera).rgb, scene.render(camera).rgb, atol=1e-3)


@pytest.mark.parametrize(
    "other", [{"pixel_sampling": "endpoints"}, {"hits": "upsampled", "hit_size": 8}, {"edge": "cut"}]
)
def test_every_rendering_switch_changes_the_picture_a_little(other: dict) -> None:
    camera = Camera.orbit(0.2, 0.4, size=32)
    default = plane_scene().render(camera).rgb
    switched = plane_scene(RenderConvention(**other)).render(camera).rgb
    assert 0 < (default - switched).abs().mean() < 0.3


def test_depth_switch_is_the_normalisation() -> None:
    """Where the background is not opaque the weights do not add up to 1: the sum is short of the distance."""

    def thin(points: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full_like(points, 0.5), (points[..., 2] > -0.11) * 10.0

    camera, depths = Camera.orbit(0.0, 0.0, size=8), {}
    for depth in ("mean", "sum"):
        convention = RenderConvention(depth=depth, opaque_background=False)
        depths[depth] = FieldManifolds(SPHERES, thin, 1, 4, convention=convention).render(camera).distance[0, 0, 4, 4]
    assert 0.88 < depths["mean"] < 1.0
    assert depths["sum"] < 0.9 * depths["mean"]


def test_fading_edge_has_no_step_where_the_cut_one_does() -> None:
    wide = Camera.orbit(0.0, 0.0, size=128)
    wide = replace(wide, fov_degrees=torch.tensor([16.0]))  # sees the border of the maps
    steps = {}
    for edge in ("fade", "cut"):
        scene = plane_scene(RenderConvention(edge=edge), size=128)
        scene.maps[:, :, 3] = 1.0
        row = scene.render(wide).alpha[0, 0, 64]
        steps[edge] = float((row[1:] - row[:-1]).abs().max())
    assert steps["fade"] < 0.75 * steps["cut"]


def test_background_coordinates_are_inverses_and_smooth() -> None:
    u = torch.linspace(-1, 1, 101).double()
    x = background_point(u, 0.12)
    assert torch.allclose(background_coordinate(x, 0.12), u, atol=1e-9)
    assert x[-1].item() == pytest.approx(0.2511125, abs=1e-6)
    slope = (x[1:] - x[:-1]) / (u[1:] - u[:-1])
    assert (slope[1:] - slope[:-1]).abs().max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_height_fields_hit_where_the_predictor_does(yaw: float) -> None:
    torch.manual_seed(1)
    predictor = MlpPredictor(ManifoldsConfig(count=8))
    fields = tabulate(predictor, half_width=0.16, size=128, like=torch.zeros(1))
    with torch.no_grad():
        rays = camera_rays(Camera.orbit(0.1, yaw, size=32))
        dense, table = predictor.hits(rays), fields.hits(rays)
    inside = dense.points[..., :2].abs().amax(-1) < 0.15
    both = dense.valid & table.valid & inside
    error = (dense.distance - table.distance).abs()[both]
    assert both.float().mean() > 0.4
    assert (dense.valid == table.valid)[inside].float().mean() > 0.9
    assert error.median() < 2e-5 and error.quantile(0.95) < 3e-4


def test_baked_scene_converges_to_the_field_as_maps_grow(small_gram: Gram) -> None:
    small_gram.predictor = SPHERES
    latent, camera = small_gram.latent(torch.ones(1, 8)), Camera.orbit(0.1, 0.2, size=16)
    with torch.no_grad():
        exact = small_gram.field_scene(latent).render(camera).rgb
        errors = []
        for size in (16, 128):
            low = small_gram.low_maps(latent, small_gram.grid(size))
            baked = small_gram.manifolds(SPHERES, low.maps, low.background).render(camera).rgb
            errors.append(float((baked - exact).abs().mean()))
    assert errors[1] < 0.25 * errors[0] and errors[1] < 0.02


@pytest.mark.parametrize("opaque", [True, False])
def test_background_of_a_field_is_opaque_or_has_its_own_density(opaque: bool) -> None:
    def clear(points: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full_like(points, 0.75), torch.zeros(points.shape[:2])

    scene = FieldManifolds(SPHERES, clear, 1, 4, convention=RenderConvention(opaque_background=opaque))
    rgb = scene.render(Camera.orbit(0.0, 0.0, size=4)).rgb
    assert torch.allclose(rgb, torch.tensor(0.5 if opaque else -1.0), atol=1e-4)


def test_pictures_carry_gradients_to_maps_and_camera() -> None:
    scene = plane_scene()
    scene.maps.requires_grad_()
    yaw = torch.tensor([0.1], requires_grad=True)
    scene.render(Camera.orbit(0.0, yaw, size=8)).rgb.square().mean().backward()
    assert scene.maps.grad is not None and scene.maps.grad.abs().sum() > 0
    assert yaw.grad is not None and yaw.grad.abs() > 0


def test_gradients_do_not_depend_on_how_many_layers_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for remembered in (0, 1 << 40):
        monkeypatch.setattr(views, "REMEMBERED", remembered)
        scene = plane_scene()
        scene.maps.requires_grad_()
        yaw = torch.tensor([0.1], requires_grad=True)
        scene.render(Camera.orbit(0.0, yaw, size=8)).rgb.square().mean().backward()
        found.append((scene.maps.grad, yaw.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
