"""An encoder that guesses the latents of the model it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.gram import Gram
from gramhd_core.networks.encoders import EncoderConfig
from gramhd_core.outputs.inversion.encoder import (
    EncoderTraining,
    draw_samples,
    guess,
    load_encoder,
    save_encoder,
    train_encoder,
)
from gramhd_core.outputs.inversion.spaces import spaces_of

QUICK = EncoderTraining(EncoderConfig(16, (8, 16, 24, 32)), heads=24, epochs=80, batch=8, rate=4e-3)


@pytest.fixture
def frozen(small_gram: Gram) -> Gram:
    return small_gram.eval().requires_grad_(False)


@pytest.mark.slow
def test_an_encoder_learns_the_heads_it_has_seen(frozen: Gram) -> None:
    samples = draw_samples(frozen, spaces_of(frozen), QUICK)
    encoder = train_encoder(samples, QUICK)
    error = (samples.answers - encoder(samples.pictures.float()).mean).square().mean()
    assert float(error) < 0.5 * float(samples.answers.square().mean())


def test_the_same_seed_makes_the_same_samples_and_the_same_encoder(frozen: Gram) -> None:
    spaces = spaces_of(frozen)
    short = replace(QUICK, heads=8, epochs=1)
    one, other = (draw_samples(frozen, spaces, short) for _ in range(2))
    assert torch.equal(one.pictures, other.pictures) and torch.equal(one.answers, other.answers)
    a, b = (train_encoder(one, short).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_encoder_is_saved_with_its_model_and_refuses_others(frozen: Gram, tmp_path: Path) -> None:
    spaces = spaces_of(frozen)
    short = replace(QUICK, heads=8, epochs=1)
    encoder = train_encoder(draw_samples(frozen, spaces, short), short)
    save_encoder(tmp_path / "encoder.safetensors", encoder, frozen)
    photo = torch.zeros(1, 3, 16, 16)
    again = load_encoder(tmp_path / "encoder.safetensors", frozen)
    assert torch.equal(guess(again, frozen, photo).w, guess(encoder, frozen, photo).w)
    other = Gram(frozen.config).eval().requires_grad_(False)
    with pytest.raises(BadCheckpoint, match="another model"):
        load_encoder(tmp_path / "encoder.safetensors", other)


def test_a_known_pose_is_not_guessed(frozen: Gram) -> None:
    short = replace(QUICK, heads=8, epochs=1)
    encoder = train_encoder(draw_samples(frozen, spaces_of(frozen), short), short)
    known = torch.tensor([[0.1, 0.2, 0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(guess(encoder, frozen, torch.zeros(1, 3, 16, 16), known=known).pose, known)
