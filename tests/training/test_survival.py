"""Runs that are killed, stopped, short of disk or of images: nothing is broken, and they go on bit by bit."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_runs import PLAIN, lines, losses, lr

from gramhd_core.checkpoints.checkpoint import Checkpoint, checkpoint_steps, find_checkpoint
from gramhd_core.checkpoints.training_state import load_state
from gramhd_core.errors import BadImage, CannotWrite
from gramhd_core.files import OURS
from gramhd_core.progress import Silent
from gramhd_core.training.train_lr import train_lr

ROOT = Path(__file__).parents[2]
KILLS = 20
PHASES = [  # 24 steps of 2: photographs, then the discriminator as well, then the generator against it
    *("train.batch=2", "train.images=48", "train.save_every=4", "train.sample_every=40", "train.keep_every=20"),
    *("train.reconstruction=1", "train.discriminator_from=16", "train.adversarial_from=32", "train.log_every=1"),
]
STEPS = 24
NURSERY = """
import os, signal, sys
import numba, PIL.PngImagePlugin, scipy.linalg, tensorboard.summary.writer.record_writer, torch._dynamo
import gramhd_cli.train_lr, gramhd_core.networks.fast_fields, gramhd_core.scenes.fast_cpu
import gramhd_core.training.presets, gramhd_core.training.train_lr
from gramhd_cli.app import run

def die_at(call):
    left = [call]
    def before(function):
        def counted(*arguments, **names):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **names)
        return counted
    os.fsync, os.replace, os.unlink = map(before, (os.fsync, os.replace, os.unlink))

for line in sys.stdin:
    call, *arguments = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        die_at(int(call))
        os._exit(run(arguments))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Starts `gramhd` again and again from a process that has everything imported: a life costs no start-up."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def start(self, *arguments: str, dies_at: int = 0) -> int:
        """The process id of a new `gramhd arguments`; one at a time.

        dies_at: before which of its calls that finish files (flush, rename, remove) SIGKILL comes, from 1; 0: never.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join([str(dies_at), *arguments]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Its exit code, or minus the signal it died of."""
        return self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def command(data: Path, out: Path, settings: list[str]) -> list[str]:
    changes = [part for text in settings for part in ("--set", text)]
    return ["train-lr", "--data", str(data), "--out", str(out), "--preset", "tiny", *changes]


def unfinished(out: Path) -> bool:
    """Whether a file was left half written."""
    return any(OURS.fullmatch(file.name) for file in out.rglob(".*"))


def lines_of(out: Path) -> int:
    """How many steps the log has, whole lines only."""
    file = out / "stats.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def gone(process: int) -> bool:
    """Whether a life has ended by itself."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def until(condition: Callable[[], bool], *, seconds: float = 600.0) -> bool:
    """Wait for it; whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def newest_that_opens(out: Path) -> int:
    """The step of the newest checkpoint, -1 without any; fails if it is not whole or cannot be gone on from."""
    if not checkpoint_steps(out):
        return -1
    file = find_checkpoint(out)
    model, state = Checkpoint.load(file), load_state(file.with_suffix(".state.safetensors"))
    model.build()
    assert model.step == state["step"] == checkpoint_steps(out)[-1]
    return model.step


@pytest.mark.slow
@pytest.mark.timeout(1800)  # of lives, on a busy machine
def test_a_run_killed_twenty_times_is_the_run_that_was_not(heads: Path, tmp_path: Path, nursery: Nursery) -> None:
    """One life in two ends zero to two steps beyond the one before, the others while they finish a file."""
    whole, out, rng = tmp_path / "whole", tmp_path / "run", random.Random(0)
    nursery.start(*command(heads, whole, PHASES))
    assert nursery.wait() == 0
    known, caught = -1, 0
    for kill in range(KILLS):
        steps = lines_of(out) + rng.randint(0, 2)
        process = nursery.start(*command(heads, out, PHASES), dies_at=rng.randint(1, 30) if kill % 2 else 0)
        if kill % 2 == 0:
            assert until(lambda goal=steps, process=process: lines_of(out) >= goal or gone(process))
            time.sleep(rng.uniform(0, 0.1))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        end = nursery.wait()
        assert end in (-signal.SIGKILL, 0)
        caught += end == -signal.SIGKILL
        step = newest_that_opens(out)
        assert step >= known
        known = step
        if (out / "config.json").exists():
            json.loads((out / "config.json").read_text())
    assert caught >= KILLS / 2
    nursery.start(*command(heads, out, PHASES))
    assert nursery.wait() == 0
    assert losses(out) == losses(whole) and [line["step"] for line in losses(out)] == list(range(1, STEPS + 1))
    names = [sorted(p.name for p in (run / "checkpoints").iterdir()) for run in (whole, out)]
    assert names[0] == names[1] and not unfinished(out)
    states = [load_state(find_checkpoint(run).with_suffix(".state.safetensors")) for run in (whole, out)]
    assert same(states[0], states[1])


