"""Compiled convolutions are torch's convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gramhd_core.networks import winograd
from gramhd_core.networks.winograd_kernels import INPUT, OUTPUT, doubled, project


def picture(x: torch.Tensor) -> np.ndarray:
    """[C, H, W] -> a framed picture."""
    channels, height, width = x.shape
    framed = winograd.framed(height, width, channels)
    framed[1 : height + 1, 1 : width + 1, :channels] = x.permute(1, 2, 0).numpy()
    return framed


def pixels(framed: np.ndarray, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(framed[1 : height + 1, 1 : width + 1, :channels]).permute(2, 0, 1)


def drawn(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(outputs + inputs)
    return torch.randn(outputs, inputs, 3, 3, generator=rng) / (3 * inputs**0.5), torch.randn(outputs, generator=rng)


def test_the_algebra_of_tiles_is_exact_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    w, d = rng.normal(size=(3, 3)), rng.normal(size=(6, 6))
    tile = OUTPUT @ ((winograd.FILTER @ w @ winograd.FILTER.T) * (INPUT @ d @ INPUT.T))
    direct = [[(w * d[i : i + 3, j : j + 3]).sum() for j in range(4)] for i in range(4)]
    assert np.allclose(tile @ OUTPUT.T, direct, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7), (1, 18), (33, 4)])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 16), (40, 24), (3, 5)])
def test_a_compiled_convolution_is_a_convolution(outputs: int, inputs: int, height: int, width: int) -> None:
    (weight, bias), x = drawn(outputs, inputs), torch.randn(inputs, height, width)
    kernel = winograd.prepared(weight.numpy(), bias.numpy())
    made = winograd.convolve(picture(x), kernel, size=(height, width), slope=0.2)
    expected = F.leaky_relu(F.conv2d(x[None], weight, bias, padding=1), 0.2)[0]
    assert torch.allclose(pixels(made, outputs, height, width), expected, atol=3e-5)


def test_a_picture_is_zero_outside_of_its_pixels() -> None:
    (weight, bias), x = drawn(16, 16), torch.randn(16, 5, 7)
    made = winograd.convolve(picture(x), winograd.prepared(weight.numpy(), bias.numpy()), size=(5, 7))
    made[1:6, 1:8] = 0
    assert not made.any()


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    (weight, bias), x = drawn(32, 16), picture(torch.randn(16, 24, 24))
    kernel = winograd.prepared(weight.numpy(), bias.numpy())
    whole = winograd.convolve(x, kernel, size=(24, 24))
    monkeypatch.setattr(winograd, "STRIP", 12)
    assert np.array_equal(winograd.convolve(x, kernel, size=(24, 24)), whole)


@pytest.mark.parametrize("outputs", [64, 24])
def test_shuffling_is_pixel_shuffle(outputs: int) -> None:
    (weight, bias), x = drawn(outputs, 16), torch.randn(16, 6, 5)
    kernel = winograd.prepared(weight.numpy(), bias.numpy(), shuffle=True)
    made = winograd.convolve(picture(x), kernel, size=(6, 5), slope=0.2, shuffle=True)
    expected = F.leaky_relu(F.pixel_shuffle(F.conv2d(x[None], weight, bias, padding=1), 2), 0.2)[0]
    assert torch.allclose(pixels(made, outputs // 4, 12, 10), expected, atol=3e-5)


def test_doubling_is_bilinear_interpolation() -> None:
    x = torch.randn(3, 5, 6)
    made = pixels(doubled(picture(x), (5, 6)), 3, 10, 12)
    assert torch.allclose(made, F.interpolate(x[None], scale_factor=2, mode="bilinear")[0], atol=1e-6)


def test_projection_is_a_convolution_of_one_pixel() -> None:
    x, weight, bias = torch.randn(20, 5, 6), torch.randn(4, 32), torch.randn(4)
    made = project(picture(x), weight.numpy(), bias.numpy(), (5, 6))
    expected = F.conv2d(x[None], weight[:, :20, None, None], bias)[0]
    assert torch.allclose(torch.from_numpy(made), expected, atol=1e-5)
