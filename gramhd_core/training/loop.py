"""The loop both stages share: batches in, steps, a run folder out. Run the same command again and it goes on.

Run folder: config.json, stats.jsonl (one line per `log_every` steps), TensorBoard events, samples/ (fixed seeds x three
yaws), checkpoints/step*.safetensors (EMA weights: the model) and step*.state.safetensors (everything to resume).
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gramhd_core.checkpoints.checkpoint import Checkpoint, checkpoint_steps
from gramhd_core.checkpoints.training_state import load_state, save_state
from gramhd_core.data.dataset import BatchStream, DatasetReader
from gramhd_core.errors import BadCheckpoint, BadConfig, BadDataset, GramhdError
from gramhd_core.files import cannot_write, sweep, write_text
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import Camera
from gramhd_core.networks.discriminators import Discriminator
from gramhd_core.networks.encoders import Encoder
from gramhd_core.outputs.images import rgb8, save_png, sheet
from gramhd_core.progress import Progress, Silent
from gramhd_core.training.adopt import adopt_discriminator, adopt_encoder, adopt_low
from gramhd_core.training.config import RunConfig
from gramhd_core.training.ema import Ema
from gramhd_core.training.gan_step import BETAS, Fakes, GanStep, Side
from gramhd_core.training.reconstruction import Reconstruction

SAMPLE_SEEDS = 8
SAMPLE_YAWS = (-0.4, 0.0, 0.4)
SAMPLE_SIZE = 64  # samples are shown at least this large: a field can be rendered at any size


@dataclass
class Recipe:
    """What one stage adds to the loop. `draw(z [B, z_dim], camera of B) -> Fakes`, by the live weights.

    start: the checkpoint or run that a new training begins with; a training that goes on does not look at it again.
    """

    config: RunConfig
    generator: Gram | GramHd
    trainable: list[nn.Parameter]
    draw: Callable[[Tensor, Camera], Fakes]
    start: Path | None = None


def train(recipe: Recipe, data: Path, out: Path, *, device: str, progress: Progress | None = None) -> Path:
    """Train until `train.images` reals were shown or time is up; goes on with `out`. Returns the last checkpoint."""
    c = recipe.config.train
    _check_folder(out, recipe.config)
    reader = DatasetReader(data, size=recipe.generator.image_size, mirror=c.mirror)
    if reader.resolution < reader.image_size:
        raise BadDataset(
            f"{data} holds images of {reader.resolution} pixels",
            expected=f"this preset trains on {reader.image_size}",
            remedy="prepare the data at that size or larger, or choose a smaller preset",
        )
    run = Run(recipe, reader, out, device=device)
    run.resume()
    write_text(out / "config.json", json.dumps(recipe.config.describe(), indent=2) + "\n")
    progress = progress or Silent()
    progress.start(f"train-{recipe.config.stage}", c.images, done=min(run.images, c.images))
    deadline = time.monotonic() + 60 * c.max_minutes if c.max_minutes else math.inf
    with stop_requests() as stop, contextlib.closing(run.stream), run.writer() as log:
        while run.images < c.images and time.monotonic() < deadline and not stop.is_set():
            try:
                values = run.advance()
            except GramhdError:  # an image that turns out to be damaged: what was learnt so far is kept
                if run.step:
                    run.save()
                raise
            log(values)
            progress.advance(c.batch, note=_note(values))
            if run.due(c.sample_every):
                run.save_samples()
            if run.due(c.save_every):
                run.save()
        newest = run.save()
    progress.finish()
    if stop.is_set():
        raise KeyboardInterrupt
    return newest


class Run:
    """The state of one training: networks, optimisers, random state, position in the data."""

    def __init__(self, recipe: Recipe, reader: DatasetReader, out: Path, *, device: str):
        self.recipe, self.reader, self.out, self.device = recipe, reader, out, torch.device(device)
        c = recipe.config.train
        self.generator = recipe.generator.to(self.device)
        with initialised_from(c.seed + 1):
            self.discriminator = Discriminator(recipe.config.discriminator).to(self.device)
        self.encoder = None
        if c.reconstruction:
            with initialised_from(c.seed + 2):
                self.encoder = Encoder(recipe.config.encoder, self.generator.latent_dim).to(self.device)
        self.parent: dict[str, Any] = {}  # provenance of what it started from
        if not self._resumable():
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

    def _resumable(self) -> list[int]:
        """Steps whose model and state are both there, ascending."""
        return [step for step in checkpoint_steps(self.out) if self._files(step)[1].exists()]

    def _files(self, step: int) -> tuple[Path, Path]:
        folder = self.out / "checkpoints"
        return folder / f"step{step:08d}.safetensors", folder / f"step{step:08d}.state.safetensors"

    def save(self) -> Path:
        """Write state, then model (a model file promises that its state exists); drop old ones."""
        model, state = self._files(self.step)
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
        for old in checkpoint_steps(self.out)[: -config.train.keep]:
            for file in self._files(old):
                file.unlink(missing_ok=True)
        return model

    def resume(self) -> None:
        """Go back to the newest step whose state is there; a new folder starts from nothing."""
        steps = self._resumable()
        if not steps:
            return
        sweep(self.out / "checkpoints")
        file = self._files(steps[-1])[1]
        state = load_state(file)
        if state["data"] != self.reader.fingerprint:
            raise BadDataset(
                f"{self.reader.path} is not the data set {self.out} was trained on",
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

    @torch.no_grad()
    def save_samples(self) -> None:
        """samples/images*.png: fixed seeds (rows) x three yaws, from the averaged weights."""
        rng = torch.Generator().manual_seed(0)
        z = torch.randn(SAMPLE_SEEDS, self.generator.latent_dim, generator=rng).to(self.device)
        size = max(SAMPLE_SIZE, self.generator.image_size)
        camera = self.generator.cameras.at(0.0, torch.tensor(SAMPLE_YAWS), size=size).to(self.device)
        latent = self.ema.average.latent(z)
        tiles = [self.ema.average.scene(latent[i]).render(camera).rgb for i in range(SAMPLE_SEEDS)]
        picture = sheet(rgb8(torch.cat(tiles).cpu()), columns=2 * len(SAMPLE_YAWS))
        save_png(self.out / "samples" / f"images{self.images:09d}.png", picture)

    @contextlib.contextmanager
    def writer(self) -> Iterator[Callable[[dict[str, float]], None]]:
        """Appends to stats.jsonl (cut back to the resumed step first) and to TensorBoard."""
        from torch.utils.tensorboard import SummaryWriter

        path = self.out / "stats.jsonl"
        self.out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= self.step]
            write_text(path, "".join(line + "\n" for line in kept))
        board = SummaryWriter(str(self.out), purge_step=self.step + 1)
        every = self.recipe.config.train.log_every
        started, first = time.monotonic(), self.step
        with path.open("a", encoding="utf-8") as stats:

            def log(values: dict[str, float]) -> None:
                if self.step % every:
                    return
                rate = (self.step - first) * self.recipe.config.train.batch / (time.monotonic() - started)
                try:
                    stats.write(json.dumps({**values, "images_per_s": round(rate, 2)}) + "\n")
                    stats.flush()
                    for name in values.keys() - {"step", "images"}:
                        board.add_scalar(name, values[name], self.step)
                except OSError as error:
                    raise cannot_write(path, error) from error

            try:
                yield log
            finally:
                board.close()


@contextlib.contextmanager
def initialised_from(seed: int) -> Iterator[None]:
    """New layers made inside draw their weights from `seed`; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to save and end after the current step; a second Ctrl-C ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _given(start: Path | None) -> Path:
    if start is None:
        raise BadConfig(
            "train.grow_discriminator without an earlier run",
            expected="a discriminator can only grow out of one that was trained",
            remedy="name that run with --start, or set train.grow_discriminator=false",
        )
    return start


