"""A guess at a photograph's head and camera in one pass: an encoder trained on the model's own samples.

The model makes the pictures, so it knows their latents; nothing else is needed. What is guessed is W's coordinates (K)
and the pose (6), both in standard deviations: [B, K + 6] (networks/encoders.py: `Guess`). Pictures [B, 3, S, S].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramhd_core import __version__
from gramhd_core.checkpoints.saved_latent import latent_space
from gramhd_core.configs import at_least, from_dict, to_dict
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.generators.generator import Generator
from gramhd_core.networks.encoders import Encoder, EncoderConfig
from gramhd_core.outputs.inversion.losses import reduced
from gramhd_core.outputs.inversion.photo_camera import camera_of, expected_pose
from gramhd_core.outputs.inversion.spaces import LatentSpaces
from gramhd_core.outputs.inversion.start import Candidates, draft_scene
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.tensor_files import load_tensors, save_tensors

KIND = "inversion encoder"
BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class EncoderTraining:
    """heads: how many are made, each seen once; the same pictures are learned from `epochs` times."""

    encoder: EncoderConfig = EncoderConfig()
    heads: int = 4000
    epochs: int = 6
    batch: int = 32
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "heads", "epochs", "batch")


class Samples(NamedTuple):
    """pictures float16 [N, 3, s, s]; answers [N, K + 6]."""

    pictures: Tensor
    answers: Tensor


@torch.no_grad()
def draw_samples(
    generator: Generator, spaces: LatentSpaces, config: EncoderTraining, *, progress: Progress | None = None
) -> Samples:
    """Heads of the model under cameras of aligned crops, as drafts: small pictures need no super-resolution."""
    progress = progress or Silent()
    rng = torch.Generator().manual_seed(config.seed)
    size = config.encoder.image_size
    mean, sd = expected_pose(generator.cameras, like=spaces.mean)
    pictures, answers = [], []
    progress.start("heads for the encoder", config.heads)
    for _ in range(config.heads):
        z = torch.randn(1, generator.latent_dim, generator=rng).to(spaces.mean)
        pose = torch.randn(1, 6, generator=rng).to(spaces.mean)
        w = spaces.coordinates(spaces.hidden(z))
        scene = draft_scene(generator, spaces.latent(w), size=size)
        camera = camera_of(mean + sd * pose, generator.cameras, size=size)
        seen = scene.render(camera, twin="readable") if isinstance(scene, RadianceManifolds) else scene.render(camera)
        pictures.append(seen.rgb.half())
        answers.append(torch.cat([w, pose], dim=1))
        progress.advance()
    progress.finish()
    return Samples(torch.cat(pictures), torch.cat(answers))


def train_encoder(samples: Samples, config: EncoderTraining, *, progress: Progress | None = None) -> Encoder:
    """Regression of answers on pictures: their mean, with the error's own variance (a Gaussian likelihood)."""
    progress = progress or Silent()
    rng = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):  # first weights: torch draws them from its global stream
        torch.manual_seed(config.seed)
        encoder = Encoder(config.encoder, samples.answers.shape[1]).to(samples.answers)
    n = len(samples.pictures)
    steps = config.epochs * -(-n // config.batch)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=config.rate, betas=BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    progress.start("the encoder", steps)
    for _ in range(config.epochs):
        for places in torch.randperm(n, generator=rng).split(config.batch):
            guess = encoder(samples.pictures[places].to(samples.answers))
            off = samples.answers[places] - guess.mean
            loss = 0.5 * (off.square() * torch.exp(-guess.log_variance) + guess.log_variance).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            progress.advance(note=f"loss {loss.item():.3f}")
    progress.finish()
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def guess(encoder: Encoder, generator: Generator, photo: Tensor, *, known: Tensor | None = None) -> Candidates:
    """photo [1, 3, S, S] -> one candidate; known: a pose [1, 6] that is not guessed."""
    answer = encoder(reduced(photo, encoder.config.image_size)).mean
    mean, sd = expected_pose(generator.cameras, like=answer)
    pose = mean + sd * answer[:, -6:] if known is None else known.to(answer)
    return Candidates(answer[:, :-6], pose, answer.new_zeros(1))


def save_encoder(
    path: Path | str, encoder: Encoder, generator: Generator, *, provenance: dict[str, Any] | None = None
) -> None:
    """One safetensors file that says which latents it guesses."""
    header = {
        "kind": KIND,
        "space": latent_space(generator),
        "numbers": encoder.z_dim,
        "config": to_dict(encoder.config),
        "provenance": {"version": __version__, **(provenance or {})},
    }
    save_tensors(path, dict(encoder.state_dict()), header)


def load_encoder(path: Path | str, generator: Generator) -> Encoder:
    """The inverse of `save_encoder`. BadCheckpoint in one sentence for other files and for encoders of other models."""
    tensors, header = load_tensors(path)
    if header.get("kind") != KIND:
        raise BadCheckpoint(
            f"{path} is no encoder",
            expected="a file written by gramhd train-encoder is needed",
            remedy="make one with gramhd train-encoder, or leave --encoder out",
        )
    if header.get("space") != latent_space(generator):
        raise BadCheckpoint(
            f"{path} belongs to another model",
            expected="an encoder guesses latents of the model it was trained with",
            remedy="train one for this checkpoint: gramhd train-encoder --ckpt CKPT --out FILE",
        )
    try:
        encoder = Encoder(from_dict(EncoderConfig, header["config"]), int(header["numbers"]))
        encoder.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, BadConfig) as error:
        raise BadCheckpoint(
            f"{path} holds no whole encoder ({str(error).splitlines()[0]})",
            expected="the file that gramhd train-encoder writes is needed",
            remedy="make it again",
        ) from error
    return encoder.eval().requires_grad_(False).to(next(iter(_parameters(generator))))


def _parameters(generator: Generator) -> Any:
    assert isinstance(generator, torch.nn.Module)
    return generator.parameters()
