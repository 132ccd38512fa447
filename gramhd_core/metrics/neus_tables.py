"""Multi-resolution hash tables (Instant-NGP: hash tables): numbers at points of space, without a network.

P points in the cube [-1, 1]^3, L levels of growing resolution, F features, mixed trilinearly. A level with few corners
has an entry for each of them; one with more than `most` shares entries by a hash. Gradients reach the
tables, never the points: derivatives in space are finite differences (`neus_fields.py`).

`looked_up` is the readable path and works on every device; on a CPU compiled loops do the same (`neus_kernels.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

PRIMES = (1, 2654435761, 805459861)  # of the hash


class Level(NamedTuple):
    """Entries `first` to `first + count` of a table are the corners of cells^3 cells."""

    first: int
    count: int
    cells: int
    hashed: bool


def levels_of(cells: list[int], *, most: int) -> list[Level]:
    """Levels one after the other in a table; `most` entries each, a power of two."""
    assert most & (most - 1) == 0, most
    levels, first = [], 0
    for n in cells:
        count = (n + 1) ** 3
        levels.append(Level(first, min(count, most), n, count > most))
        first += levels[-1].count
    return levels


class Tables(nn.Module):
    """points [P, 3] -> [P, F], the sum over the levels, each times its `weight`.

    weights: buffer [L] in [0, 1]; levels whose weight is zero cost nothing. by_cell: entries are counted in sides of
    their level's cells, so that one step of Adam changes the slope of all levels alike.
    """

    weights: Tensor

    def __init__(
        self, cells: list[int], *, features: int, by_cell: bool = False, most: int = 2**19, compiled: bool = True
    ):
        super().__init__()
        self.levels, self.compiled = levels_of(cells, most=most), compiled
        self.units = [2 / n if by_cell else 1.0 for n in cells]
        self.table = nn.Parameter(torch.zeros(sum(level.count for level in self.levels), features))
        self.register_buffer("weights", torch.ones(len(cells)), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        units = [w * unit for w, unit in zip(self.weights.tolist(), self.units, strict=True)]
        active = [(level, unit) for level, unit in zip(self.levels, units, strict=True) if unit > 0]
        points = points.detach()
        if self.compiled and points.device.type == "cpu" and points.dtype == torch.float32:
            found = _Compiled.apply(self.table, points.contiguous(), active)
            assert isinstance(found, Tensor)
            return found
        return torch.stack([unit * looked_up(self.table, points, level) for level, unit in active]).sum(dim=0)

    def reach(self, share: float) -> None:
        """Coarse to fine: the first level alone at share 0, all of them at 1, each fading in after the one before."""
        place = torch.arange(len(self.levels), device=self.weights.device)
        self.weights.copy_((1 + share * (len(self.levels) - 1) - place).clamp(0, 1))

    @property
    def finest(self) -> int:
        """Cells of the finest active level."""
        return max(level.cells for level, w in zip(self.levels, self.weights.tolist(), strict=True) if w > 0)


def looked_up(table: Tensor, points: Tensor, level: Level) -> Tensor:
    """points [P, 3] -> [P, F] of one level."""
    scaled = (points + 1) / 2 * level.cells
    cell = scaled.long().clamp(0, level.cells - 1)
    place = scaled - cell
    corner = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=points.device)
    at = cell[:, None] + corner  # [P, 8, 3]
    weight = torch.where(corner.bool(), place[:, None], 1 - place[:, None]).prod(dim=-1)
    if level.hashed:
        mixed = at * torch.tensor(PRIMES, device=points.device)  # only the lowest bits are kept
        entry = (mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]) & (level.count - 1)
    else:
        side = level.cells + 1
        entry = (at[..., 0] * side + at[..., 1]) * side + at[..., 2]
    found = table[(level.first + entry).flatten()].unflatten(0, entry.shape)
    return (weight[..., None] * found).sum(dim=1)


class _Compiled(torch.autograd.Function):
    """table [T, F], points [P, 3], active levels and units -> [P, F]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, points: Tensor, active: list[tuple[Level, float]]) -> Tensor:
        from gramhd_core.metrics import neus_kernels as kernels

        levels = np.array([level for level, _ in active], np.int64)
        units = np.array([unit for _, unit in active], np.float32)
        ctx.save_for_backward(points)
        ctx.levels, ctx.units, ctx.shape = levels, units, table.shape
        out = torch.empty(len(points), table.shape[1])
        where, entries, found = points.numpy(), table.detach().numpy(), out.numpy()
        threads = torch.get_num_threads()
        parts = [slice(i * len(where) // threads, (i + 1) * len(where) // threads) for i in range(threads)]
        _share(lambda i: kernels.gather(where[parts[i]], entries, levels, units, found[parts[i]]), threads)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """Every level is a part of the table and a thread of its own: sums are in the same order whoever makes them."""
        from gramhd_core.metrics import neus_kernels as kernels

        (points,) = ctx.saved_tensors
        out = torch.zeros(ctx.shape)
        where, slope, summed = points.numpy(), slopes[0].contiguous().numpy(), out.numpy()
        jobs = list(zip(ctx.levels, ctx.units, strict=True))
        _share(lambda i: kernels.scatter(where, slope, *jobs[i], summed), len(jobs))
        return out, None, None


def _share(job: Callable[[int], None], count: int) -> None:
    """Jobs 0..count-1 among as many threads as torch uses; see scenes/fast_cpu.py for why not numba's own."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for i in range(count):
            job(i)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(job, reversed(range(count))))  # the finest level, which takes longest, first
