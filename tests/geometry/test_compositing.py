"""Compositing by hand, and the properties any compositing has."""

from __future__ import annotations

import pytest
import torch

from gramhd_core.errors import BadConfig
from gramhd_core.geometry.compositing import FrontToBack, front_to_back
from gramhd_core.geometry.resample import downsample

RED, BLUE = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])


def layer(alpha: float) -> torch.Tensor:
    return torch.full((1, 1), alpha)


def test_two_layers_composited_by_hand() -> None:
    picture = FrontToBack((1, 1), like=RED)
    picture.add(RED, layer(0.25), layer(1.0))
    picture.add(BLUE, layer(0.5), layer(2.0))
    assert torch.allclose(picture.colour, torch.tensor([[[0.25, 0.0, 0.375]]]))
    assert picture.weighted_distance.item() == pytest.approx(0.25 * 1 + 0.375 * 2)
    assert picture.transmittance.item() == pytest.approx(0.375)


def test_opaque_front_hides_everything_behind() -> None:
    picture = FrontToBack((1, 1), like=RED)
    picture.add(RED, layer(1.0), layer(1.0))
    picture.add(BLUE, layer(1.0), layer(2.0))
    assert torch.allclose(picture.colour, RED, atol=1e-9)


def test_empty_layers_change_nothing_and_backdrop_is_not_foreground() -> None:
    picture = FrontToBack((1, 1), like=RED)
    picture.add(BLUE, layer(0.0), layer(0.5))
    picture.add(RED, layer(0.4), layer(1.0))
    picture.add(BLUE, layer(1.0), layer(2.0), background=True)
    assert picture.foreground.item() == pytest.approx(0.4)
    assert picture.weight.item() == pytest.approx(1.0)


def test_order_is_asked_for_only_where_valid_layers_are_out_of_order() -> None:
    distance = torch.tensor([[1.0, 3.0, 2.0]])
    assert front_to_back(distance, torch.tensor([[True, False, True]])) is None
    order = front_to_back(distance, torch.tensor([[True, True, True]]))
    assert order is not None and order.tolist() == [[0, 2, 1]]


def test_downsampling_keeps_constants_and_ramps() -> None:
    assert torch.allclose(downsample(torch.full((1, 2, 16, 16), 0.3), 4), torch.full((1, 2, 4, 4), 0.3), atol=1e-6)
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    small = downsample(ramp, 4)[0, 0, 4]
    assert torch.allclose(small[2:-2], torch.arange(1.5, 32, 4)[2:-2], atol=1e-4)  # linear in the middle


def test_downsampling_equals_the_published_separable_kernel() -> None:
    """k((i - 2f + 0.5) / f) / f over 4f taps, stride f, replicate padding of 1.5 f."""
    f = 4
    x = (torch.arange(4 * f) - 2 * f + 0.5) / f
    a, t = -0.5, x.abs()
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    kernel = torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t))) / f
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image, (6, 6, 6, 6), mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel.view(1, 1, 1, -1), stride=(1, f))
    expected = torch.nn.functional.conv2d(rows, kernel.view(1, 1, -1, 1), stride=(f, 1))
    assert torch.allclose(downsample(image, f), expected, atol=1e-5)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(BadConfig, match="multiples"):
        downsample(torch.zeros(1, 3, 10, 10), 4)
