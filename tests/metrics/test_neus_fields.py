"""What a fit learns: tables and their compiled twin, the published networks, and the sphere that both are at first."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.metrics.neus_fields import BALL, SPHERE, TableField
from gramhd_core.metrics.neus_networks import ColourNetwork, NetworkField, SdfNetwork, waves
from gramhd_core.metrics.neus_tables import Tables, levels_of


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def somewhere(n: int) -> Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_level_has_an_entry_for_each_corner_until_there_are_too_many() -> None:
    small, large = levels_of([3, 20], most=1024)
    assert small == (0, 64, 3, False) and large == (64, 1024, 20, True)


def test_a_dense_level_gives_a_linear_function_back() -> None:
    tables = Tables([4], features=1)
    corner = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 5)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    slope = torch.tensor([0.3, -0.7, 1.1])
    with torch.no_grad():
        tables.table[:, 0] = corner @ slope + 0.2
    points = somewhere(100)
    torch.testing.assert_close(tables(points)[:, 0], points @ slope + 0.2)


@pytest.mark.parametrize("features", [1, 3, 4])
@pytest.mark.parametrize("by_cell", [False, True])
def test_compiled_loops_and_readable_path_agree_forward_and_backward(features: int, by_cell: bool) -> None:
    quick, plain = (
        Tables([3, 7, 20], features=features, by_cell=by_cell, most=1024, compiled=compiled)
        for compiled in (True, False)
    )
    with torch.no_grad():
        quick.table.normal_(generator=rng())
        plain.table.copy_(quick.table)
    slope = torch.randn(500, features, generator=rng())
    for tables in (quick, plain):
        tables.reach(0.8)
        (tables(somewhere(500)) * slope).sum().backward()
    torch.testing.assert_close(quick(somewhere(500)), plain(somewhere(500)))
    assert quick.table.grad is not None and plain.table.grad is not None
    torch.testing.assert_close(quick.table.grad, plain.table.grad, atol=1e-5, rtol=1e-5)


def test_levels_come_in_one_after_the_other() -> None:
    tables = Tables([2, 4, 8], features=1)
    tables.reach(0.0)
    assert tables.weights.tolist() == [1, 0, 0] and tables.finest == 2
    tables.reach(0.75)
    assert tables.weights.tolist() == [1, 1, 0.5] and tables.finest == 8
    tables.reach(1.0)
    assert tables.weights.tolist() == [1, 1, 1]


def test_tables_begin_as_the_sphere_with_slopes_of_length_one() -> None:
    field = TableField(size=16, sharpness=30.0, view_dependence=False, rng=rng())
    points = somewhere(200)
    torch.testing.assert_close(field.sdf(points), points.norm(dim=-1) - BALL)
    gradient = field.slopes(points[points.norm(dim=-1) > 0.5]).gradient
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(len(gradient)), atol=0.03, rtol=0)


def test_published_networks_begin_as_the_sphere() -> None:
    network = SdfNetwork(rng())
    points = F.normalize(somewhere(200), dim=-1)
    with torch.no_grad():
        inside, on, outside = (network(points * r)[0] for r in (0.5 * SPHERE, SPHERE, 1.5 * SPHERE))
    assert (inside < 0).all() and (outside > 0).all() and float(on.abs().max()) < 0.2 * SPHERE


def test_published_networks_have_the_published_shapes() -> None:
    network = SdfNetwork(rng())
    assert [tuple(layer.weight.shape) for layer in network.layers] == [
        (256, 39), (256, 256), (256, 256), (217, 256), (256, 256), (256, 256), (256, 256), (256, 256), (257, 256),
    ]  # fmt: skip
    distance, features = network(somewhere(5))
    assert distance.shape == (5,) and features.shape == (5, 256)
    colours = ColourNetwork(rng(), view_dependence=True)
    assert [tuple(layer.weight.shape) for layer in colours.layers] == [
        (256, 3 + 27 + 3 + 256), (256, 256), (256, 256), (256, 256), (3, 256),
    ]  # fmt: skip


def test_waves_by_hand() -> None:
    half = torch.tensor([[torch.pi / 2]])
    torch.testing.assert_close(waves(half, 2), torch.tensor([[torch.pi / 2, 1, 0, 0, -1]]), atol=1e-6, rtol=0)


def test_slopes_of_networks_are_the_derivative() -> None:
    field = NetworkField(sharpness=20.0, view_dependence=True, rng=rng(), width=64)
    points, step = somewhere(5), 1e-2
    with torch.no_grad():
        found = field.slopes(points).gradient
        moved = [field.sdf(points + sign * step * torch.eye(3)[k]) for k in range(3) for sign in (1, -1)]
    wanted = torch.stack([(moved[2 * k] - moved[2 * k + 1]) / (2 * step) for k in range(3)], dim=1)
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", ["tables", "networks"])
def test_colour_depends_on_the_direction_only_if_asked_to(kind: str) -> None:
    points, one, other = somewhere(4), F.normalize(somewhere(4), dim=-1), F.normalize(-somewhere(4), dim=-1)
    for view_dependence in (True, False):
        field: TableField | NetworkField
        if kind == "tables":
            field = TableField(size=16, sharpness=30.0, view_dependence=view_dependence, rng=rng())
            with torch.no_grad():
                for parameter in field.parameters():
                    if parameter.ndim > 1:
                        parameter.normal_(generator=rng())
        else:
            field = NetworkField(sharpness=20.0, view_dependence=view_dependence, rng=rng(), width=64)
        with torch.no_grad():
            same = torch.equal(field.shade(points, one).rgb, field.shade(points, other).rgb)
        assert same != view_dependence
