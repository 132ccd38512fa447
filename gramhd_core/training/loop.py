"""The loop both stages share: batches in, steps, a run folder out. Run the same command again and it goes on."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import BadDataset, GramhdError
from gramhd_core.progress import Progress, Silent
from gramhd_core.training.recipe import Recipe
from gramhd_core.training.run import Run
from gramhd_core.training.run_folder import RunFolder


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
    progress.start(f"train-{recipe.config.stage}", c.images, done=min(run.images, c.images))
    deadline = time.monotonic() + 60 * c.max_minutes if c.max_minutes else math.inf
    log_lines = run.folder.log(since=run.step, config=recipe.config)
    with stop_requests() as stop, contextlib.closing(run.stream), log_lines as log:
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
