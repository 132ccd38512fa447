"""The loop both stages share: batches in, steps, a run folder out. Run the same command again and it goes on."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import BadConfig, BadDataset, GramhdError, GramhdWarning, LostProcess
from gramhd_core.progress import Progress, Silent
from gramhd_core.training.alarms import variety
from gramhd_core.training.recipe import Recipe
from gramhd_core.training.run import Run
from gramhd_core.training.run_folder import RunFolder
from gramhd_core.training.run_log import RunLog
from gramhd_core.world import ALONE, World

ONE_REQUEST = 1.0  # seconds: launchers pass on to a process what the terminal has told it already


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: str,
    progress: Progress | None = None,
    world: World = ALONE,
) -> Path:
    """Train until `train.images` reals were shown or time is up; goes on with `out`. Returns the last checkpoint.

    With several devices all processes call it with the same arguments, each with its own device.
    """
    c = recipe.config.train
    with world.agreed():
        run = _opened(recipe, data, out, device=device, world=world)
    _check_together(run)
    run.discriminator.team = world.team(run.part.team)
    progress = progress or Silent()
    if run.step:
        progress.say(f"{out} goes on from the checkpoint of step {run.step} ({run.images:,} images)")
    progress.start(f"train-{recipe.config.stage}", c.images, done=min(run.images, c.images))
    deadline = time.monotonic() + 60 * c.max_minutes if c.max_minutes else math.inf
    with stop_requests() as stop, contextlib.closing(run.stream), _written(run) as log:
        while run.images < c.images and not world.highest(stop.is_set() or time.monotonic() >= deadline):
            _step(run, log, progress)
        with world.agreed():
            newest = run.save()
    progress.finish()
    if world.highest(stop.is_set()):
        raise KeyboardInterrupt
    return newest


def _opened(recipe: Recipe, data: Path, out: Path, *, device: str, world: World) -> Run:
    """The run at its newest checkpoint, or at its beginning. Writes nothing."""
    RunFolder(out).claim(recipe.config)
    reader = DatasetReader(data, size=recipe.generator.image_size, mirror=recipe.config.train.mirror)
    if reader.resolution < reader.image_size:
        raise BadDataset(
            f"{data} holds images of {reader.resolution} pixels",
            expected=f"this preset trains on {reader.image_size}",
            remedy="prepare the data at that size or larger, or choose a smaller preset",
        )
    run = Run(recipe, reader, out, device=device, world=world)
    run.resume()
    return run


def _check_together(run: Run) -> None:
    """BadConfig if another process sees another data set or another state of the run, as on another machine's disk."""
    found = run.world.gather((run.reader.fingerprint, run.step))
    if len(set(found)) > 1:
        raise BadConfig(
            f"The processes of this run do not see the same files in {run.reader.path} and {run.folder.path}",
            expected="all of them read one data set and one run folder",
            remedy="put both on a disk that all machines share",
        )


@contextlib.contextmanager
def _written(run: Run) -> Iterator[RunLog | None]:
    """config.json and the log of the run; None in a process that writes nothing."""
    log = None
    with run.world.agreed():
        if run.world.first:
            run.folder.write_config(run.recipe.config)
            log = RunLog(run.folder.path, run.recipe.config.train, step=run.step, returns=run.guard.returns)
    with contextlib.nullcontext() if log is None else contextlib.closing(log):
        yield log


def _step(run: Run, log: RunLog | None, progress: Progress) -> None:
    """One step of the run, and what is due after it: samples, lines in the log, a checkpoint, a return."""
    c = run.recipe.config.train
    values = _advance(run)
    with run.world.agreed():
        if log is not None:
            _write_down(run, values, log)
    progress.advance(c.batch, note=_note(values))
    if run.guard.lost:
        before = run.images
        sentence = run.go_back()
        with run.world.agreed():
            if log is not None:
                log.went_back(lost=before // c.batch, step=run.step, returns=run.guard.returns, sentence=sentence)
        progress.advance(run.images - before)
        progress.say(f"{run.folder.path}: {sentence}")
    elif run.save_owed and run.guard.calm and run.sound():
        with run.world.agreed():
            run.save()


def _advance(run: Run) -> dict[str, float]:
    """The step itself. What was learnt so far is kept when an image turns out to be damaged."""
    try:
        return run.advance()
    except LostProcess:  # in the middle of a step
        raise
    except GramhdError:
        if run.step and run.sound():
            with run.world.agreed():
                run.save()
        raise


def _write_down(run: Run, values: dict[str, float], log: RunLog) -> None:
    """The losses of a step, a sheet of samples if one is due, and what they are a sign of."""
    alarms, sheet = run.alarms.hear(values), run.due(run.recipe.config.train.sample_every)
    if sheet:
        seen = run.save_samples()
        values = {**values, "variety": seen.variety, "opacity": seen.opacity}
        alarms += run.alarms.look(seen, reals=variety(run.reals.float() / 127.5 - 1))
    log.write(values, always=sheet)
    for alarm in alarms:
        log.alarm(alarm, step=run.step)
        warnings.warn(alarm.sentence, GramhdWarning, stacklevel=2)


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to save and end after the current step; a second Ctrl-C ends at once."""
    stop = threading.Event()
    asked: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: object) -> None:
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > ONE_REQUEST:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(values: dict[str, float]) -> str:
    if "g_fake" not in values:
        return f"difference {values['reconstruction']:.4f}  divergence {values['divergence']:.4f}"
    g, d = values["g_fake"], values["d_fake"] + values["d_real"]
    return f"G {g:.2f}  D {d:.2f}"
