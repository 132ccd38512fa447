"""The compiled twins for CPUs are the readable paths."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.scenes import fast_cpu
from gramhd_core.scenes.head_manifolds import head_manifolds
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import RenderConvention

STEEP = Camera.orbit(torch.tensor([0.3, -0.3, 0.0]), torch.tensor([-0.7, 0.7, 0.0]), size=40)


def bumpy(levels: int = 3, size: int = 60, *, nested: bool = True) -> HeightFields:
    """Smooth random surfaces stacked along z; the stack passes through itself if it is not nested."""
    rng = torch.Generator().manual_seed(levels)
    a = torch.linspace(-0.126, 0.126, size)
    y, x = torch.meshgrid(a, a, indexing="ij")
    tables = []
    for level in range(levels):
        fx, fy, phase = (float(v) for v in 10 + 20 * torch.rand(3, generator=rng))
        wave = 0.01 * torch.sin(fx * x + fy * y + phase)
        tables.append(wave + (0.08 - 0.2 * level / levels if nested else 0.005 * level))
    z = torch.stack(tables)
    return HeightFields(z.cummin(dim=0).values if nested else z, 0.126, 0.12)


def scene_of(fields: HeightFields, content: str, convention: RenderConvention, *, identities: int) -> RadianceManifolds:
    """Random maps [n, L, 4, 40, 40] whose alpha is random, sparse, empty or opaque; colours a little beyond [0, 1]."""
    rng = torch.Generator().manual_seed(1)
    maps = torch.rand(identities, len(fields.z), 4, 40, 40, generator=rng)
    maps[:, :, :3] = 1.2 * maps[:, :, :3] - 0.1
    coarse = torch.rand(identities * len(fields.z), 1, 8, 8, generator=rng)
    sparse = torch.nn.functional.interpolate((coarse - 0.7).clamp_min(0), 40, mode="bilinear")
    alpha = {
        "random": maps[:, :, 3],
        "sparse": sparse.reshape(identities, -1, 40, 40),
        "empty": torch.zeros(()),
        "opaque": torch.ones(()),
    }
    maps[:, :, 3] = alpha[content]
    return RadianceManifolds(fields, maps, torch.rand(identities, 3, 40, 40, generator=rng), 0.12, -0.12, convention)


def differences(scene: RadianceManifolds, camera: Camera) -> list[float]:
    """Largest difference between the compiled and the readable picture: rgb, alpha, distance."""
    with torch.no_grad():
        fast, readable = scene.render(camera), scene.render(camera, twin="readable")
    return [float((a - b).abs().max()) for a, b in zip(fast, readable, strict=True) if a is not None and b is not None]


@pytest.mark.parametrize("yaw", [-0.6, 0.0, 0.3])
@pytest.mark.parametrize("levels", [1, 3])
def test_compiled_distances_are_the_readable_ones(yaw: float, levels: int) -> None:
    fields, rays = bumpy(levels), camera_rays(Camera.orbit(0.2, yaw, size=24))
    assert torch.allclose(fields.fast_distance(rays), fields.distance(rays), atol=1e-6)


def test_hits_lie_on_the_surfaces() -> None:
    fields, rays = bumpy(), camera_rays(Camera.orbit(0.1, 0.4, size=24))
    hits = fields.hits(rays)
    grid = (hits.points[..., :2] / fields.half_width).permute(2, 0, 1, 3)
    z = torch.nn.functional.grid_sample(fields.z[:, None], grid, align_corners=True)[:, 0].permute(1, 2, 0)
    assert hits.valid.float().mean() > 0.9
    assert (z - hits.points[..., 2]).abs()[hits.valid].max() < 5e-7


@pytest.mark.parametrize("sampling", ["area", "endpoints"])
@pytest.mark.parametrize("edge", ["fade", "cut"])
@pytest.mark.parametrize("content", ["random", "sparse", "empty", "opaque"])
@pytest.mark.parametrize("levels", [1, 6])
def test_compiled_pictures_are_the_readable_ones(sampling: str, edge: str, content: str, levels: int) -> None:
    convention = RenderConvention(sampling, edge=edge)  # type: ignore[arg-type]
    scene = scene_of(bumpy(levels), content, convention, identities=1)
    rgb, alpha, distance = differences(scene, STEEP)
    assert rgb < 1e-3 and alpha < 1e-3 and distance < 1e-5


@pytest.mark.parametrize("depth", ["mean", "sum"])
def test_every_identity_is_seen_by_its_own_camera(depth: str) -> None:
    scene = scene_of(bumpy(4), "random", RenderConvention(depth=depth), identities=3)  # type: ignore[arg-type]
    rgb, _, distance = differences(scene, STEEP)
    assert rgb < 1e-3 and distance < 1e-5
    with torch.no_grad():
        alone = replace(scene, maps=scene.maps[1:2], background=scene.background[1:2]).render(STEEP[1])
        assert torch.allclose(scene.render(STEEP).rgb[1], alone.rgb[0], atol=1e-4)


def test_hits_interpolated_from_a_small_picture_are_composited_alike() -> None:
    scene = scene_of(bumpy(4), "random", RenderConvention(hits="upsampled", hit_size=12, edge="cut"), identities=1)
    rgb, _, distance = differences(scene, STEEP)
    assert rgb < 2e-5 and distance < 1e-5


def test_surfaces_that_pass_through_each_other_are_sorted_ray_by_ray() -> None:
    fields = bumpy(3, nested=False)
    assert not fields.nested
    rgb, _, distance = differences(scene_of(fields, "random", RenderConvention(), identities=1), STEEP)
    assert rgb < 1e-5 and distance < 1e-5


def test_a_picture_does_not_depend_on_where_its_tiles_fall() -> None:
    scene = scene_of(bumpy(4), "random", RenderConvention(), identities=1)
    for size in (1, 7, 8, 17, 33):
        rgb, _, distance = differences(scene, replace(STEEP, height=size, width=size))
        assert rgb < 1e-3 and distance < 1e-5, size


def test_changed_maps_are_seen_at_once() -> None:
    scene = scene_of(bumpy(2), "opaque", RenderConvention(), identities=1)
    with torch.no_grad():
        assert scene.render(STEEP).alpha.max() > 0.9
        scene.maps[:, :, 3] = 0
        assert scene.render(STEEP).alpha.max() == 0


def test_changed_surfaces_are_seen_at_once() -> None:
    scene = scene_of(bumpy(2), "opaque", RenderConvention(), identities=1)
    assert isinstance(scene.surfaces, HeightFields)
    with torch.no_grad():
        before = scene.render(STEEP).distance
        scene.surfaces.z.sub_(0.02)
        assert before is not None and (scene.render(STEEP).distance - before).mean() > 0.01  # type: ignore[operator]
    rgb, _, distance = differences(scene, STEEP)
    assert rgb < 1e-3 and distance < 1e-5


def test_copies_and_pickles_are_no_larger_for_having_been_rendered() -> None:
    scene = scene_of(bumpy(2), "random", RenderConvention(), identities=1)
    before = len(pickle.dumps(scene))
    with torch.no_grad():
        picture = scene.render(STEEP).rgb
        assert len(pickle.dumps(scene)) < before + 2000
        assert torch.equal(pickle.loads(pickle.dumps(scene)).render(STEEP).rgb, picture)
        copied = copy.deepcopy(scene)
        copied.maps[:, :, 3] = 0
        assert copied.render(STEEP).alpha.max() == 0 and torch.equal(scene.render(STEEP).rgb, picture)


@pytest.mark.parametrize("size", [3, 8, 16, 40])
def test_few_pixels_see_what_lies_between_them(size: int) -> None:
    """A dome that is behind the slab at the corners of the picture's only tiles."""
    a = torch.linspace(-0.126, 0.126, 65)
    y, x = torch.meshgrid(a, a, indexing="ij")
    fields = HeightFields(
        torch.stack([0.1 - 15 * (x * x + y * y), -15 * (x * x + y * y)]).clamp_min(-0.125), 0.126, 0.12
    )
    scene = scene_of(fields, "opaque", RenderConvention(), identities=1)
    rgb, alpha, distance = differences(scene, Camera.orbit(0.1, 0.2, size=size))
    assert rgb < 1e-3 and alpha < 1e-3 and distance < 1e-5


