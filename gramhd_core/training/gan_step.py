"""One training step: the discriminator's update, then the generator's. Knows no family and no files.

B images of one micro-batch, S x S, in [-1, 1]; angles [B, 2] = (pitch, yaw), radians.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gramhd_core.networks.discriminators import Discriminator, Verdict
from gramhd_core.training import losses
from gramhd_core.training.config import TrainConfig
from gramhd_core.training.guards import Update, backward, careful_update
from gramhd_core.world import ALONE, World

BETAS = (0.0, 0.9)


class Fakes(NamedTuple):
    """image [B, 3, S, S]; angles [B, 2]; extra: the generator's own losses by name, already weighted."""

    image: Tensor
    angles: Tensor
    extra: dict[str, Tensor]


@dataclass
class Side:
    """A network under training with its optimiser."""

    parameters: list[nn.Parameter]
    optimiser: torch.optim.Adam
    world: World = ALONE

    def step(self, scaler: torch.amp.GradScaler, *, clip: float, if_made: Tensor | None = None) -> Update:
        """Average over devices, unscale, clip, update unless something is not finite (or `if_made` is false), clear."""
        self.world.average_gradients(self.parameters)
        scaler.unscale_(self.optimiser)
        return careful_update(self.optimiser, self.parameters, clip=clip, if_made=if_made)


# (images, pieces) -> this process's fakes piece by piece, made when asked for, with a graph if gradients are enabled
# then; latents and cameras are drawn for the whole batch, so that they do not depend on the number of pieces or devices
Draw = Callable[[int, int], Iterator[Fakes]]


class GanStep:
    """The published recipe: D on fresh fakes and reals, then G against the updated D (GRAM: training)."""

    def __init__(
        self, config: TrainConfig, discriminator: Discriminator, g: Side, d: Side, scaler: torch.amp.GradScaler
    ):
        self.config, self.discriminator, self.g, self.d, self.scaler = config, discriminator, g, d, scaler
        self.pieces = d.world.part(config.batch, micro_batches=config.micro_batches).pieces
        self.device_type = next(discriminator.parameters()).device.type

    def __call__(
        self, draw: Draw, reals: Tensor, angles: Tensor, *, step: int, generator_learns: bool = True
    ) -> dict[str, float]:
        """reals [B, 3, S, S] in [-1, 1], angles [B, 2]: this process's part of the batch; step counts from 0.

        Returns named losses, norms of gradients, and `faulty`: 1 if an update was left out because something was not
        finite, otherwise 0. G is not updated against a D that could not be.
        generator_learns: False for the discriminator's half alone.
        """
        c = self.config
        pieces = list(zip(reals.chunk(self.pieces), angles.chunk(self.pieces), strict=True))
        log: dict[str, Tensor] = {}
        kept: list[Fakes] = []
        fresh = draw(len(reals), self.pieces)
        for real, angle in pieces:
            with self._precision(), torch.set_grad_enabled(generator_learns and not c.fresh_fakes):
                fakes = next(fresh)
            if not c.fresh_fakes:
                kept.append(fakes)
            self._discriminator_piece(fakes, real, angle, lazy=step % c.r1_every == 0, log=log)
        log["d_norm"], made = self.d.step(self.scaler, clip=c.clip)
        if generator_learns:
            seen = iter(kept) if kept else draw(len(reals), self.pieces)
            with frozen(self.d.parameters):
                for _ in pieces:
                    with self._precision():
                        fakes = next(seen)
                    self._generator_piece(fakes, log=log)
            log["g_norm"], made = self.g.step(self.scaler, clip=c.clip, if_made=made)
        log["faulty"] = (~made & (not self._scale_searched())).float()
        values = self.d.world.average(torch.stack(list(log.values())))
        return dict(zip(log, values.tolist(), strict=True))  # one transfer from the device

    def _scale_searched(self) -> bool:
        """Let the scaler learn from this step. True if it may have been at fault itself: its scale was above 1."""
        if not self.scaler.is_enabled():
            return False
        above = self.scaler.get_scale() > 1
        self.scaler.update()
        if self.scaler.get_scale() < 1:
            self.scaler.update(1.0)  # the published floor
        return above

    def _discriminator_piece(self, fakes: Fakes, real: Tensor, angles: Tensor, *, lazy: bool, log: dict) -> None:
        c = self.config
        with self._precision():
            on_fake = self.discriminator(fakes.image.detach())
            on_real = self.discriminator(real)
        parts = {
            "d_fake": losses.fake(on_fake.realness),
            "d_real": losses.realistic(on_real.realness),
            "d_pose_fake": c.pose_fake * losses.pose(on_fake.angles, fakes.angles),
            "d_pose_real": c.pose_real * losses.pose(on_real.angles, angles),
        }
        if on_fake.patches is not None and on_real.patches is not None:
            patch = losses.fake(on_fake.patches) + losses.realistic(on_real.patches)
            parts["d_patch"] = c.patch_weight * patch
        if lazy and c.r1_weight:
            parts["r1"] = 0.5 * c.r1_weight * c.r1_every * self._r1(real)
        self._backward(parts, log)

    def _r1(self, real: Tensor) -> Tensor:
        """In fp32 outside autocast; with r1_patch the penalised score is D + 0.1 mean of patches (patch_weight)."""
        images = real.detach().clone().requires_grad_()
        verdict: Verdict = self.discriminator(images)
        score = verdict.realness
        if self.config.r1_patch and verdict.patches is not None:
            score = score + self.config.patch_weight * verdict.patches.mean(dim=1)
        return losses.r1(score, images)

    def _generator_piece(self, fakes: Fakes, *, log: dict) -> None:
        c = self.config
        with self._precision():
            verdict = self.discriminator(fakes.image)
        parts = {
            "g_fake": losses.realistic(verdict.realness),
            "g_pose": c.pose_fake * losses.pose(verdict.angles, fakes.angles),
            **fakes.extra,
        }
        if verdict.patches is not None:
            parts["g_patch"] = c.patch_weight * losses.realistic(verdict.patches)
        self._backward(parts, log)

    def _backward(self, parts: dict[str, Tensor], log: dict) -> None:
        share = 1 / self.pieces
        total = torch.stack([part.float() for part in parts.values()]).sum() * share
        backward(self.scaler.scale(total))
        for name, part in parts.items():
            log[name] = log.get(name, 0) + part.detach() * share

    def _precision(self) -> contextlib.AbstractContextManager:
        kind = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.config.precision]
        if kind is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=kind)


@contextlib.contextmanager
def frozen(parameters: Iterable[nn.Parameter]):
    """No gradients for these weights inside: the discriminator's are not computed in the generator's step."""
    parameters = list(parameters)
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
