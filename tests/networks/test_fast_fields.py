"""The cached twin of Phi: values and gradients of plain torch, kept or made again, on any number of threads."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from gramhd_core.networks import fast_fields
from gramhd_core.networks.fields import Field, FieldConfig
from gramhd_core.networks.sines import sines, sines_and_cosines


@pytest.fixture
def threads() -> Iterator[None]:
    """The number of threads is put back afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def made(view: str, features: int, *, twin: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Values and gradients of a small field with respect to everything."""
    torch.manual_seed(0)
    config = FieldConfig(
        z_dim=8, hidden=24, layers=4, mapping_hidden=16, mapping_layers=2, features=features, start_density=1.0,
        view_dependence=view,  # type: ignore[arg-type]
    )  # fmt: skip
    field = Field(config).to(dtype)
    z, points = torch.randn(3, 8, dtype=dtype), (torch.rand(3, 700, 3, dtype=dtype) * 0.2 - 0.1).requires_grad_()
    directions = torch.nn.functional.normalize(torch.randn(3, 700, 3, dtype=dtype), dim=-1)
    value = field(points, directions, field.film(z), twin=twin)  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(1)
    torch.stack([(t * torch.randn(t.shape, generator=rng, dtype=dtype)).sum() for t in value]).sum().backward()
    assert points.grad is not None
    found = {name: p.grad for name, p in field.named_parameters() if p.grad is not None and p.numel()}
    return {**found, **value._asdict(), "points": points.grad}


@pytest.mark.parametrize("keep", [0, 1 << 30])
@pytest.mark.parametrize(("view", "features"), [("none", 0), ("none", 5), ("locked", 0), ("camera", 5)])
def test_both_twins_agree_in_values_and_in_every_gradient(
    monkeypatch: pytest.MonkeyPatch, keep: int, view: str, features: int
) -> None:
    monkeypatch.setattr(fast_fields, "KEEP", keep)
    monkeypatch.setattr(fast_fields, "PIECE", 24 * 96)  # pieces of unequal sizes
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        slow = made(view, features, twin="readable", dtype=dtype)
        fast = made(view, features, twin="auto", dtype=dtype)
        assert slow.keys() == fast.keys()
        for name, value in slow.items():
            scale = max(1e-6, float(value.detach().abs().max())) if value.numel() else 1.0
            assert torch.allclose(value / scale, fast[name] / scale, atol=tolerance), name


def test_no_two_gradients_share_memory() -> None:
    """Clipping scales gradients in place, and micro-batches add to them in place: shared ones would change twice."""
    for view, features in (("none", 5), ("camera", 0)):
        found = made(view, features, twin="auto")
        grads = [t for t in found.values() if t.grad_fn is None]
        spans = sorted((t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in grads)
        assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_gradients_do_not_depend_on_threads(threads: None) -> None:
    torch.set_num_threads(1)
    alone = made("locked", 3, twin="auto")
    torch.set_num_threads(3)
    together = made("locked", 3, twin="auto")
    assert torch.get_num_threads() == 3
    for name in ("rgb", "sigma", "points", "network.1.layer.weight", "output_color.0.weight"):
        assert torch.equal(alone[name], together[name]), name


def test_where_only_heads_learn_nothing_is_kept_and_their_gradients_are_right() -> None:
    torch.manual_seed(0)
    field = Field(FieldConfig(z_dim=8, hidden=16, layers=3, mapping_hidden=16, mapping_layers=2, features=4))
    learning = [p for name, p in field.named_parameters() if name.startswith("output_feature")]
    field.requires_grad_(False)
    for p in learning:
        p.requires_grad_()
    points, film = torch.rand(2, 300, 3) * 0.2 - 0.1, field.film(torch.randn(2, 8))
    gradients = []
    for twin in ("readable", "auto"):
        total = field(points, None, film, twin=twin).features.square().sum()
        gradients.append(torch.autograd.grad(total, learning))
    for slow, fast in zip(*gradients, strict=True):
        assert torch.allclose(slow, fast, rtol=1e-4, atol=1e-4)
    assert field(points, None, film).features.grad_fn is not None


def test_a_learning_step_needs_the_memory_of_a_piece_not_of_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_fields, "KEEP", 0)
    largest = 0
    new = torch.Tensor.new_empty

    def watched(self: Tensor, *shape: int) -> Tensor:
        nonlocal largest
        tensor = new(self, *shape)
        largest = max(largest, tensor.numel())
        return tensor

    monkeypatch.setattr(torch.Tensor, "new_empty", watched)
    torch.manual_seed(0)
    field = Field(FieldConfig(z_dim=8, hidden=64, layers=3, mapping_hidden=16, mapping_layers=2))
    field(torch.rand(1, 1 << 15, 3), None, field.film(torch.randn(1, 8))).sigma.sum().backward()
    assert largest <= 2 * 4 * fast_fields.PIECE < (1 << 15) * 64


@pytest.mark.parametrize("reach", [1.0, 100.0, 8000.0])
def test_sines_and_cosines_are_right_to_the_last_bits(reach: float) -> None:
    angles = np.linspace(-reach, reach, 100_003, dtype=np.float32)
    exact, out, cosine = angles.astype(np.float64), np.empty_like(angles), angles.copy()
    sines_and_cosines(cosine, out)
    assert np.abs(out - np.sin(exact)).max() < 2e-7 and np.abs(cosine - np.cos(exact)).max() < 2e-7
    only = angles.copy()
    sines(only)
    assert np.array_equal(only, out)


def test_what_is_not_a_number_stays_so() -> None:
    angles = np.array([math.nan, math.inf, 0.0], dtype=np.float32)
    sines(angles)
    assert np.isnan(angles[:2]).all() and angles[2] == 0
