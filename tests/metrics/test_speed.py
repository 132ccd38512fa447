"""Time, memory and arithmetic of a head: what is counted is counted whatever the threads, and peaks are forgotten."""

from __future__ import annotations

import mmap
import sys
from dataclasses import replace

import pytest
import torch
from small import SMALL_LOW, thicken

from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.request import EvaluationRequest
from gramhd_core.metrics.speed import forget_peak, gflop, peak_bytes, speed

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def test_operations_are_counted_whatever_the_threads(small_gram_hd: GramHd) -> None:
    threads, counted = torch.get_num_threads(), []
    for number in (1, 2):
        torch.set_num_threads(number)
        try:
            counted.append(gflop(small_gram_hd.eval()))
            assert torch.get_num_threads() == number
        finally:
            torch.set_num_threads(threads)
    assert counted[0] == counted[1] > 0


def test_maps_of_twice_the_side_take_four_times_the_operations() -> None:
    counted = []
    for side in (16, 32):
        generator = Gram(replace(SMALL_LOW, map_size=side))
        thicken(generator)
        counted.append(gflop(generator.eval()))
    assert counted[1] == pytest.approx(4 * counted[0], rel=0.1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not forget the peak")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    size = 200_000_000
    forget_peak(CPU)
    before = peak_bytes(CPU)
    with mmap.mmap(-1, size) as large:  # fresh pages: tensors may take some that the process has kept
        for _ in range(size // 1_000_000):
            large.write(b"1" * 1_000_000)
    assert peak_bytes(CPU) - before > 0.9 * size
    forget_peak(CPU)
    assert peak_bytes(CPU) - before < 0.5 * size


def test_figures_of_the_machine_are_times_and_those_of_the_model_are_values(small_gram_hd: GramHd) -> None:
    found = speed(Evaluation(small_gram_hd.eval(), request=EvaluationRequest(size=32)))
    assert found.values["parameters"] == sum(p.numel() for p in small_gram_hd.parameters())
    assert set(found.values) == {"parameters", "GFLOP per head"}
    assert found.times["views per second"] == pytest.approx(1 / found.times["next view, seconds"])
    assert min(found.times.values()) > 0 and "threads" in found.protocol["machine"]
