"""Learning from photographs themselves: alone or beside the adversary; resumed; handed on to the next stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from tiny_runs import hr, losses, lr

from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.errors import BadConfig
from gramhd_core.networks.encoders import Encoder, EncoderConfig
from gramhd_core.training.config import RunConfig
from gramhd_core.training.reconstruction import difference
from gramhd_core.training.run import Run
from gramhd_core.training.train_hr import recipe_hr, train_hr
from gramhd_core.training.train_lr import recipe_lr, train_lr

pytestmark = pytest.mark.slow

SMALL = EncoderConfig(image_size=8, widths=(8, 8, 8))


def small(config: RunConfig, *settings: str) -> RunConfig:
    """A tiny preset that reconstructs."""
    on = ["train.reconstruction=1", "train.reconstruction_lr=0.002", "train.batch=8", "encoder.image_size=8"]
    again = lr if config.stage == "lr" else hr
    return again(*on, "encoder.widths=8,8,8", *settings)


def low(*settings: str) -> RunConfig:
    return small(lr(), *settings)


@pytest.fixture(scope="module")
def run(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reconstruction") / "run"
    train_lr(heads, out, config=low("train.images=64", "train.adversary=false"))
    return out


def test_photographs_alone_teach(tmp_path: Path) -> None:
    heads = prepare_procedural(8, tmp_path / "heads", size=32, workers=1).out
    field = [
        f"generator.field.{name}" for name in ("start_density=5", "delta=1", "frequency_gain=5", "frequency_bias=12")
    ]
    schedule = ["train.images=400", "train.reconstruction_lr=0.003", "train.save_every=400", "train.sample_every=400"]
    train_lr(heads, tmp_path / "run", config=low("train.adversary=false", *field, *schedule))
    line = [values["reconstruction"] for values in losses(tmp_path / "run")]
    assert mean(line[-5:]) < 0.8 * mean(line[:5])


def test_without_an_adversary_the_discriminator_stays_as_it_began(heads: Path, run: Path, tmp_path: Path) -> None:
    config = low("train.images=64", "train.adversary=false")
    fresh = Run(recipe_lr(config), DatasetReader(heads, size=16, mirror=True), tmp_path / "new", device="cpu")
    trained = Run(recipe_lr(config), DatasetReader(heads, size=16, mirror=True), run, device="cpu")
    trained.resume()
    for a, b in zip(fresh.discriminator.parameters(), trained.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any("d_real" in values for values in losses(run))


def test_the_adversary_joins_in_two_steps(heads: Path, tmp_path: Path) -> None:
    steps = ("train.discriminator_from=16", "train.adversarial_from=32", "train.images=48")
    train_lr(heads, tmp_path / "run", config=low(*steps))
    seen = [("d_real" in values, "g_fake" in values) for values in losses(tmp_path / "run")]
    assert seen == [(False, False)] * 2 + [(True, False)] * 2 + [(True, True)] * 2


@pytest.mark.parametrize(
    "switch",
    ["train.reconstruction=2", "train.divergence=0.01", "train.reconstruction_lr=0.01", "train.cooldown=64"],
)
def test_every_switch_of_a_reconstruction_changes_the_losses(
    switch: str, heads: Path, run: Path, tmp_path: Path
) -> None:
    train_lr(heads, tmp_path / "run", config=low("train.images=64", "train.adversary=false", switch))
    assert losses(tmp_path / "run") != losses(run)


def test_a_reconstruction_resumes_bit_identically(heads: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_lr(heads, out, config=low("train.images=24", "train.adversary=false"))
    train_lr(heads, out, config=low("train.images=64", "train.adversary=false"))
    assert losses(out) == losses(run)


def test_pieces_of_a_batch_reconstruct_like_the_whole(heads: Path, run: Path, tmp_path: Path) -> None:
    train_lr(heads, tmp_path / "run", config=low("train.images=64", "train.adversary=false", "train.micro_batches=4"))
    for ours, theirs in zip(losses(tmp_path / "run"), losses(run), strict=True):
        assert ours["reconstruction"] == pytest.approx(theirs["reconstruction"], rel=1e-3)


def test_the_published_model_makes_of_noise_what_the_run_makes_of_its_latents(heads: Path, run: Path) -> None:
    config = low("train.images=64", "train.adversary=false")
    live = Run(recipe_lr(config), DatasetReader(heads, size=16, mirror=True), run, device="cpu")
    live.resume()
    assert live.reconstruction is not None
    published, noise = load_generator(run), torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    ours = live.ema.average.latent(live.reconstruction.prior.draw(noise)).film
    torch.testing.assert_close(published.latent(noise).film, ours, atol=1e-4, rtol=1e-4)


def test_stage_two_goes_on_with_the_encoder_of_stage_one(heads: Path, run: Path, tmp_path: Path) -> None:
    config = small(hr(), "train.images=16", "train.consistency_weight=0")
    reader = DatasetReader(heads, size=32, mirror=True)
    high = Run(recipe_hr(config, run), reader, tmp_path / "hr", device="cpu")
    before = Run(recipe_lr(low("train.images=64", "train.adversary=false")), reader, run, device="cpu")
    before.resume()
    assert high.encoder is not None and before.encoder is not None and before.reconstruction is not None
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    again = before.reconstruction.prior.draw(high.encoder(image).mean)
    torch.testing.assert_close(again, before.encoder(image).mean, atol=1e-3, rtol=1e-3)
    train_hr(heads, tmp_path / "hr", lr_checkpoint=run, config=config)
    parent = Checkpoint.load(run / "checkpoints" / "step00000008.safetensors")
    model = Checkpoint.load(tmp_path / "hr" / "checkpoints" / "step00000002.safetensors")
    frozen = "field.network.0.layer.weight"
    assert torch.equal(model.weights["low." + frozen], parent.weights[frozen])


def test_difference_is_that_of_the_mean_where_nothing_else_differs() -> None:
    flat = torch.zeros(1, 3, 16, 16)
    assert difference(flat + 0.25, flat) == pytest.approx(0.25)
    fine = flat.clone()
    fine[..., ::2] = 0.5
    fine[..., 1::2] = -0.5
    assert 0.5 / 3 <= difference(fine, flat) < 0.25  # stripes vanish at the smaller scales


def test_a_discriminator_to_wait_for_needs_something_else_to_learn_from() -> None:
    for setting in ("train.adversary=false", "train.discriminator_from=8", "train.adversarial_from=8"):
        with pytest.raises(BadConfig, match="nothing to learn from"):
            lr(setting)


def test_encoder_begins_near_the_prior_and_takes_any_size() -> None:
    torch.manual_seed(0)
    encoder = Encoder(SMALL, 5)
    for size in (4, 8, 32):
        guess = encoder(torch.rand(2, 3, size, size))
        assert guess.mean.shape == guess.log_variance.shape == (2, 5) and guess.divergence() < 20
    with pytest.raises(BadConfig, match="halved once per width"):
        replace(SMALL, image_size=16)


def test_divergence_of_the_prior_from_itself_is_zero_and_otherwise_by_hand() -> None:
    from gramhd_core.networks.encoders import Guess

    assert Guess(torch.zeros(2, 3), torch.zeros(2, 3)).divergence() == 0
    assert float(Guess(torch.full((1, 1), 2.0), torch.zeros(1, 1)).divergence()) == pytest.approx(2.0)