def same(a: object, b: object) -> bool:
    """Bit by bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_asked_to_stop_saves_the_step_at_hand_and_ends_with_130(
    number: signal.Signals, heads: Path, tmp_path: Path, nursery: Nursery
) -> None:
    out = tmp_path / "run"
    process = nursery.start(*command(heads, out, [*PLAIN, "train.images=1000000", "train.save_every=1000000"]))
    assert until(lambda: len(lines(out / "stats.jsonl")) > 2)
    os.kill(process, number)
    assert nursery.wait() == 130
    assert newest_that_opens(out) == losses(out)[-1]["step"] > 2


# ---- disks ----


class Narrows(Silent):
    """From a certain step on, no file can grow beyond `limit` bytes (asked for then): what a full disk looks like."""

    def __init__(self, at: int, limit: Callable[[], int]):
        self.at, self.limit, self.steps = at, limit, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += 1
        if self.steps == self.at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit(), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.slow
@pytest.mark.parametrize(("room", "file"), [(0, "stats.jsonl"), (20, "stats.jsonl"), (20_000, "step00000004.state")])
def test_a_disk_that_fills_up_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    room: int, file: str, heads: Path, tmp_path: Path
) -> None:
    """At step 3: in the log at once, in the middle of a line, or when the checkpoint of step 4 is written."""
    settings = [*PLAIN, "train.images=12", "train.save_every=4"]
    train_lr(heads, tmp_path / "whole", config=lr(*settings))
    out, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    narrows = Narrows(3, lambda: (out / "stats.jsonl").stat().st_size + room)
    try:
        with pytest.raises(CannotWrite, match=rf"{file}.* could not be written"):
            train_lr(heads, out, config=lr(*settings), progress=narrows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert newest_that_opens(out) == 2 and not unfinished(out)
    train_lr(heads, out, config=lr(*settings))
    assert losses(out) == losses(tmp_path / "whole") and newest_that_opens(out) == 6


def test_a_disk_that_fills_up_under_the_curves_is_one_sentence(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gramhd_core.training.event_file.EventFile.scalars", full)
    with pytest.raises(CannotWrite, match="TensorBoard events could not be written .the disk is full"):
        train_lr(heads, tmp_path / "run", config=lr(*PLAIN, "train.images=4"))


# ---- images ----


class Spoils(Silent):
    """Does something to the data set after the first step."""

    def __init__(self, spoil: Callable[[], None]):
        self.spoil, self.steps = spoil, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += 1
        if self.steps == 1:
            self.spoil()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["half", "empty", "gone"])
def test_images_that_go_bad_in_mid_run_end_it_in_a_sentence_and_lose_nothing(
    damage: str, heads: Path, tmp_path: Path
) -> None:
    """What was learnt is saved at the step before; with the images back, the run is the one that never missed them."""
    settings = [*PLAIN, "train.images=36", "train.save_every=1000", "train.mirror=false"]
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(heads, data)

    def spoil() -> None:
        for file in data.glob("*.png"):
            whole = file.read_bytes()
            file.unlink()
            if damage != "gone":
                file.write_bytes(whole[: len(whole) // 2 if damage == "half" else 0])

    with pytest.raises(BadImage, match=r"img\d\d\.png"):
        train_lr(data, out, config=lr(*settings), progress=Spoils(spoil))
    assert newest_that_opens(out) == losses(out)[-1]["step"] >= 1
    for file in heads.glob("*.png"):
        shutil.copy(file, data)
    train_lr(data, out, config=lr(*settings))
    train_lr(heads, tmp_path / "whole", config=lr(*settings))
    assert losses(out) == losses(tmp_path / "whole")
