"""The state of one training: networks, optimisers, random state, position in the data; saved and taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.checkpoints.training_state import load_state, save_state
from gramhd_core.data.dataset import BatchStream, DatasetReader
from gramhd_core.errors import BadCheckpoint, BadConfig, BadDataset
from gramhd_core.networks.discriminators import Discriminator
from gramhd_core.networks.encoders import Encoder
from gramhd_core.training.adopt import adopt_discriminator, adopt_encoder, adopt_low
from gramhd_core.training.ema import Ema
from gramhd_core.training.gan_step import BETAS, Fakes, GanStep, Side
from gramhd_core.training.recipe import Recipe, initialised_from
from gramhd_core.training.reconstruction import Reconstruction
from gramhd_core.training.run_folder import RunFolder
from gramhd_core.training.samples import save_samples


class Run:
    """The state of one training: networks, optimisers, random state, position in the data."""

    def __init__(self, recipe: Recipe, reader: DatasetReader, out: Path, *, device: str):
        self.recipe, self.reader, self.device = recipe, reader, torch.device(device)
        self.folder = RunFolder(out)
        c = recipe.config.train
        self.generator = recipe.generator.to(self.device)
        with initialised_from(c.seed + 1):
            self.discriminator = Discriminator(recipe.config.discriminator).to(self.device)
        self.encoder = None
        if c.reconstruction:
            with initialised_from(c.seed + 2):
                self.encoder = Encoder(recipe.config.encoder, self.generator.latent_dim).to(self.device)
        self.parent: dict[str, Any] = {}  # provenance of what it started from
        if not self.folder.resumable():
            self._begin()
        self.ema = Ema(self.generator, decay=c.ema)
        self.rng = torch.Generator().manual_seed(c.seed)
        self.stream = BatchStream(reader, batch=c.batch, seed=c.seed, workers=c.workers)
        d_parameters = list(self.discriminator.parameters())
        self.g = Side(recipe.trainable, torch.optim.Adam(recipe.trainable, lr=c.g_lr, betas=BETAS))
        self.d = Side(d_parameters, torch.optim.Adam(d_parameters, lr=c.d_lr, betas=BETAS))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=c.precision == "fp16")
        self.gan_step = GanStep(c, self.discriminator, self.g, self.d, self.scaler)
        self.reconstruction = None
        if self.encoder is not None:
            self.reconstruction = Reconstruction(c, self.encoder, recipe.trainable, recipe.draw, self.generator.cameras)
        self.step = 0

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return self.step * self.recipe.config.train.batch

    def due(self, every: int) -> bool:
        """True on the first step at or after each multiple of `every` images."""
        return self.images // every > (self.images - self.recipe.config.train.batch) // every

    def advance(self) -> dict[str, float]:
        """One step; named losses with the step's number."""
        batch = next(self.stream)
        reals = batch.images.to(self.device).float() / 127.5 - 1
        angles = torch.stack([batch.pitch, batch.yaw], dim=1).to(self.device)
        values: dict[str, float] = {}
        if self.reconstruction is not None:
            values |= self.reconstruction(reals, angles, self.rng)
        if self.images >= self.recipe.config.train.adversarial_from:
            values |= self.gan_step(self._draw, reals, angles, step=self.step)
        self.ema.update(self.generator)
        self.step += 1
        return {"step": self.step, "images": self.images, **values}

    def _draw(self, n: int, pieces: int) -> Iterator[Fakes]:
        z = torch.randn(n, self.generator.latent_dim, generator=self.rng).to(self.device)
        camera = self.generator.cameras.sample(n, self.rng, size=self.generator.image_size).to(self.device)
        share = n // pieces
        return (self.recipe.draw(z[i : i + share], camera[i : i + share]) for i in range(0, n, share))

    def _begin(self) -> None:
        """Take over the weights of the run this one starts from, if there is one."""
        start = self.recipe.start
        if start is not None:
            self.parent = adopt_low(self.generator, start)
        if self.recipe.config.train.grow_discriminator:
            adopt_discriminator(self.discriminator, _given(start))
        if self.encoder is not None and start is not None:
            adopt_encoder(self.encoder, start)

    def save(self) -> Path:
        """Write state, then model (a model file promises that its state exists); drop old ones."""
        model, state = self.folder.saved(self.step)
        if model.exists():
            return model
        save_state(
            state,
            {
                "step": self.step,
                "data": self.reader.fingerprint,
                "position": self.stream.position,
                "parent": self.parent,
                "rng": self.rng.get_state(),
                "generator": dict(self.generator.state_dict()),
                "discriminator": dict(self.discriminator.state_dict()),
                "ema": dict(self.ema.average.state_dict()),
                "ema_updates": self.ema.updates,
                "g_optimiser": self.g.optimiser.state_dict(),
                "d_optimiser": self.d.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "reconstruction": self.reconstruction.state() if self.reconstruction else {},
            },
        )
        self.ema.average.measure_centre()
        config = self.recipe.config
        provenance = {
            "stage": config.stage,
            "preset": config.preset,
            "seed": config.train.seed,
            "data": self.reader.fingerprint,
            "parent": self.parent,
        }
        weights = dict(self.ema.average.state_dict())
        Checkpoint(self.generator.family, config.generator, weights, self.step, self.images, provenance).save(model)
        self.folder.prune(keep=config.train.keep)
        return model

    def resume(self) -> None:
        """Go back to the newest step whose state is there; a new folder starts from nothing."""
        steps = self.folder.resumable()
        if not steps:
            return
        self.folder.sweep()
        file = self.folder.saved(steps[-1]).state
        state = load_state(file)
        if state["data"] != self.reader.fingerprint:
            raise BadDataset(
                f"{self.reader.path} is not the data set {self.folder.path} was trained on",
                expected="a run goes on with the images it started with",
                remedy="give the same --data, or another --out for a new run",
            )
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.ema.average.load_state_dict(state["ema"])
        except RuntimeError as error:
            raise BadCheckpoint(
                f"{file} does not fit this run's config",
                expected=f"weights of the configured shapes are needed ({str(error).splitlines()[0]})",
                remedy="use another --out for a new run",
            ) from error
        self.ema.updates = state["ema_updates"]
        self.g.optimiser.load_state_dict(state["g_optimiser"])
        self.d.optimiser.load_state_dict(state["d_optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.reconstruction is not None:
            self.reconstruction.restore(state["reconstruction"])
        self.rng.set_state(state["rng"].to(torch.uint8))
        self.stream.seek(state["position"])
        self.step = state["step"]
        self.parent = state["parent"]

    def save_samples(self) -> None:
        """samples/images*.png, from the averaged weights."""
        save_samples(self.ema.average, self.folder.path / "samples" / f"images{self.images:09d}.png")


def _given(start: Path | None) -> Path:
    if start is None:
        raise BadConfig(
            "train.grow_discriminator without an earlier run",
            expected="a discriminator can only grow out of one that was trained",
            remedy="name that run with --start, or set train.grow_discriminator=false",
        )
    return start
