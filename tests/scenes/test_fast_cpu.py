"""The compiled height-field hits are the readable ones."""

from __future__ import annotations

import pytest
import torch

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.scenes.manifolds import RadianceManifolds, RenderConvention
from gramhd_core.scenes.surfaces import HeightFields


def bumpy(levels: int = 3, size: int = 40) -> HeightFields:
    """Smooth random surfaces stacked along z."""
    rng = torch.Generator().manual_seed(0)
    a = torch.linspace(-0.126, 0.126, size)
    y, x = torch.meshgrid(a, a, indexing="ij")
    tables = []
    for level in range(levels):
        fx, fy, phase = (float(v) for v in 10 + 20 * torch.rand(3, generator=rng))
        z = 0.08 - 0.07 * level + 0.01 * torch.sin(fx * x + fy * y + phase)
        tables.append(z)
    return HeightFields(torch.stack(tables), 0.126, 0.12)


@pytest.mark.parametrize("yaw", [-0.6, 0.0, 0.3])
@pytest.mark.parametrize("levels", [1, 3])
def test_compiled_distances_are_the_readable_ones(yaw: float, levels: int) -> None:
    fields, rays = bumpy(levels), camera_rays(Camera.orbit(0.2, yaw, size=24))
    assert torch.allclose(fields.fast_distance(rays), fields.distance(rays), atol=1e-5)


def test_hits_lie_on_the_surfaces() -> None:
    fields, rays = bumpy(), camera_rays(Camera.orbit(0.1, 0.4, size=24))
    hits = fields.hits(rays)
    grid = (hits.points[..., :2] / fields.half_width).permute(2, 0, 1, 3)
    z = torch.nn.functional.grid_sample(fields.z[:, None], grid, align_corners=True)[:, 0].permute(1, 2, 0)
    assert hits.valid.float().mean() > 0.9
    assert (z - hits.points[..., 2]).abs()[hits.valid].max() < 2e-6


def test_gradients_take_the_readable_path() -> None:
    yaw = torch.tensor([0.2], requires_grad=True)
    hits = bumpy().hits(camera_rays(Camera.orbit(0.1, yaw, size=8)))
    hits.distance[hits.valid].sum().backward()
    assert yaw.grad is not None and torch.isfinite(yaw.grad).all() and yaw.grad.abs() > 0


@pytest.mark.parametrize("edge", ["fade", "cut"])
@pytest.mark.parametrize("hits", ["full", "upsampled"])
@pytest.mark.parametrize("content", ["random", "empty", "opaque"])
def test_compiled_pictures_are_the_readable_ones(edge: str, hits: str, content: str) -> None:
    fields, rng = bumpy(), torch.Generator().manual_seed(1)
    maps = torch.rand(2, 3, 4, 20, 20, generator=rng)
    if content != "random":
        maps[:, :, 3] = float(content == "opaque")
    convention = RenderConvention(edge=edge, hits=hits, hit_size=12)
    scene = RadianceManifolds(fields, maps, torch.rand(2, 3, 20, 20, generator=rng), 0.1, -0.12, convention)
    camera = Camera.orbit(torch.tensor([0.2, -0.1]), torch.tensor([-0.5, 0.3]), size=24)
    readable = scene.render(camera)
    with torch.no_grad():
        fast = scene.render(camera)
    assert torch.allclose(fast.rgb, readable.rgb, atol=1e-5)
    assert torch.allclose(fast.alpha, readable.alpha, atol=1e-5)
    assert fast.distance is not None and readable.distance is not None
    assert torch.allclose(fast.distance, readable.distance, atol=1e-5)
