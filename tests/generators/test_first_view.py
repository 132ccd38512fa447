"""The first view of an identity: every way to super-resolve makes the picture of the plain one."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from small import SMALL_HIGH, thicken

from gramhd_cli import options
from gramhd_core.errors import BadArgument
from gramhd_core.generators import gram_hd
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd, set_precision
from gramhd_core.networks import fast_super_resolution

WIDE = replace(SMALL_HIGH, sr=replace(SMALL_HIGH.sr, width=16, growth=16))


def wide() -> GramHd:
    """Wide enough for compiled convolutions; frozen, so that the plain path keeps no graph."""
    torch.manual_seed(0)
    generator = GramHd(WIDE)
    thicken(generator)
    torch.nn.init.normal_(generator.background.conv_last.weight, std=0.1)
    return generator.eval().requires_grad_(False)


def picture(generator: GramHd, *, plain: bool = False, identities: int = 2) -> torch.Tensor:
    """[N, 3, 32, 32] frontal. plain: as gradients are recorded, every network once over everything."""
    z = torch.randn(2, generator.latent_dim, generator=torch.Generator().manual_seed(1))[:identities]
    camera = generator.cameras.at(0.0, torch.zeros(identities), size=32)
    with torch.set_grad_enabled(plain):
        scene = generator.scene(generator.latent(z))
    with torch.no_grad():
        return scene.render(camera).rgb


def test_compiled_first_view_is_the_plain_one() -> None:
    generator = wide()
    plain = picture(generator, plain=True)
    assert plain.std() > 0.05, "something to compare"
    assert (picture(generator) - plain).abs().max() < 1e-4


def test_chunked_first_view_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_hd, "CHUNK_PIXELS", 3 * 32 * 32)  # four maps in chunks of three
    generator = wide()
    monkeypatch.setattr(GramHd, "_compiled", lambda self, maps: False)
    assert (picture(generator) - picture(generator, plain=True)).abs().max() < 1e-4


def test_first_view_in_bf16_is_close_but_not_equal() -> None:
    generator = wide()
    generator.precision = "bf16"
    error = (picture(generator) - picture(generator, plain=True)).abs().max()
    assert 1e-6 < error < 1e-2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.no_grad()
def test_same_latent_same_bits_whatever_the_batch(precision: str) -> None:
    generator = wide()
    set_precision(generator, precision)
    latent = generator.latent(torch.randn(3, generator.latent_dim))
    whole, alone = generator.scene(latent), generator.scene(latent[1])
    assert torch.equal(whole.maps[1:2], alone.maps) and torch.equal(whole.background[1:2], alone.background)


def test_bf16_is_chosen_by_name_or_by_machine_and_never_by_machine_in_compatible_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator, compatible, device = wide(), GramHd(WIDE.compatible()), torch.device("cpu")
    for fast in (True, False):
        monkeypatch.setattr(gram_hd, "fast_in_bf16", lambda device, fast=fast: fast)
        for one in (generator, compatible):
            chosen = []
            for precision in ("auto", "fp32", "bf16"):
                set_precision(one, precision)
                chosen.append(one._in_bf16(device))
            assert chosen == [fast and one is generator, False, True]


def test_autocast_around_the_generator_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = wide()
    monkeypatch.setattr(fast_super_resolution, "super_resolve", None)  # would fail if it were called
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(picture(generator)).all()


def test_the_program_offers_the_precisions_there_are() -> None:
    assert options.PRECISIONS == get_args(gram_hd.Precision)


def test_bf16_is_refused_where_nothing_is_super_resolved() -> None:
    generator = Gram(SMALL_HIGH.low)
    set_precision(generator, "auto")
    with pytest.raises(BadArgument, match="super-resolution"):
        set_precision(generator, "bf16")
