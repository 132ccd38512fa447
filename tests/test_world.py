"""What processes share: every item of a batch is somebody's, sums go through, errors and deaths are everybody's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gramhd_core.errors import BadConfig, BadImage
from gramhd_core.world import ALONE, World, part_of_batch

ROOT = Path(__file__).resolve().parents[1]
LAYOUTS = [(8, 1, 2), (8, 2, 2), (8, 8, 4), (8, 4, 8), (12, 2, 3), (12, 6, 4), (32, 32, 8), (32, 4, 8), (24, 6, 4)]


@pytest.mark.parametrize(("batch", "micro_batches", "size"), LAYOUTS)
def test_every_item_is_taken_once_and_in_equal_parts(batch: int, micro_batches: int, size: int) -> None:
    parts = [part_of_batch(batch, micro_batches=micro_batches, rank=rank, size=size) for rank in range(size)]
    assert {len(part.places) for part in parts} == {batch // size}
    assert sorted(torch.cat([part.places for part in parts]).tolist()) == list(range(batch))


@pytest.mark.parametrize(("batch", "micro_batches", "size"), LAYOUTS)
def test_a_team_sees_whole_micro_batches_together(batch: int, micro_batches: int, size: int) -> None:
    parts = [part_of_batch(batch, micro_batches=micro_batches, rank=rank, size=size) for rank in range(size)]
    seen = []
    for team in {part.team for part in parts}:
        pieces = torch.cat([torch.stack(parts[rank].places.chunk(parts[rank].pieces)) for rank in team], dim=1)
        seen += [sorted(piece) for piece in pieces.tolist()]
    whole = torch.arange(batch).chunk(micro_batches)
    assert sorted(seen) == [piece.tolist() for piece in whole]


def test_one_process_takes_all_in_order() -> None:
    part = ALONE.part(6, micro_batches=3)
    assert part.places.tolist() == list(range(6)) and part.pieces == 3 and part.team == range(1)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"train\.batch=8 on 3 devices.*train\.batch=9"):
        part_of_batch(8, micro_batches=1, rank=0, size=3)


def test_shares_of_a_list_are_a_partition() -> None:
    shares = [World(rank, 3).share(range(10)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))


def test_alone_errors_leave_as_they_are() -> None:
    error = BadImage("x", expected="y", remedy="z")
    with pytest.raises(BadImage) as caught, ALONE.agreed():
        raise error
    assert caught.value is error and ALONE.gather(3) == [3] and ALONE.highest(2) == 2


@pytest.fixture
def two(tmp_path: Path) -> Callable[[str], list[subprocess.CompletedProcess[str]]]:
    """Run code in two processes that know `world`; their exit codes and output."""
    head = (
        "import sys, torch\nfrom gramhd_core.world import joined, World\nfrom gramhd_core.errors import *\n"
        "rank, meeting = int(sys.argv[1]), sys.argv[2]\n"
        "with joined('cpu', rank=rank, size=2, meeting=meeting) as world:\n"
    )

    def run(code: str, before: str = "") -> list[subprocess.CompletedProcess[str]]:
        body = before + head + "".join(f"    {line}\n" for line in code.splitlines())
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if sys.platform == "linux":
            environment["GLOO_SOCKET_IFNAME"] = "lo"
        started = [
            subprocess.Popen(
                [sys.executable, "-c", body, str(rank), f"file://{tmp_path / 'meeting'}"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            outputs = [process.communicate(timeout=120) for process in started]
        finally:
            for process in started:
                process.kill()
        return [
            subprocess.CompletedProcess("", process.returncode, *output)
            for process, output in zip(started, outputs, strict=True)
        ]

    return run


SHARED_JUDGE = """
from gramhd_core.networks.discriminators import Discriminator, DiscriminatorConfig
from gramhd_core.training.losses import r1

def gradients(images, team=None):
    torch.manual_seed(0)
    d = Discriminator(DiscriminatorConfig(8, (4, 6, 8), minibatch_std=True))
    if team is not None:
        d.team = team
    images = images.clone().requires_grad_()
    (r1(d(images).realness, images) + d(images).realness.square().mean()).backward()
    return d, images.grad

batch = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
whole, to_images = gradients(batch)
part = world.part(4, micro_batches=1)
mine, to_mine = gradients(batch[part.places], world.team(part.team))
world.average_gradients(mine.parameters())
for ours, theirs in zip(mine.layers.parameters(), whole.layers.parameters()):
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6, rtol=1e-5), (ours.grad - theirs.grad).abs().max()
assert torch.allclose(to_mine / 2, to_images[part.places], atol=1e-7)
assert max(p.grad.abs().max() for p in mine.layers[0].parameters()) > 1e-4

assert world.gather(f"p{rank}") == ["p0", "p1"] and world.highest(rank) == 1
assert torch.equal(world.average(torch.tensor([1.0 + rank])), torch.tensor([1.5]))
try:
    with world.agreed():
        if rank == 1:
            raise BadImage("a.png is damaged", expected="images can be read", remedy="mend it")
    raise SystemExit(9)
except BadImage as error:
    assert str(error) == "a.png is damaged, but images can be read: mend it."
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_and_the_errors_of_one(two: Callable) -> None:
    """The batch's spread couples its items, through R1 to second order."""
    for done in two(SHARED_JUDGE):
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_only_patient_work_may_take_longer_than_others_wait(two: Callable) -> None:
    code = """
import time
with world.agreed(patient=True):
    time.sleep(6 * (1 - rank))
try:
    with world.agreed():
        time.sleep(6 * (1 - rank))
except LostProcess:
    raise SystemExit(7)
"""
    first, second = two(
        code, "import datetime\nimport gramhd_core.world\ngramhd_core.world.PATIENCE = datetime.timedelta(seconds=3)\n"
    )
    assert second.returncode == 7, second.stderr
    assert first.returncode != 0


@pytest.mark.slow
def test_the_death_of_one_process_is_a_sentence_in_the_other(two: Callable) -> None:
    code = """
import os, signal
world.highest(0)
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    world.highest(0)
except LostProcess as error:
    print(error)
    sys.stdout.flush()
    os._exit(7)
"""
    other, dead = two(code)
    assert dead.returncode == -signal.SIGKILL
    assert other.returncode == 7 and "work on several devices needs all of them" in other.stdout
