"""One command in several processes, one per device: started here with `--devices N`, or by torchrun.

Every process runs the same command line and learns its place from the environment, as torchrun sets it. The first one
alone writes and speaks. The launcher passes signals on, and ends all processes when one has failed. Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument, GramhdError, LostProcess
from gramhd_core.progress import Progress, Silent

if TYPE_CHECKING:
    from gramhd_core.world import World

MOST_DEVICES = 1024
MEETING = "GRAMHD_MEETING"  # where processes of one launcher find each other; torchrun has its own variables
MOST_LINES = 50  # of what a failed process had to say
LOST = 75  # how a process says to the launcher that another one was the cause
GRACE_SECONDS = 30.0  # for the others, once one has failed
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of prctl(2)
# The program, with the modules that the launcher sees.
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from gramhd_cli.app import main; main()"

Devices = Annotated[
    int,
    typer.Option(
        "--devices",
        min=1,
        max=MOST_DEVICES,
        help="Share the work among this many GPUs of this machine (or processes on its CPU); see docs/scaling.md.",
    ),
]


class Seat(NamedTuple):
    """The place of this process among those that share a command; local: among those on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0


def seat() -> Seat:
    """From the variables that torchrun sets; alone without them."""
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError):
        return Seat()
    return Seat(rank, size, local) if size > 1 else Seat()


def speaks(error: BaseException | None = None) -> bool:
    """Whether this process says what happens: the first one, unless the launcher will (that all were stopped)."""
    return seat().rank == 0 and not (isinstance(error, (LostProcess, KeyboardInterrupt)) and MEETING in os.environ)


def exit_code(error: GramhdError) -> int:
    """What this process leaves with."""
    return LOST if isinstance(error, LostProcess) and MEETING in os.environ else error.exit_code


def shared(devices: int) -> None:
    """Run this very command line on `devices` devices, if it is not one of several already; leave with its exit code.

    Call it when the options are known to be good: every process checks them again.
    """
    if devices > 1 and seat().size == 1:
        raise typer.Exit(run_on(devices, [sys.executable, "-c", PROGRAM, json.dumps(sys.path), *sys.argv[1:]]))


def end_with_launcher() -> None:
    """Ask to be stopped if the launcher of this process dies (Linux only; elsewhere a lone process goes on)."""
    if MEETING in os.environ and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def place(device: str) -> str:
    """`resolve_device` for this process: with several, each takes the GPU of its own number."""
    here, chosen = seat(), options.resolve_device(device)
    if here.size == 1 or chosen == "cpu":
        return chosen
    import torch

    if chosen != "cuda" or here.local >= torch.cuda.device_count():
        raise BadArgument(
            f"--device {device} on {here.size} devices",
            expected=f"every process takes an NVIDIA GPU of its own (there are {torch.cuda.device_count()}) or the CPU",
            remedy="use fewer --devices, or --device cpu",
        )
    return f"cuda:{here.local}"


@contextlib.contextmanager
def world(device: str) -> Iterator[World]:
    """All processes of this command, this one computing on `device` (see `place`)."""
    from gramhd_core.world import joined

    here = seat()
    with joined(device, rank=here.rank, size=here.size, meeting=os.environ.get(MEETING, "env://")) as all_of_them:
        yield all_of_them


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """`console.progress` in the first process, silence in the others."""
    if speaks():
        with console.progress() as drawn:
            yield drawn
    else:
        yield Silent()


def run_on(devices: int, command: Sequence[str]) -> int:
    """Run `command` in that many processes; returns the exit code of the whole. LostProcess: one was killed."""
    with tempfile.TemporaryDirectory(prefix="gramhd-") as name, contextlib.ExitStack() as open_files:
        folder = Path(name)
        errors = [open_files.enter_context((folder / f"{rank}.txt").open("w+")) for rank in range(devices)]
        processes: list[subprocess.Popen[bytes]] = []
        with _signals_to(processes) as asked:
            for rank in range(devices):
                processes.append(_start(rank, devices, command, folder, errors[rank]))
            failed = _wait(processes)
        if failed is None:
            return 0
        return _verdict(failed, processes[failed].returncode, errors[failed], asked=bool(asked))


def _start(rank: int, size: int, command: Sequence[str], folder: Path, errors: IO[str]) -> subprocess.Popen[bytes]:
    """One process in a session of its own: Ctrl-C reaches it through the launcher, once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = {"OMP_NUM_THREADS": str(max(1, cores // size)), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    usual["NUMBA_NUM_THREADS"] = usual["OMP_NUM_THREADS"]
    if sys.platform == "linux":
        usual["GLOO_SOCKET_IFNAME"] = "lo"
    place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    return subprocess.Popen(
        command,
        env={**usual, **os.environ, **place, MEETING: f"file://{folder / 'meeting'}"},
        stdin=subprocess.DEVNULL,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=None if rank == 0 else errors,
        start_new_session=True,
    )


def _wait(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """Until all have ended. Returns which one failed first of those that were a cause; None: all is well."""
    failed: list[int] = []
    deadline = float("inf")
    try:
        while None in [process.poll() for process in processes]:
            new = [rank for rank, p in enumerate(processes) if p.returncode not in (None, 0) and rank not in failed]
            if new and not failed:
                deadline = time.monotonic() + GRACE_SECONDS
            failed += new
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    finally:
        unasked = [process for process in processes if process.poll() is None]
        _end(unasked)
    failed += [
        rank for rank, p in enumerate(processes) if p.returncode != 0 and p not in unasked and rank not in failed
    ]
    causes = [rank for rank in failed if processes[rank].returncode != LOST]
    return next(iter([*causes, *failed]), None)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def _verdict(rank: int, code: int, errors: IO[str], *, asked: bool) -> int:
    """What the failure of one process means for the command. The first one has said what was wrong with it."""
    if asked and (code in (130, LOST) or code < 0):
        return 130
    if code < 0 or code == LOST:
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else "lost the others"
        raise LostProcess(
            f"Process {rank} of this command {ended}",
            expected="work on several devices needs all of them, so the others were ended too",
            remedy="run the same command again, training goes on from its last checkpoint",
        )
    if rank > 0:
        errors.seek(0)
        for line in errors.read().splitlines()[-MOST_LINES:]:
            console.warn(line)
    return code


@contextlib.contextmanager
def _signals_to(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass requests to stop on to all processes; a second one ends them at once. Yields the signals that came."""
    came: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        came.append(number)
        for process in processes:
            if process.poll() is None and len(came) > 1:
                process.kill()
            elif process.poll() is None:
                process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
