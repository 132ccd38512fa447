"""One computation on several devices: which process this is, what it takes of the work, and what all agree on.

W processes, one per device, with ranks 0 to W - 1. Rank 0 alone writes and speaks. A batch of B is cut into P
micro-batches of B / P; each is pushed through the networks by a team of W / gcd(P, W) processes, so that statistics of
a micro-batch and sums over it are the same on any number of devices.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gramhd_core.errors import BadConfig, GramhdError, LostProcess

Item = TypeVar("Item")
BUCKET = 2**24  # gradients that travel together: numbers, 64 MiB of fp32
PATIENCE = timedelta(minutes=30)  # for the slowest process: saving, decoding, compiling
LONG = timedelta(days=30)  # for one that fits something while others have nothing left to do


class Part(NamedTuple):
    """What one process takes of a batch of B.

    places: int64 [B / W], its items, micro-batch by micro-batch; pieces: in how many equal pieces it pushes them
    through the networks; team: ranks that share each of its micro-batches with it, itself among them.
    """

    places: Tensor
    pieces: int
    team: range


def part_of_batch(batch: int, *, micro_batches: int, rank: int, size: int) -> Part:
    """The part of process `rank` of `size`. BadConfig if the batch cannot be divided among them."""
    assert batch % micro_batches == 0 and 0 <= rank < size, (batch, micro_batches, rank, size)
    if batch % size:
        larger = -(-batch // size) * size
        raise BadConfig(
            f"train.batch={batch} on {size} devices",
            expected="every device takes an equal part of a batch",
            remedy=f"use a number of devices that divides it, or --set train.batch={larger}",
        )
    teams = math.gcd(micro_batches, size)
    mates, pieces = size // teams, micro_batches // teams
    team, seat = divmod(rank, mates)
    share = batch // micro_batches // mates
    starts = [(team * pieces + piece) * share * mates + seat * share for piece in range(pieces)]
    places = torch.tensor(starts)[:, None] + torch.arange(share)
    return Part(places.flatten(), pieces, range(team * mates, (team + 1) * mates))


@dataclass(frozen=True)
class Team:
    """The processes that see one micro-batch together; alone by default."""

    size: int = 1
    group: Any = None

    def sum(self, x: Tensor) -> Tensor:
        """The sum of x over the team, any shape, the same everywhere; gradients of any order flow back to every x."""
        return x if self.size == 1 else _Sum.apply(x, self.group)  # type: ignore[return-value]


class _Sum(torch.autograd.Function):
    """Summing over processes is its own transpose: what one's result owes to all, all owe to one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:  # type: ignore[override]
        ctx.group = group
        total = x.contiguous().clone()
        with _others_alive():
            dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, None]:  # type: ignore[override]
        return _Sum.apply(gradient, ctx.group), None


@dataclass(frozen=True)
class World:
    """All processes of one command. One that is alone (the default) communicates with nobody and costs nothing."""

    rank: int = 0
    size: int = 1
    patient: Any = None  # the same processes, as a group whose calls wait `LONG`

    @property
    def first(self) -> bool:
        """True in the process that writes and speaks."""
        return self.rank == 0

    def part(self, batch: int, *, micro_batches: int) -> Part:
        """`part_of_batch` of this process."""
        return part_of_batch(batch, micro_batches=micro_batches, rank=self.rank, size=self.size)

    def team(self, ranks: range) -> Team:
        """The team of these ranks; all processes ask for theirs at the same time, and teams are equal and adjacent."""
        if len(ranks) == 1:
            return Team()
        firsts = range(0, self.size, len(ranks))
        groups = {start: dist.new_group(list(range(start, start + len(ranks)))) for start in firsts}
        return Team(len(ranks), groups[ranks.start])

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's items of a list that all processes hold: every W-th."""
        return items[self.rank :: self.size]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes its mean over all processes. Which parameters have one must be the same everywhere."""
        if self.size == 1:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            self._reduce(flat)
            parts = flat.div_(self.size).split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def average(self, values: Tensor) -> Tensor:
        """The mean of `values` (any shape) over all processes."""
        if self.size == 1:
            return values
        total = values.clone()
        self._reduce(total)
        return total / self.size

    def highest(self, level: int, *, patient: bool = False) -> int:
        """The highest level that any process gives: how one process stops all of them after the same step. patient:
        see `agreed`."""
        if self.size == 1:
            return level
        levels = torch.tensor(level)
        with _others_alive():
            dist.all_reduce(levels, op=dist.ReduceOp.MAX, group=self.patient if patient else None)
        return int(levels)

    def gather(self, value: Item) -> list[Item]:
        """Everybody's value, by rank (small ones: they are copied to every process)."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _others_alive():
            dist.all_gather_object(values, value)
        return values

    def collect(self, value: Item) -> list[Item] | None:
        """Everybody's value, by rank, in the first process; None in the others (for what is too large for all)."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.first else None
        with _others_alive():
            dist.gather_object(value, values)
        return values

    @contextlib.contextmanager
    def agreed(self, *, patient: bool = False) -> Iterator[None]:
        """A user error inside, in any process, is raised in all of them: nobody waits for one that has given up.

        Nothing inside may communicate: a process that fails leaves the block early. patient: the work inside may take
        some processes hours more than others; a process that dies is noticed all the same.
        """
        error: GramhdError | None = None
        try:
            yield
        except GramhdError as caught:
            if self.size == 1:
                raise
            error = caught
        if self.highest(int(error is not None), patient=patient):
            raise next(known for known in self.gather(error) if known is not None) from error

    def _reduce(self, total: Tensor) -> None:
        with _others_alive():
            dist.all_reduce(total)


ALONE = World()


@contextlib.contextmanager
def joined(device: str, *, rank: int, size: int, meeting: str = "env://") -> Iterator[World]:
    """The world of `size` processes, this one being `rank` and computing on `device`; left at the end.

    meeting: where they find each other (torch.distributed's init_method; torchrun sets what env:// reads).
    """
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    with _others_alive():
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size, timeout=PATIENCE)
        patient = dist.new_group(backend="gloo", timeout=LONG)
    try:
        yield World(rank, size, patient)
        with _others_alive():
            dist.monitored_barrier() if backend == "gloo" else dist.barrier()
    finally:
        dist.destroy_process_group()


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients in order, as many together as one message holds; of one dtype each."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        numbers = sum(known.numel() for known in bucket) + gradient.numel()
        if bucket and (numbers > BUCKET or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextlib.contextmanager
def _others_alive() -> Iterator[None]:
    """What torch says when a connection breaks, in our words."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            "Another process of this command has ended or cannot be reached",
            expected="work on several devices needs all of them",
            remedy="run the same command again, training goes on from its last checkpoint",
        ) from error
