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
from gramhd_core.errors import BadDataset, GramhdError, GramhdWarning
from gramhd_core.progress import Progress, Silent
from gramhd_core.training.alarms import variety
from gramhd_core.training.recipe import Recipe
from gramhd_core.training.run import Run
from gramhd_core.training.run_folder import RunFolder
from gramhd_core.training.run_log import RunLog


def train(recipe: Recipe, data: Path, out: Path, *, device: str, progress: Progress | None = None) -> Path:
    """Train until `train.images` reals were shown or time is up; goes on with `out`. Returns the last checkpoint."""
    c = recipe.config.train
    RunFolder(out).claim(recipe.config)
    reader = DatasetReader(data, size=recipe.generator.image_size, mirror=c.mirror)
    if reader.resolution < reader.image_size:
        raise BadDataset(
            f"{data} holds images of {reader.resolution} pixels",
            expected=f"this preset trains on {reader.image_size}",
            remedy="prepare the data at that size or larger, or choose a smaller preset",
        )
    run = Run(recipe, reader, out, device=device)
    run.resume()
    run.folder.write_config(recipe.config)
    progress = progress or Silent()
    if run.step:
        progress.say(f"{out} goes on from the checkpoint of step {run.step} ({run.images:,} images)")
    progress.start(f"train-{recipe.config.stage}", c.images, done=min(run.images, c.images))
    deadline = time.monotonic() + 60 * c.max_minutes if c.max_minutes else math.inf
    log = RunLog(out, c, step=run.step, returns=run.guard.returns)
    with stop_requests() as stop, contextlib.closing(run.stream), contextlib.closing(log):
        while run.images < c.images and time.monotonic() < deadline and not stop.is_set():
            _step(run, log, progress)
        newest = run.save()
    progress.finish()
    if stop.is_set():
        raise KeyboardInterrupt
    return newest


def _step(run: Run, log: RunLog, progress: Progress) -> None:
    """One step of the run, and what is due after it: samples, lines in the log, a checkpoint, a return."""
    c = run.recipe.config.train
    try:
        values = run.advance()
    except GramhdError:  # an image that turns out to be damaged: what was learnt so far is kept
        if run.step and run.sound():
            run.save()
        raise
    alarms, sheet = run.alarms.hear(values), run.due(c.sample_every)
    if sheet:
        seen = run.save_samples()
        values |= {"variety": seen.variety, "opacity": seen.opacity}
        alarms += run.alarms.look(seen, reals=variety(run.reals.float() / 127.5 - 1))
    log.write(values, always=sheet)
    progress.advance(c.batch, note=_note(values))
    for alarm in alarms:
        log.alarm(alarm, step=run.step)
        warnings.warn(alarm.sentence, GramhdWarning, stacklevel=2)
    if run.guard.lost:
        before = run.images
        sentence = run.go_back()
        log.went_back(lost=before // c.batch, step=run.step, returns=run.guard.returns, sentence=sentence)
        progress.advance(run.images - before)
        progress.say(f"{run.folder.path}: {sentence}")
    elif run.save_owed and run.guard.calm and run.sound():
        run.save()


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


def _note(values: dict[str, float]) -> str:
    if "g_fake" not in values:
        return f"difference {values['reconstruction']:.4f}  divergence {values['divergence']:.4f}"
    g, d = values["g_fake"], values["d_fake"] + values["d_real"]
    return f"G {g:.2f}  D {d:.2f}"
