"""What one head's maps have of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import SMALL_HIGH, thicken

from gramhd_core.checkpoints.saved_latent import latent_space
from gramhd_core.configs import to_dict
from gramhd_core.errors import BadConfig
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.map_offsets import MapOffsets

FILM = (3, 2, 4)


def offsets_of(film: torch.Tensor, *, side: int = 4) -> MapOffsets:
    offsets = MapOffsets(levels=2, side=side, film_shape=FILM).requires_grad_(False)
    offsets.film.copy_(film)
    offsets.maps.fill_(0.25)
    offsets.background.fill_(-0.5)
    return offsets


def test_offsets_are_whole_near_their_head_and_nothing_for_others():
    rng = torch.Generator().manual_seed(0)
    film, centre, other = torch.randn(3, *FILM, generator=rng)
    offsets = offsets_of(film)
    way = torch.stack([torch.lerp(film, centre, t) for t in (0.0, 0.7, 0.95, 1.25, 1.5)])
    share = offsets.share(way, centre)
    assert share[:2].tolist() == [1, 1] and share[2:4].tolist() == pytest.approx([0.75, 0.25], abs=1e-5)
    assert share[4] == 0 and offsets.share(centre + 3 * (other - centre)[None], centre) == 0


@pytest.mark.parametrize("side", [4, 8])
def test_offsets_are_added_by_their_share_at_any_size_and_opacity_stays_one(side):
    maps, background = torch.full((2, 2, 4, 8, 8), 0.9), torch.zeros(2, 3, 6, 6)
    made, behind = offsets_of(torch.ones(FILM), side=side)(maps, background, share=torch.tensor([1.0, 0.2]))
    assert torch.allclose(made[0, :, :3], torch.tensor(1.15)) and torch.allclose(made[1, :, :3], torch.tensor(0.95))
    assert torch.allclose(made[0, :, 3], torch.tensor(1.0)) and torch.allclose(made[1, :, 3], torch.tensor(0.95))
    assert torch.allclose(behind[0], torch.tensor(-0.5)) and torch.allclose(behind[1], torch.tensor(-0.1))


@pytest.fixture
def generator() -> GramHd:
    torch.manual_seed(0)
    manifolds = replace(SMALL_HIGH.low.manifolds, predictor="spheres")
    made = GramHd(replace(SMALL_HIGH, low=replace(SMALL_HIGH.low, manifolds=manifolds)))
    thicken(made)
    made.low.measure_centre()
    return made.eval().requires_grad_(False)


def test_a_generator_with_offsets_changes_one_head_only_and_keeps_its_latents(generator):
    latents = generator.latent(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    one, other = (Latent(latents.film[i : i + 1], latents.style[i : i + 1]) for i in range(2))
    before = [generator.scene(latent).maps for latent in (one, other)]
    space = latent_space(generator)
    offsets = generator.give_offsets(one, side=16)
    assert torch.equal(generator.scene(one).maps, before[0]), "they are zero to begin with"
    offsets.requires_grad_(False).maps[:, :3].fill_(0.5)
    assert torch.allclose(generator.scene(one).maps[:, :, :3], before[0][:, :, :3] + 0.5)
    assert torch.allclose(generator.scene(latents).maps[1:], before[1], atol=1e-6)
    assert latent_space(generator) == space and not any(name.startswith("offsets") for name in generator.trainable())
    again = GramHd(generator.config)
    again.load_state_dict(generator.state_dict())
    again.requires_grad_(False)
    assert to_dict(again.config)["map_offsets"] == 16
    assert torch.equal(again.scene(one).maps, generator.scene(one).maps)


def test_offsets_of_a_negative_side_are_refused():
    with pytest.raises(BadConfig, match="map_offsets"):
        replace(SMALL_HIGH, map_offsets=-1)
