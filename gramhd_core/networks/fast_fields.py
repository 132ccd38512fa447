"""The sines of Phi a few points at a time: what happens to a piece happens while it is in the cache.

The twin of `Field._total`, which stays the readable definition. Sine and cosine are made together. Where all of them
take more than `KEEP` bytes the forward pass remembers only what it was given, and the backward pass makes the
activations of a piece again before it looks at the next: memory then does not grow with points. First derivatives only.

N identities, P points, p of them in a piece, S stages of H sines (the colour layer is the last), C summed channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 1 << 17  # numbers in one activation of a piece, on a processor: sines and cosines of some stages fit its cache
PIECE_GPU = 1 << 25  # on anything else
KEEP = 2 << 30  # bytes of sines and cosines up to which they are kept
JOBS = 8  # at least so many threads find something to do


class Stages(NamedTuple):
    """weights [N, H, in] and biases [N, H] of every stage, modulation folded in; heads [S - 1, C, H] of all but the
    first, their summed bias [C]; along [N, H, 3]: what the last stage makes of directions, or None."""

    weights: list[Tensor]
    biases: list[Tensor]
    heads: Tensor
    offset: Tensor
    along: Tensor | None

    def of(self, n: int) -> Stages:
        """One identity's: [H, in], [H]."""
        along = None if self.along is None else self.along[n]
        return Stages([w[n] for w in self.weights], [b[n] for b in self.biases], self.heads, self.offset, along)


def summed_heads(points: Tensor, directions: Tensor | None, stages: Stages) -> Tensor:
    """points [N, P, 3] in units of the box, directions [N, P, 3] (with `along` only) -> [N, P, C], before sigmoids.

    Differentiable once in points and stages, not in directions.
    """
    assert directions is None or not directions.requires_grad
    return _SummedHeads.apply(  # type: ignore[return-value]
        points, directions, stages.along, stages.heads, stages.offset, *stages.weights, *stages.biases
    )


class _SummedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        directions: Tensor | None,
        along: Tensor | None,
        heads: Tensor,
        offset: Tensor,
        *pairs: Tensor,
    ) -> Tensor:
        stages = _stages(along, heads, offset, pairs)
        total = points.new_empty(len(points), heads.shape[1], points.shape[1])  # long rows make quick products
        kept = _kept(stages, points) if any(ctx.needs_input_grad) else None

        def job(n: int, start: int, stop: int) -> None:
            own, room = stages.of(n), Room(stages, stop - start, kept, like=points)
            for part in room.pieces(start, stop):
                given = None if directions is None else directions[n, part]
                sines, cosines = room.at(n, part)
                forward(own, points[n, part], given, sines, cosines)
                out = total[n, :, part]
                out.copy_(offset[:, None])
                for h, head in zip(sines[1:], heads, strict=True):
                    out.addmm_(head, h.mT)

        _each(job, points)
        ctx.kept = kept
        ctx.save_for_backward(points, directions, along, heads, offset, *pairs)
        return total.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        points, directions, along, heads, offset, *pairs = ctx.saved_tensors
        stages, grad, kept = _stages(along, heads, offset, pairs), grads[0].mT.contiguous(), ctx.kept
        wants_points, wants_along, wants_heads = (ctx.needs_input_grad[i] for i in (0, 2, 3))
        deep = wants_points or wants_along or any(ctx.needs_input_grad[5:])
        found_points = torch.empty_like(points) if wants_points else None

        def job(n: int, start: int, stop: int) -> Stages:
            own, room = stages.of(n), Room(stages, stop - start, kept, like=points, deep=deep)
            found = _nothing(own, deep=deep)
            found.offset.copy_(grad[n, :, start:stop].sum(dim=1))
            for part in room.pieces(start, stop):
                given = None if directions is None else directions[n, part]
                here, g, (sines, cosines) = points[n, part], grad[n, :, part], room.at(n, part)
                if kept is None:
                    forward(own, here, given, sines, cosines)
                if wants_heads:
                    for h, into in zip(sines[1:], found.heads, strict=True):
                        into.addmm_(g, h)
                if cosines is not None and deep:
                    error = backward(own, here, given, g, (sines, cosines), room.errors[:, : len(here)], found)
                    if found_points is not None:
                        torch.mm(error, own.weights[0], out=found_points[n, part])
            return found

        parts = _each(job, points)
        found_pairs: list[Tensor | None] = [None] * len(pairs)
        if deep:
            count = len(stages.weights)
            found_pairs = [torch.stack([_sum(p.weights[i] for p in one) for one in parts]) for i in range(count)]
            found_pairs += [torch.stack([_sum(p.biases[i] for p in one) for one in parts]) for i in range(count)]
        found_along = torch.stack([_sum(p.along for p in one) for one in parts]) if wants_along else None
        found_heads = _sum(p.heads for one in parts for p in one) if wants_heads else None
        return found_points, None, found_along, found_heads, _sum(p.offset for one in parts for p in one), *found_pairs


class Kept(NamedTuple):
    """Sines and cosines of everything, each [N, S, P, H]."""

    sines: Tensor
    cosines: Tensor


