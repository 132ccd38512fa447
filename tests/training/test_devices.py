"""Training on two devices is training on one: same losses, one writer, one end. Processes of the CPU stand for GPUs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import PROGRAM, ROOT
from device_runs import GOES_ON, JOBS, train
from tiny_runs import losses

from gramhd_cli import launch
from gramhd_core.checkpoints.checkpoint import Checkpoint, find_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")]

TINY = ["--preset", "tiny", "--device", "cpu"]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def runs(heads: Path, low_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All jobs by one process and by two, and one of them handed over in the middle, both ways."""
    out = tmp_path_factory.mktemp("devices")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in JOBS:
            train(job, heads, low_run, out / "one" / job)
        train(GOES_ON, heads, low_run, out / "two" / "begun by one", "train.images=24")
        command = [sys.executable, str(ROOT / "tests" / "device_runs.py"), str(heads), str(low_run), str(out / "two")]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment().items():
                patch.setenv(name, value)
            assert launch.run_on(2, command) == 0
        train(GOES_ON, heads, low_run, out / "two" / "begun by two")
    finally:
        torch.set_num_threads(threads)
    return out


def assert_same_losses(run: Path, other: Path) -> None:
    ours, theirs = losses(run), losses(other)
    assert [line["step"] for line in ours] == [1, 2, 3, 4, 5, 6]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, abs=1e-5, rel=1e-5), (a, b)


@pytest.mark.parametrize("job", JOBS)
def test_two_halves_of_a_batch_learn_what_the_whole_does(job: str, runs: Path) -> None:
    assert_same_losses(runs / "two" / job, runs / "one" / job)


@pytest.mark.parametrize("handed_over", ["begun by one", "begun by two"])
def test_a_run_goes_on_with_another_number_of_devices(handed_over: str, runs: Path) -> None:
    assert_same_losses(runs / "two" / handed_over, runs / "one" / GOES_ON)
    model, whole = (Checkpoint.load(find_checkpoint(runs / path)) for path in (f"two/{handed_over}", f"one/{GOES_ON}"))
    for name, weight in whole.weights.items():
        assert torch.allclose(model.weights[name], weight, atol=1e-4), name


def test_one_process_writes_what_one_would(runs: Path) -> None:
    for job in JOBS:
        two, one = (
            sorted(re.sub(r"tfevents.*", "tfevents", p.relative_to(run).as_posix()) for p in run.rglob("*"))
            for run in (runs / "two" / job, runs / "one" / job)
        )
        assert two == one


@pytest.fixture
def endless(heads: Path, tmp_path: Path):
    """`gramhd train-lr --devices 2` that would never end, and has learnt something already; its run folder."""
    out = tmp_path / "run"
    arguments = ["train-lr", "--data", str(heads), "--out", str(out), "--preset", "tiny", "--images", "100000000"]
    settings = [
        "--set",
        "train.sample_every=1000000",
        "--set",
        "train.save_every=16",
        "--devices",
        "2",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments, *settings],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None and not list(out.glob("checkpoints/step*2.safetensors")):
            time.sleep(0.05)
        yield process, out
    finally:
        process.kill()
        process.communicate()


def children(parent: int) -> dict[int, int]:
    """Process ids by rank."""
    found = {}
    for process in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        rank = re.search(rb"\0RANK=(\d+)\0", Path(f"/proc/{process}/environ").read_bytes())
        assert rank is not None
        found[int(rank[1])] = process
    return found


def test_ctrl_c_stops_both_after_the_same_step(endless) -> None:
    process, out = endless
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 130 and not printed, said
    assert said.count("Interrupted") == 1 and "Traceback" not in said
    assert Checkpoint.load(find_checkpoint(out)).step == losses(out)[-1]["step"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the processes in /proc")
def test_the_death_of_one_process_ends_the_other_with_one_sentence(endless) -> None:
    process, out = endless
    both = children(process.pid)
    os.kill(both[1], signal.SIGKILL)
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 1 and not printed
    assert said.splitlines()[-1].startswith("gramhd: Process 1 of this command was ended by SIGKILL, but")
    assert sum(line.startswith("gramhd:") for line in said.splitlines()) == 1 and "Traceback" not in said
    assert not any(Path(f"/proc/{process}").exists() for process in both.values())
    assert Checkpoint.load(find_checkpoint(out)).step >= 2


def test_torchrun_works_as_well(heads: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gramhd_cli"]
    arguments = ["train-lr", "--data", str(heads), "--out", "run", *TINY, "--images", "32"]
    done = subprocess.run(
        [sys.executable, *launcher, *arguments],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/checkpoints/step00000002.safetensors\n"
