"""Super-resolution networks and discriminators: shapes, modulation, starts, the two sides of every switch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import SMALL_SR

from gramhd_core.errors import BadConfig
from gramhd_core.geometry.resample import downsample
from gramhd_core.networks.discriminators import Discriminator, DiscriminatorConfig, coordinates
from gramhd_core.networks.super_resolution import (
    BackgroundSuperResolution,
    MapSuperResolution,
    ModulatedConv,
)

SMALL = replace(SMALL_SR, features=2)


def test_modulated_convolution_equals_scaling_input_and_normalising_output() -> None:
    torch.manual_seed(0)
    conv, style = ModulatedConv(6, 5, 3), torch.randn(2, 6)
    maps = torch.randn(2 * 3, 6, 7, 7)
    each = style.repeat_interleave(3, dim=0)
    scaled = F.conv2d(maps * each[:, :, None, None], conv.weight, padding=1)
    squares = (conv.weight.square().sum(dim=(2, 3))[None] * style.square()[:, None]).sum(-1)  # [2, out]
    gain = (squares + 1e-8).rsqrt().repeat_interleave(3, dim=0)[:, :, None, None]
    expected = scaled * gain + conv.bias[:, None, None]
    assert torch.allclose(conv(maps, style), expected, atol=1e-5)


def test_foreground_scales_maps_and_keeps_alpha_in_range() -> None:
    torch.manual_seed(0)
    network = MapSuperResolution(SMALL)
    out = network(torch.rand(2 * 3, 6, 5, 5), network.mapping(torch.randn(2, 8)))
    assert out.shape == (6, 4, 20, 20)
    assert out[:, 3].min() > 0 and out[:, 3].max() < 1


def test_residual_start_is_the_upsampled_input_and_published_start_is_not() -> None:
    torch.manual_seed(0)
    maps = torch.rand(3, 6, 5, 5) * 0.9 + 0.05
    up = F.interpolate(maps[:, :4], scale_factor=4, mode="bilinear")
    for start in ("residual", "published"):
        network = MapSuperResolution(replace(SMALL, start=start))
        out = network(maps, network.mapping(torch.randn(1, 8)))
        assert torch.allclose(out, up, atol=1e-5) == (start == "residual")


def test_residual_start_still_learns() -> None:
    torch.manual_seed(0)
    network = MapSuperResolution(replace(SMALL, start="residual"))
    network(torch.rand(1, 6, 5, 5), network.mapping(torch.randn(1, 8)))[:, 0].mean().backward()
    assert network.detail.grad is not None and network.detail.grad.abs().sum() > 0


def test_background_starts_as_the_bicubic_input() -> None:
    rgb = torch.rand(2, 3, 6, 6)
    out = BackgroundSuperResolution(SMALL)(rgb)
    assert torch.allclose(out, F.interpolate(rgb, scale_factor=4, mode="bicubic"), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "image", "patch"),
    [(64, 12_098_003, 0), (256, 12_391_827, 2_763_841), (512, 12_407_347, 693_793), (1024, 12_411_523, 437_009)],
)
def test_published_discriminators_have_the_published_number_of_parameters(size: int, image: int, patch: int) -> None:
    with torch.device("meta"):
        network = Discriminator(DiscriminatorConfig(size, patch=patch > 0))
    inside = 0 if network.patch is None else sum(p.numel() for p in network.patch.parameters())
    assert (sum(p.numel() for p in network.parameters()) - inside, inside) == (image, patch)


def test_patch_map_has_the_published_size() -> None:
    network = Discriminator(DiscriminatorConfig(256, (4,) * 8, patch=True))
    assert network(torch.zeros(1, 3, 256, 256)).patches.shape == (1, 30 * 30)


def test_coordinates_name_rows_then_columns() -> None:
    rows, columns = coordinates(torch.zeros(1, 1, 3, 3))[0]
    assert rows[0].tolist() == [-1, -1, -1] and columns[0].tolist() == [-1, 0, 1]


@pytest.mark.parametrize("std", [True, False])
def test_minibatch_spread_lets_the_verdict_see_the_batch(std: bool) -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(8, (4, 4, 4), coordinates="input", minibatch_std=std))
    a, b = torch.rand(2, 3, 8, 8)
    same, mixed = network(torch.stack([a, a])).realness[0], network(torch.stack([a, b])).realness[0]
    assert torch.isclose(same, mixed).item() == (not std)


@pytest.mark.parametrize("where", ["every", "input"])
def test_discriminator_sees_where_things_are(where: str) -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(16, (4, 8, 8, 8), coordinates=where))
    flat = torch.zeros(1, 3, 16, 16)
    left, right = flat.clone(), flat.clone()
    left[..., 4:8], right[..., 8:12] = 1, 1
    assert not torch.allclose(network(left).angles, network(right).angles, atol=1e-5)


@torch.no_grad()
def test_a_grown_discriminator_begins_by_judging_as_the_small_one_did() -> None:
    torch.manual_seed(0)
    small = Discriminator(DiscriminatorConfig(8, (4, 6, 8), coordinates="input", minibatch_std=True))
    large = Discriminator(DiscriminatorConfig(32, (2, 3, 4, 6, 8), coordinates="input", minibatch_std=True, entries=3))
    image = torch.rand(3, 3, 32, 32)
    before = large(image).realness
    large.grow_from(small.state_dict())
    assert torch.allclose(large(image).realness, small(downsample(image, 4)).realness, atol=1e-6)
    assert not torch.allclose(before, large(image).realness, atol=1e-4)
    wider = DiscriminatorConfig(64, (2, 2, 3, 4, 6, 8), coordinates="input", minibatch_std=True, entries=4)
    larger = Discriminator(wider)
    large.gains.fill_(0.3)
    larger.grow_from(large.state_dict())  # growing twice keeps what was grown
    image64 = torch.rand(3, 3, 64, 64)
    assert torch.allclose(larger(image64).realness, large(downsample(image64, 2)).realness, atol=1e-3)
    large.gains.fill_(0.5)
    assert not torch.allclose(large(image).realness, small(downsample(image, 4)).realness, atol=1e-4)


def test_a_discriminator_with_other_last_layers_cannot_be_grown_from() -> None:
    small = Discriminator(DiscriminatorConfig(8, (4, 6, 8), coordinates="input"))
    for widths, entries in (((2, 4, 6, 9), 2), ((2, 4, 6, 8), 1)):
        large = Discriminator(DiscriminatorConfig(16, widths, coordinates="input", entries=entries))
        with pytest.raises(BadConfig, match="smaller discriminator"):
            large.grow_from(small.state_dict())


def test_smooth_upsampling_makes_no_checkerboard_of_random_weights() -> None:
    """Energy at the highest frequency: shuffled channels differ per pixel parity, smooth ones do not."""
    energy = {}
    for kind in ("shuffle", "bilinear"):
        torch.manual_seed(0)
        network = MapSuperResolution(replace(SMALL, up_channels=(8,), background_up_channels=(8,), upsampling=kind))
        out = network(torch.full((1, 6, 64, 64), 0.5), network.mapping(torch.randn(1, 8)))[0, 0, 48:-48, 48:-48]
        energy[kind] = float((out[::2] - out[1::2]).detach().abs().mean())
    assert energy["bilinear"] < 1e-5 < energy["shuffle"]


def test_sizes_and_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadConfig, match="power of two"):
        DiscriminatorConfig(48).channels()
    with pytest.raises(BadConfig, match="entries"):
        DiscriminatorConfig(16, (4, 4)).channels()