class Room:
    """Where the activations of a piece are: in memory of its own, used again for the next, or in what is kept."""

    def __init__(self, stages: Stages, count: int, kept: Kept | None, *, like: Tensor, deep: bool = False):
        hidden, number = stages.biases[0].shape[1], len(stages.weights)
        piece = PIECE if like.device.type == "cpu" else PIECE_GPU
        self.kept, self.step = kept, min(count, max(64, piece // hidden))
        self.own = None if kept else like.new_empty(2 if deep else 1, number, self.step, hidden)
        self.errors = like.new_empty(2 if deep else 0, self.step, hidden)

    def pieces(self, start: int, stop: int) -> list[slice]:
        """start..stop, a piece at a time."""
        return [slice(i, min(i + self.step, stop)) for i in range(start, stop, self.step)]

    def at(self, n: int, part: slice) -> tuple[Tensor, Tensor | None]:
        """Sines and cosines [S, p, H] of points `part` of identity n."""
        if self.kept is not None:
            return self.kept.sines[n, :, part], self.kept.cosines[n, :, part]
        assert self.own is not None
        own = self.own[:, :, : part.stop - part.start]
        return own[0], own[1] if len(own) > 1 else None


def forward(own: Stages, points: Tensor, directions: Tensor | None, sines: Tensor, cosines: Tensor | None) -> None:
    """Fills sines [S, p, H], and cosines if they are wanted."""
    h, last = points, len(own.weights) - 1
    for i, (weight, bias) in enumerate(zip(own.weights, own.biases, strict=True)):
        angles = sines[i] if cosines is None else cosines[i]
        torch.addmm(bias, h, weight.mT, out=angles)
        if i == last and own.along is not None and directions is not None:
            angles.addmm_(directions, own.along.mT)
        if cosines is None:
            sine_(angles)
        else:
            sine_and_cosine_(angles, sines[i])
        h = sines[i]


def backward(
    own: Stages,
    points: Tensor,
    directions: Tensor | None,
    grad: Tensor,
    activations: tuple[Tensor, Tensor],
    errors: Tensor,
    found: Stages,
) -> Tensor:
    """Adds to `found` what grad [C, p] says of weights and biases; returns what it says of stage 0's angles [p, H]."""
    (sines, cosines), (error, other) = activations, errors
    last = len(own.weights) - 1
    for i in range(last, -1, -1):
        if i == last:
            torch.mm(grad.mT, own.heads[i - 1], out=error)
        else:
            torch.mm(error, own.weights[i + 1], out=other)
            error, other = other, error
            if i:
                error.addmm_(grad.mT, own.heads[i - 1])
        error.mul_(cosines[i])
        below = sines[i - 1] if i else points
        found.weights[i].mT.addmm_(below.mT, error)  # in this order a thin input is quick as well
        found.biases[i].add_(error.sum(dim=0))
        if i == last and found.along is not None and directions is not None:
            found.along.mT.addmm_(directions.mT, error)
    return error


def sine_(angles: Tensor) -> None:
    """Angles become their sines."""
    if angles.device.type == "cpu" and angles.dtype == torch.float32:
        from gramhd_core.networks.sines import sines  # numba takes a second to import

        sines(angles.numpy().reshape(-1))
    else:
        angles.sin_()


def sine_and_cosine_(angles: Tensor, out: Tensor) -> None:
    """`out` is filled with sines; angles become their cosines."""
    if angles.device.type == "cpu" and angles.dtype == torch.float32:
        from gramhd_core.networks.sines import sines_and_cosines

        sines_and_cosines(angles.numpy().reshape(-1), out.numpy().reshape(-1))
    else:
        torch.sin(angles, out=out)
        angles.cos_()


def _stages(along: Tensor | None, heads: Tensor, offset: Tensor, pairs: Any) -> Stages:
    half = len(pairs) // 2
    return Stages(list(pairs[:half]), list(pairs[half:]), heads, offset, along)


def _nothing(own: Stages, *, deep: bool) -> Stages:
    """Zeros to add gradients to."""
    return Stages(
        [torch.zeros_like(w) for w in own.weights] if deep else [],
        [torch.zeros_like(b) for b in own.biases] if deep else [],
        torch.zeros_like(own.heads),
        torch.zeros_like(own.offset),
        torch.zeros_like(own.along) if own.along is not None else None,
    )


def _kept(stages: Stages, points: Tensor) -> Kept | None:
    """Room for all activations where they are few; where only heads learn, nothing is worth keeping."""
    learns = points.requires_grad or any(w.requires_grad for w in (*stages.weights, *stages.biases))
    shape = (len(points), len(stages.weights), points.shape[1], stages.biases[0].shape[1])
    if not learns or 8 * math.prod(shape) > KEEP:
        return None
    return Kept(points.new_empty(shape), points.new_empty(shape))


def _each(job: Callable[[int, int, int], Any], points: Tensor) -> list[list[Any]]:
    """job(identity, first point, last + 1) -> answers by identity; what is added to what does not depend on threads."""
    n, count, _ = points.shape
    shares = max(1, JOBS // n) if points.device.type == "cpu" else 1
    step = max(1, -(-count // shares))
    tasks = [(i, start, min(start + step, count)) for i in range(n) for start in range(0, count, step)]
    threads = torch.get_num_threads() if points.device.type == "cpu" else 1

    def run(task: tuple[int, int, int]) -> Any:
        with torch.no_grad():
            return job(*task)

    if min(threads, len(tasks)) == 1:
        answers = [run(task) for task in tasks]
    else:
        with ThreadPoolExecutor(min(threads, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            answers = list(pool.map(run, tasks))
    per = len(tasks) // n
    return [answers[i : i + per] for i in range(0, len(answers), per)]


def _sum(parts: Any) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0)
