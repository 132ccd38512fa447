"""The state of one training: networks, optimisers, random state, position in the data; saved and taken up again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit
from gramhd_core.checkpoints.training_state import load_state, save_state
from gramhd_core.data.dataset import BatchStream, DatasetReader
from gramhd_core.errors import BadConfig, BadDataset, Diverged
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.discriminators import Discriminator
from gramhd_core.networks.encoders import Encoder
from gramhd_core.training.adopt import adopt_discriminator, adopt_encoder, adopt_low
from gramhd_core.training.alarms import Alarms, Look
from gramhd_core.training.ema import Ema
from gramhd_core.training.gan_step import BETAS, Fakes, GanStep, Side
from gramhd_core.training.guards import Guard, all_finite, optimiser_for
from gramhd_core.training.recipe import Recipe, initialised_from
from gramhd_core.training.reconstruction import Reconstruction
from gramhd_core.training.run_folder import RunFolder
from gramhd_core.training.samples import save_samples
from gramhd_core.world import ALONE, World

COOLEST = 0.05  # of the learning rates, at the end of a cooldown


class Run:
    """The state of one training: networks, optimisers, random state, position in the data.

    With several devices every process holds all of it, the same everywhere; each sees its part of a batch, and the
    first one writes.
    """

    def __init__(self, recipe: Recipe, reader: DatasetReader, out: Path, *, device: str, world: World = ALONE):
        self.recipe, self.reader, self.device, self.world = recipe, reader, torch.device(device), world
        self.folder = RunFolder(out)
        c = recipe.config.train
        self.part = world.part(c.batch, micro_batches=c.micro_batches)
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
        self.stream = BatchStream(reader, batch=c.batch, seed=c.seed, workers=c.workers, places=self.part.places)
        d_parameters = list(self.discriminator.parameters())
        self.g = Side(recipe.trainable, optimiser_for(recipe.trainable, lr=c.g_lr, betas=BETAS), world)
        self.d = Side(d_parameters, optimiser_for(d_parameters, lr=c.d_lr, betas=BETAS), world)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=c.precision == "fp16")
        self.gan_step = GanStep(c, self.discriminator, self.g, self.d, self.scaler)
        self.reconstruction = None
        if self.encoder is not None:
            cameras = self.generator.cameras
            self.reconstruction = Reconstruction(c, self.encoder, recipe.trainable, recipe.draw, cameras, world)
        self.guard, self.alarms = Guard(c), Alarms()
        self.step = self._saved_step = 0
        self.reals = torch.empty(0)  # the newest images that this process saw, uint8 [B, 3, S, S]
        # what to go back to as long as nothing is saved
        self._start = None if self.folder.resumable() else _copied(self.state())

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return self.step * self.recipe.config.train.batch

    def due(self, every: int) -> bool:
        """True on the first step at or after each multiple of `every` images."""
        return self.images // every > (self.images - self.recipe.config.train.batch) // every

    @property
    def save_owed(self) -> bool:
        """True from the first multiple of `save_every` images after the newest checkpoint on."""
        c = self.recipe.config.train
        return self.images // c.save_every > self._saved_step * c.batch // c.save_every

    def advance(self) -> dict[str, float]:
        """One step; named losses with the step's number. One whose numbers are not finite changes no average."""
        with self.world.agreed():
            batch = next(self.stream)
        self.reals = batch.images
        reals = batch.images.to(self.device).float() / 127.5 - 1
        angles = torch.stack([batch.pitch, batch.yaw], dim=1).to(self.device)
        values, faulty, c = {}, False, self.recipe.config.train
        if c.cooldown:
            self._set_rates()
        if self.reconstruction is not None:
            values |= self.reconstruction(reals, angles, self.rng)
            faulty |= values.pop("faulty") > 0
        if c.adversary and self.images >= c.discriminator_from:
            learns = self.images >= c.adversarial_from
            values |= self.gan_step(self._draw, reals, angles, step=self.step, generator_learns=learns)
            faulty |= values.pop("faulty") > 0
        if not faulty:
            self.ema.update(self.generator)
        self.guard.see(faulty=faulty)
        self.step += 1
        return {"step": self.step, "images": self.images, **values, "skipped": self.guard.skipped}

    def _draw(self, n: int, pieces: int) -> Iterator[Fakes]:
        batch, places = self.recipe.config.train.batch, self.part.places
        z = torch.randn(batch, self.generator.latent_dim, generator=self.rng)[places].to(self.device)
        if self.reconstruction is not None:
            z = self.reconstruction.prior.draw(z)
        camera = self.generator.cameras.sample(batch, self.rng, size=self.generator.image_size)[places].to(self.device)
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

    def state(self) -> dict[str, Any]:
        """Everything that a step depends on, by reference."""
        return {
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
            "guard": self.guard.state(),
            "alarms": self.alarms.state(),
        }

    def published(self) -> Gram | GramHd:
        """The averaged weights, whose latents are N(0, 1)."""
        if self.reconstruction is None:
            return self.ema.average
        model = copy.deepcopy(self.ema.average)
        self.reconstruction.prior.fold_into(model)
        return model

    def sound(self) -> bool:
        """Whether all weights are finite numbers: others are not worth keeping."""
        return all_finite(self.generator, self.discriminator, self.ema.average)

    def save(self) -> Path:
        """Write state, then model (a model file promises that its state exists); drop old ones.

        Diverged if there are weights that are not finite. A model is scored if the recipe knows how.
        """
        model, state = self.folder.saved(self.step)
        if self.world.first and not (model.exists() and state.exists()):
            self._write(model, state)
        self._start, self._saved_step = None, self.step
        return model

    def _write(self, model: Path, state: Path) -> None:
        if not self.sound():
            raise self._diverged("has weights that are not finite")
        save_state(state, self.state())
        published = self.published()
        published.measure_centre()
        config = self.recipe.config
        provenance = {
            "stage": config.stage,
            "preset": config.preset,
            "seed": config.train.seed,
            "data": self.reader.fingerprint,
            "parent": self.parent,
        }
        weights = dict(published.state_dict())
        Checkpoint(self.generator.family, config.generator, weights, self.step, self.images, provenance).save(model)
        if self.recipe.score is not None:
            self.folder.scored(self.step, self.recipe.score(published))
        self.folder.prune(config.train)

    def resume(self) -> None:
        """Go on from the newest step whose state is there; a new folder starts from nothing."""
        if self.world.first:
            self.folder.sweep()
        steps = self.folder.resumable()
        if steps:
            self._restore(self._saved_state(steps[-1]))

    def go_back(self) -> str:
        """Return to the last checkpoint after a good step, or to the start, with lower learning rates.

        Returns a sentence about it; Diverged if that was done often enough.
        """
        guard, lost = self.guard, self.step
        if guard.returns >= self.recipe.config.train.returns:
            raise self._diverged(f"met numbers that are not finite in {guard.in_row} steps in a row")
        with self.world.agreed():
            state = self._last_good()
        skipped, returns = guard.skipped, guard.returns + 1
        self._restore(state)
        guard.skipped, guard.returns, guard.in_row = skipped, returns, 0
        self._set_rates()
        if self.world.first:
            self.folder.drop_after(self.step)
        where = f"the checkpoint of step {self.step}" if self.step else "its start"
        return f"numbers were not finite up to step {lost}: back to {where}, with learning rates x {guard.rate:g}"

    def _last_good(self) -> dict[str, Any]:
        for step in reversed(self.folder.resumable()):
            state = self._saved_state(step)
            if state.get("guard", {}).get("in_row", 0) == 0:
                return state
        if self._start is None:
            raise self._diverged("met numbers that are not finite")
        return self._start

    def _diverged(self, what: str) -> Diverged:
        steps = self.folder.resumable()
        kept = f"; its last checkpoint is that of step {steps[-1]}" if steps else ""
        return Diverged(
            f"The training in {self.folder.path} {what} at step {self.step}{kept}",
            expected="losses, gradients and weights have to stay finite to learn from",
            remedy="use another --out with lower train.g_lr and train.d_lr or a higher train.r1_weight",
        )

    def _set_rates(self) -> None:
        """Learning rates as configured, times the guard's factor, falling at the end of the run."""
        c = self.recipe.config.train
        factor = self.guard.rate
        if c.cooldown:
            factor *= min(1.0, max(COOLEST, (c.images - self.images) / c.cooldown))
        rates = [(self.g.optimiser, c.g_lr), (self.d.optimiser, c.d_lr)]
        if self.reconstruction is not None:
            rates.append((self.reconstruction.optimiser, c.reconstruction_lr))
        for optimiser, rate in rates:
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def _saved_state(self, step: int) -> dict[str, Any]:
        """A training state of this run, checked against data and config before anything changes."""
        file = self.folder.saved(step).state
        state = load_state(file)
        if state["data"] != self.reader.fingerprint:
            raise BadDataset(
                f"{self.reader.path} is not the data set {self.folder.path} was trained on",
                expected="a run goes on with the images it started with",
                remedy="give the same --data, or another --out for a new run",
            )
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            check_fit(dict(network.state_dict()), state[name], where=str(file))
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.average.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        self.g.optimiser.load_state_dict(state["g_optimiser"])
        self.d.optimiser.load_state_dict(state["d_optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.reconstruction is not None:
            self.reconstruction.restore(state["reconstruction"])
        self.rng.set_state(state["rng"].to(torch.uint8))
        self.stream.seek(state["position"])
        self.guard.restore(state.get("guard", {}))
        self.alarms.restore(state.get("alarms", {}))
        self.step = self._saved_step = state["step"]
        self.parent = state["parent"]

    def save_samples(self) -> Look:
        """samples/images*.png, from the averaged weights. Returns what it shows."""
        return save_samples(self.published(), self.folder.path / "samples" / f"images{self.images:09d}.png")


def _copied(value: Any) -> Any:
    """Nested dicts and lists with copies of their tensors, in main memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _given(start: Path | None) -> Path:
    if start is None:
        raise BadConfig(
            "train.grow_discriminator without an earlier run",
            expected="a discriminator can only grow out of one that was trained",
            remedy="name that run with --start, or set train.grow_discriminator=false",
        )
    return start