@pytest.mark.parametrize(("radius", "yaw"), [(1.0, math.pi), (1.0, 1.5), (0.03, 0.1), (3.0, 0.2)])
def test_cameras_anywhere_are_the_readable_ones(radius: float, yaw: float) -> None:
    scene = scene_of(bumpy(3), "random", RenderConvention(), identities=1)
    camera = Camera.orbit(0.1, yaw, radius=radius, fov_degrees=20, size=24)
    rgb, alpha, _ = differences(scene, camera)
    assert rgb < 1e-3 and alpha < 1e-3


@pytest.mark.parametrize(("channel", "number"), [(0, math.nan), (3, math.nan), (1, 1000.0), (3, -1.0)])
def test_numbers_that_cannot_be_packed_are_drawn_by_the_readable_path(channel: int, number: float) -> None:
    scene = scene_of(bumpy(3), "random", RenderConvention(), identities=1)
    scene.maps[0, 1, channel, 10:30, 10:30] = number
    with torch.no_grad():
        fast, readable = scene.render(STEEP).rgb, scene.render(STEEP, twin="readable").rgb
    close = torch.isclose(fast, readable, atol=1e-3, rtol=1e-3, equal_nan=True)
    assert close.float().mean() > 0.99  # of a texel that is not finite and weighs nothing, either may be left