def _check_folder(out: Path, config: RunConfig) -> None:
    """BadConfig if `out` holds another run, or something that is no run. Writes nothing."""
    path = out / "config.json"
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except json.JSONDecodeError:
            known = {}
        wanted = config.identity()
        differing = _differences(wanted, known)
        if differing and checkpoint_steps(out):  # a run that has saved nothing yet binds nobody
            raise BadConfig(
                f"{out} holds a run with other settings ({'; '.join(differing[:3])})",
                expected="a run goes on with the settings it was started with",
                remedy="repeat its command, or give another --out",
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadConfig(
            f"{out} is there and holds no run",
            expected="a new or an earlier run's folder is needed",
            remedy="give another --out",
        )


def _differences(wanted: Any, known: Any, name: str = "") -> list[str]:
    """`name was a, now b` for every field of `wanted` that differs (what may change between sittings is not in it)."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        parts = [_differences(value, known.get(key), f"{name}.{key}".strip(".")) for key, value in wanted.items()]
        return [line for part in parts for line in part]
    return [] if wanted == known else [f"{name} was {known}, now {wanted}"]


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):  # a line cut off by a kill
        return math.inf


def _note(values: dict[str, float]) -> str:
    if "g_fake" not in values:
        return f"difference {values['reconstruction']:.4f}  divergence {values['divergence']:.4f}"
    g, d = values["g_fake"], values["d_fake"] + values["d_real"]
    return f"G {g:.2f}  D {d:.2f}"
