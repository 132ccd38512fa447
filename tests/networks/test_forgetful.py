"""Maps that are forgotten and made again: the same pictures and the same gradients, in less memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import SMALL_HIGH
from torch import Tensor

from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.networks import forgetful
from gramhd_core.networks.super_resolution import MapSuperResolution

WIDE = replace(SMALL_HIGH, sr=replace(SMALL_HIGH.sr, width=16, growth=16, up_channels=(16, 16)))


def learnt(config: GramHdConfig) -> dict[str, Tensor]:
    """Picture of two identities and what it teaches."""
    torch.manual_seed(0)
    generator = GramHd(config)
    trainable = generator.trainable()
    for name, p in generator.named_parameters():
        p.requires_grad_(name in trainable)
    latent = generator.latent(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)))
    made = generator.high_resolution(latent)
    image = made.scene.render(Camera.orbit(torch.tensor([0.0, 0.1]), torch.tensor([0.2, -0.3]), size=32)).rgb
    (image.square().mean() + made.scene.maps.square().mean() + made.scene.background.square().mean()).backward()
    found = {name: p.grad for name, p in trainable.items() if p.grad is not None}
    return {"image": image.detach(), **found}


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL_HIGH, WIDE], ids=["plain", "compiled"])
def test_what_is_made_again_teaches_the_same(config: GramHdConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = learnt(config)
    monkeypatch.setattr(forgetful, "ROOM", 0)
    calls = 0
    readable = MapSuperResolution.forward

    def counted(self: MapSuperResolution, maps: Tensor, style: Tensor) -> Tensor:
        nonlocal calls
        calls += len(maps) if torch.is_grad_enabled() else 0
        assert not torch.is_grad_enabled() or len(maps) == 1
        return readable(self, maps, style)

    monkeypatch.setattr(MapSuperResolution, "forward", counted)
    again = learnt(config)
    assert calls == 2 * 4 and kept.keys() == again.keys()
    for name, value in kept.items():
        assert (value - again[name]).abs().max() <= 1e-3 * value.abs().max() + 1e-6, name


def test_small_networks_keep_their_maps_and_published_ones_do_not() -> None:
    maps = torch.empty(4, 8, 8, 8)
    assert not forgetful.forgets(SMALL_HIGH.sr, maps)
    published = GramHdConfig().sr
    assert forgetful.forgets(published, torch.empty(23, 36, 64, 64, device="meta"))


@pytest.mark.parametrize("ups", [(8,), (8, 4)])
def test_the_estimate_of_activations_is_about_what_autograd_holds(ups: tuple[int, ...]) -> None:
    config = replace(SMALL_HIGH.sr, width=32, growth=16, blocks=2, up_channels=ups, background_up_channels=ups)
    network, held = MapSuperResolution(config), {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made = network(torch.rand(1, 8, 16, 16), torch.rand(1, sum(config.style_widths)))
    total = sum(size for place, size in held.items() if place not in weights)
    estimate = forgetful.activation_bytes(config, 16, blocks=config.blocks, ups=ups)
    assert made.requires_grad and 0.7 < estimate / total < 1.6, (estimate, total)
