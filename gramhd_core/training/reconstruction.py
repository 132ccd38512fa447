"""Learning from photographs themselves, beside or before the adversary (VAE: lower bound; VAE-GAN: training).

A recognition network guesses the latent of every training image; seen from that image's own camera, the scene must be
that image. Gradients are dense, nothing can collapse, and a field learns shape and colours in a tenth of the images
that a discriminator alone needs. B images in [-1, 1], S x S; angles [B, 2] = (pitch, yaw), radians.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.resample import downsample
from gramhd_core.networks.encoders import Encoder
from gramhd_core.training.config import TrainConfig
from gramhd_core.training.gan_step import Fakes
from gramhd_core.training.guards import backward, careful_update, optimiser_for
from gramhd_core.training.prior import LatentPrior
from gramhd_core.world import ALONE, World

BETAS = (0.9, 0.99)
SCALES = (1, 2, 4)  # images are compared at these reductions


class Reconstruction:
    """The encoder, its optimiser (which moves the generator as well), what latents it draws, and one step."""

    def __init__(
        self,
        config: TrainConfig,
        encoder: Encoder,
        trainable: list[nn.Parameter],
        draw: Callable[[Tensor, Camera], Fakes],
        cameras: CameraPrior,
        world: World = ALONE,
    ):
        self.config, self.encoder, self.draw, self.cameras = config, encoder, draw, cameras
        self.world = world
        self.parameters = [*trainable, *encoder.parameters()]
        self.optimiser = optimiser_for(self.parameters, lr=config.reconstruction_lr, betas=BETAS)
        self.prior = LatentPrior(encoder.z_dim, device=encoder.leave.weight.device)

    def __call__(self, reals: Tensor, angles: Tensor, rng: torch.Generator) -> dict[str, float]:
        """reals [B, 3, S, S], angles [B, 2]: this process's part of the batch; draws the encoder's noise from rng.

        Always in float32. Returns named losses, and `faulty`: 1 if the update was left out because something was not
        finite, otherwise 0.
        """
        c = self.config
        batch = len(reals) * self.world.size
        part = self.world.part(batch, micro_batches=c.micro_batches)
        noise = torch.randn(batch, self.encoder.z_dim, generator=rng)[part.places].to(reals.device)
        log: dict[str, Tensor] = {}
        latents = []
        for real, angle, unit in zip(*(t.chunk(part.pieces) for t in (reals, angles, noise)), strict=True):
            guess = self.encoder(real)
            latents.append(guess.draw(unit))
            made = self.draw(latents[-1], self.cameras.at(angle[:, 0], angle[:, 1], size=real.shape[-1]))
            parts = {
                "reconstruction": c.reconstruction * difference(made.image, real),
                "divergence": c.reconstruction * c.divergence * guess.divergence(),
                **made.extra,
            }
            backward(torch.stack(list(parts.values())).sum() / part.pieces)
            for name, loss in parts.items():
                log[name] = log.get(name, 0) + loss.detach() / part.pieces
        self.world.average_gradients(self.parameters)
        update = careful_update(self.optimiser, self.parameters, clip=c.clip)
        log["faulty"] = (~update.made).float()
        moments = self.prior.moments(torch.cat(latents))
        shared = self.world.average(torch.cat([torch.stack(list(log.values())), moments]))
        losses, moments = shared.split([len(log), len(moments)])
        values = dict(zip(log, losses.tolist(), strict=True))  # one transfer from the device
        if not values["faulty"]:
            self.prior.see(moments)
        return values

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        return {
            "encoder": dict(self.encoder.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "prior": self.prior.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.prior.restore(state["prior"])


def difference(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference, averaged over the scales 1, 1/2 and 1/4."""
    sizes = [scale for scale in SCALES if real.shape[-1] % scale == 0]
    return torch.stack([F.l1_loss(downsample(made, s), downsample(real, s)) for s in sizes]).mean()
