"""The compiled super-resolution networks are the readable ones."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from small import SMALL_SR
from torch import Tensor

from gramhd_core.networks.fast_super_resolution import super_resolve
from gramhd_core.networks.super_resolution import (
    BackgroundSuperResolution,
    MapSuperResolution,
    SuperResolutionConfig,
)

WIDE = replace(SMALL_SR, features=5, width=32, growth=16, up_channels=(16, 12), background_up_channels=(16, 8))


class Low(NamedTuple):
    maps: Tensor
    background: Tensor


def networks(config: SuperResolutionConfig) -> tuple[MapSuperResolution, BackgroundSuperResolution]:
    torch.manual_seed(0)
    foreground, background = MapSuperResolution(config), BackgroundSuperResolution(config)
    for p in [*foreground.parameters(), *background.conv_last.parameters()]:
        if not p.any():
            torch.nn.init.normal_(p, std=0.5)  # what starts at zero would hide mistakes
    return foreground, background


def low(n: int, levels: int, g: int) -> Low:
    rng = torch.Generator().manual_seed(n)
    return Low(torch.rand(n, levels, 9, g, g, generator=rng), torch.rand(n, 3, g, g, generator=rng))


@pytest.mark.parametrize("upsampling", ["shuffle", "bilinear"])
@pytest.mark.parametrize("start", ["published", "residual"])
@pytest.mark.parametrize(("g", "width", "growth"), [(8, 32, 16), (7, 32, 16), (1, 16, 48)])
@torch.no_grad()
def test_compiled_networks_make_what_the_readable_ones_make(
    upsampling: str, start: str, g: int, width: int, growth: int
) -> None:
    config = replace(WIDE, upsampling=upsampling, start=start, width=width, growth=growth)
    foreground, background = networks(config)
    given, style = low(2, 3, g), foreground.mapping(torch.randn(2, 8, generator=torch.Generator().manual_seed(3)))
    maps, rgb = super_resolve(foreground, background, given, style)
    expected = foreground(given.maps.flatten(0, 1), style)
    assert torch.allclose(maps.flatten(0, 1), expected, atol=2e-5)
    assert torch.allclose(rgb, background(given.background), atol=2e-5)
    assert expected.std() > 0.1, "something to compare"


@torch.no_grad()
def test_networks_of_other_widths_are_refused_before_memory_is_touched() -> None:
    foreground, background = networks(replace(WIDE, growth=8))
    with pytest.raises(AssertionError, match="whole registers"):
        super_resolve(foreground, background, low(1, 1, 8), foreground.mapping(torch.randn(1, 8)))


@torch.no_grad()
def test_neither_the_batch_nor_the_number_of_threads_changes_a_bit() -> None:
    foreground, background = networks(WIDE)
    given, style = low(2, 2, 8), foreground.mapping(torch.randn(2, 8))
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(super_resolve(foreground, background, given, style))
    finally:
        torch.set_num_threads(threads)
    alone = super_resolve(foreground, background, Low(given.maps[1:, :1], given.background[1:]), style[1:])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.equal(results[0][0][1:, :1], alone[0]) and torch.equal(results[0][1][1:], alone[1])


@pytest.mark.parametrize(
    ("config", "wide"),
    [(WIDE, True), (SuperResolutionConfig(), True), (replace(WIDE, growth=8), False), (replace(WIDE, blocks=0), False)],
)
def test_only_networks_that_fill_registers_are_wide(config: SuperResolutionConfig, wide: bool) -> None:
    assert config.is_wide == wide
