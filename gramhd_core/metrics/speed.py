"""How long a head takes, how much memory, and how much arithmetic there is in it.

Seconds and bytes are of this machine and end under `times`; parameters and operations are of the model.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gramhd_core.generators.generator import Generator
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.provenance import machine
from gramhd_core.metrics.scores import Score
from gramhd_core.outputs.shots import device_of, latent_of_seed
from gramhd_core.outputs.trajectories import orbit

HEADS = 3  # of which the median is taken, after one that warms up
VIEWS = 16  # of one head, after two that warm up


def speed(evaluation: Evaluation) -> Score:
    """Seconds to the first view of a head and between further ones, at the evaluation's size, one picture at a time.

    Operations are twice the multiplications of matrix products and convolutions (torch's counter), of making a scene;
    drawing a view has none of them. Memory is the most that torch had on a GPU; on a CPU the most that the process has,
    which is why this is measured before everything else.
    """
    generator, size = evaluation.generator, evaluation.size
    device = device_of(generator)
    forget_peak(device)
    cameras = orbit(generator.cameras, size=size, frames=VIEWS).to(device)
    evaluation.progress.start("Measuring speed", HEADS + 1)

    def head(seed: int) -> Any:
        return generator.scene(latent_of_seed(generator, seed, truncation=1.0)[0])

    first = []
    with torch.no_grad():
        for seed in range(HEADS + 1):
            first.append(_seconds(lambda: head(seed).render(cameras[:1]), device))  # noqa: B023 - called at once
            evaluation.progress.advance()
        scene = head(0)
        for view in range(2):
            scene.render(cameras[view : view + 1])
        next_views = [_seconds(lambda: scene.render(cameras[i : i + 1]), device) for i in range(VIEWS)]  # noqa: B023
    evaluation.progress.finish()
    again = statistics.median(next_views)
    times = {
        "first view, seconds": statistics.median(first[1:]),
        "next view, seconds": again,
        "views per second": 1 / again,
        "peak memory, MB": peak_bytes(device) / 1e6,
    }
    assert isinstance(generator, nn.Module)
    values = {"parameters": float(sum(p.numel() for p in generator.parameters())), "GFLOP per head": gflop(generator)}
    counts = {"size": size, "batch": 1, "heads": HEADS, "views": VIEWS}
    return Score(values, protocol={**counts, "machine": machine(device)}, times=times)


@torch.no_grad()
def gflop(generator: Generator) -> float:
    """10^9 operations of one scene, but for what is made once per process (tables of a predictor). Under autocast the
    readable networks run, whose operations torch can see, and with one thread: it counts those of the one that asks."""
    device, threads = device_of(generator), torch.get_num_threads()
    latent = latent_of_seed(generator, 0, truncation=1.0)[0]
    counter = FlopCounterMode(display=False)
    generator.scene(latent)
    torch.set_num_threads(1)
    try:
        with counter, torch.autocast(device.type, torch.bfloat16):
            generator.scene(latent)
    finally:
        torch.set_num_threads(threads)
    return counter.get_total_flops() / 1e9


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Count the peak of memory from now on, where that can be asked for (GPUs, Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_bytes(device: torch.device) -> int:
    """The most memory since `forget_peak`: torch's on a GPU, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # on Linux, getrusage would tell that of the parent if it is larger
    if status.exists():
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