def test_a_pose_that_is_no_number_touches_no_memory() -> None:
    prepared = fast_cpu.prepare(scene_of(bumpy(3), "random", RenderConvention(), identities=1))
    for number in (math.nan, math.inf, 1e30):
        lost = replace(STEEP, world_from_camera=STEEP.world_from_camera * number)
        assert fast_cpu.render_prepared(prepared, lost).rgb.shape == (3, 3, 40, 40)
    rays = torch.full((1, 5, 3), math.nan)
    assert bumpy(3).fast_distance(Rays(rays, rays)).isnan().all()


@pytest.mark.parametrize("side", [1, 2])
def test_maps_of_a_texel_or_two_are_drawn_alike(side: int) -> None:
    maps, background = torch.rand(1, 3, 4, side, side), torch.rand(1, 3, side, side)
    for edge in ("fade", "cut"):
        scene = RadianceManifolds(bumpy(3), maps, background, 0.12, -0.12, RenderConvention(edge=edge))
        rgb, alpha, distance = differences(scene, STEEP)
        assert rgb < 1e-3 and alpha < 1e-3 and distance < 1e-5


def test_tensors_that_do_not_belong_together_are_refused() -> None:
    scene = scene_of(bumpy(3), "random", RenderConvention(), identities=1)
    for maps in (scene.maps[:, :2], scene.maps[..., :20], scene.maps[:, :, :3]):
        with pytest.raises(AssertionError):
            replace(scene, maps=maps)


def test_a_head_is_drawn_alike() -> None:
    scene = head_manifolds(HeadIdentity.from_seed(1), levels=8, size=128)
    with torch.no_grad():
        fast, readable = scene.render(STEEP), scene.render(STEEP, twin="readable")
    assert isinstance(fast, Rendering)
    assert (fast.rgb - readable.rgb).abs().max() < 1e-3
    assert (fast.distance - readable.distance).abs().quantile(0.999) < 1e-5  # type: ignore[operator]


def test_gradients_take_the_readable_path() -> None:
    yaw = torch.tensor([0.2], requires_grad=True)
    hits = bumpy().hits(camera_rays(Camera.orbit(0.1, yaw, size=8)))
    hits.distance[hits.valid].sum().backward()
    assert yaw.grad is not None and torch.isfinite(yaw.grad).all() and yaw.grad.abs() > 0
    scene = scene_of(bumpy(2), "random", RenderConvention(), identities=1)
    scene.maps.requires_grad_()
    scene.render(STEEP).rgb.square().mean().backward()
    assert scene.maps.grad is not None and scene.maps.grad.abs().sum() > 0


def test_heights_that_are_trained_are_met_without_gradients() -> None:
    fields, rays = bumpy(3), camera_rays(STEEP)
    plain = fields.hits(rays).distance
    fields.z.requires_grad_()
    with torch.no_grad():
        assert torch.equal(fields.hits(rays).distance, plain)
        fields.z.add_(0.03)
        assert torch.allclose(
            fields.distance(rays),
            bumpy(3).distance(rays._replace(origins=rays.origins - torch.tensor([0, 0, 0.03]))),
            atol=1e-6,
        )


def test_only_nested_height_fields_met_per_pixel_are_supported() -> None:
    scene = scene_of(bumpy(3), "random", RenderConvention(), identities=1)
    assert fast_cpu.supports(scene)
    assert not fast_cpu.supports(replace(scene, surfaces=bumpy(3, nested=False)))
    assert not fast_cpu.supports(replace(scene, convention=RenderConvention(hits="upsampled")))
