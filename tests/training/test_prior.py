"""The prior of a reconstruction: the same heads before and after it is folded into the mappings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gramhd_core.networks.encoders import Encoder, EncoderConfig
from gramhd_core.networks.mapping import Mapping
from gramhd_core.training.prior import LatentPrior


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def correlated(n: int, rng: torch.Generator) -> Tensor:
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.3, 0.0], [0.0, -0.5, 2.0]])
    return torch.randn(n, 3, generator=rng) @ mix.mT + torch.tensor([1.0, -2.0, 0.5])


def fitted(rng: torch.Generator) -> LatentPrior:
    prior = LatentPrior(3)
    for _ in range(3000):
        prior.see(LatentPrior.moments(correlated(16, rng)))
    return prior


def test_a_prior_that_saw_nothing_is_the_unit_gaussian(rng: torch.Generator) -> None:
    noise = torch.randn(5, 3, generator=rng)
    torch.testing.assert_close(LatentPrior(3).draw(noise), noise, atol=1e-3, rtol=0)


def test_drawn_latents_have_mean_and_covariance_of_those_seen(rng: torch.Generator) -> None:
    drawn = fitted(rng).draw(torch.randn(200_000, 3, generator=rng))
    seen = correlated(200_000, rng)
    torch.testing.assert_close(drawn.mean(0), seen.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.mT.cov(), seen.mT.cov(), atol=0.25, rtol=0)


def test_a_folded_mapping_makes_of_noise_what_it_made_of_drawn_latents(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    mapping, prior, noise = Mapping(3, 7, hidden=5), fitted(rng), torch.randn(6, 3, generator=rng)
    before = mapping(prior.draw(noise))
    assert not torch.allclose(mapping(noise), before, atol=1e-2)
    prior.fold_into(torch.nn.ModuleDict({"mapping": mapping}))
    torch.testing.assert_close(mapping(noise), before, atol=1e-5, rtol=1e-4)


def test_a_folded_encoder_guesses_the_noise_that_draws_its_old_guess(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    encoder, prior = Encoder(EncoderConfig(image_size=8, widths=(4, 4, 4)), 3), fitted(rng)
    images = torch.randn(4, 3, 8, 8, generator=rng)
    before = encoder(images).mean
    prior.fold_into_encoder(encoder)
    torch.testing.assert_close(prior.draw(encoder(images).mean), before, atol=1e-4, rtol=1e-4)


def test_moments_of_parts_average_to_those_of_the_whole(rng: torch.Generator) -> None:
    z = correlated(8, rng)
    halves = torch.stack([LatentPrior.moments(z[:4]), LatentPrior.moments(z[4:])]).mean(dim=0)
    torch.testing.assert_close(halves, LatentPrior.moments(z))
