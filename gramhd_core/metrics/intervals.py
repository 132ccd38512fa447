"""How sure FID, KID, precision and recall are: confidence intervals of what the same number of other pictures gives.

n fakes; R sets of reals, of which a score is the mean; F features; G groups. Resampling with replacement will not do:
a set with repeated pictures has another FID (a larger one), and so does a smaller set. The jackknife leaves out one
group after the other: all its sets are equally large, so that what they differ by is chance alone, and the interval is
laid around the score itself: score +- t(G - 1) sqrt(V of fakes + V of reals), V = (G - 1) / G sum (score without g -
mean of those)^2 (Shao and Wu, 1989). Near the floor, where FID is mostly its own bias, it is wider than need be.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 20
CONFIDENCE = 0.95
MOST_KERNELS = 10_000  # pictures of either side that the interval of KID looks at


class Interval(NamedTuple):
    """Where a score lies at `CONFIDENCE`."""

    low: float
    high: float


class _Moments(NamedTuple):
    """count; total [F] and products [F, F]: sums over pictures, float64."""

    count: int
    total: Tensor
    products: Tensor

    def plus(self, other: _Moments) -> _Moments:
        return _Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def without(self, other: _Moments) -> _Moments:
        return _Moments(self.count - other.count, self.total - other.total, self.products - other.products)

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        mean = self.mean
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


def frechet_interval(value: float, fakes: Tensor, reals: Sequence[Tensor], *, rng: torch.Generator) -> Interval:
    """Of FID: features [n, F], and R times [m, F]."""
    centre = reals[0].double().mean(dim=0)  # far from 0 sums of squares lose digits
    moments = [[_moments(group.double() - centre) for group in _groups(part, rng)] for part in (fakes, *reals)]
    mine, *theirs = [functools.reduce(_Moments.plus, groups) for groups in moments]
    roots = [_root(one.covariance) for one in theirs]
    my_root = _root(mine.covariance)

    def against_all(group: _Moments) -> float:
        left = mine.without(group)
        return sum(_distance(one, left, root) for one, root in zip(theirs, roots, strict=True)) / len(theirs)

    spread = jackknife_variance([against_all(group) for group in moments[0]])
    for whole, groups in zip(theirs, moments[1:], strict=True):
        left_out = [_distance(mine, whole.without(group), my_root) / len(theirs) for group in groups]
        spread += jackknife_variance(left_out)
    return _around(value, spread, len(moments[0]))


def kernel_interval(value: float, fakes: Tensor, reals: Sequence[Tensor], *, rng: torch.Generator) -> Interval:
    """Of KID: features [n, F], and R times [m, F]; of more than 10,000 the first ones tell how much more all tell."""
    parts = [_groups(part[:MOST_KERNELS], rng) for part in (fakes, *reals)]
    mine, theirs = _Pairs.of(parts[0], parts[0]), [_Pairs.of(part, part) for part in parts[1:]]
    between = [_Pairs.of(parts[0], part) for part in parts[1:]]
    places = range(len(parts[0]))

    def discrepancy(r: int, fake: int | None, real: int | None) -> float:
        return mine.mean(fake, fake) + theirs[r].mean(real, real) - 2 * between[r].mean(fake, real)

    sets = range(len(theirs))
    share = min(1.0, MOST_KERNELS / len(fakes))
    spread = share * jackknife_variance([sum(discrepancy(r, g, None) for r in sets) / len(sets) for g in places])
    for r in sets:
        left_out = [discrepancy(r, None, g) / len(sets) for g in range(len(parts[1 + r]))]
        spread += min(1.0, MOST_KERNELS / len(reals[r])) * jackknife_variance(left_out)
    return _around(value, spread, len(places))


def share_interval(value: float, count: int) -> Interval:
    """Of precision or recall, a share of `count` pictures (Wilson, 1927): how sure it is for these neighbourhoods."""
    z2 = 1.959964**2
    middle = (value + z2 / (2 * count)) / (1 + z2 / count)
    reach = math.sqrt(z2 * (value * (1 - value) + z2 / (4 * count)) / count) / (1 + z2 / count)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def jackknife_variance(left_out: Sequence[float]) -> float:
    """Of a score, from what it is without each of G groups."""
    mean = sum(left_out) / len(left_out)
    return (len(left_out) - 1) / len(left_out) * sum((value - mean) ** 2 for value in left_out)


class _Pairs(NamedTuple):
    """sums [G, H] of the kernel between groups of two sets, counts [G, H] of pairs; pairs of a picture with itself
    are left out."""

    sums: Tensor
    counts: Tensor

    @classmethod
    def of(cls, first: Sequence[Tensor], second: Sequence[Tensor]) -> _Pairs:
        same, others = first is second, torch.cat(tuple(second))
        sizes = torch.tensor([len(part) for part in second])
        columns = torch.repeat_interleave(torch.arange(len(second)), sizes)
        sums, counts = torch.zeros(2, len(first), len(second), dtype=torch.float64)
        for g, part in enumerate(first):
            values = (part @ others.T / part.shape[1] + 1) ** 3  # KID's kernel
            sums[g].index_add_(0, columns, values.double().sum(dim=0))
            counts[g] = len(part) * sizes
            if same:
                sums[g, g] -= values[:, columns == g].diagonal().double().sum()
                counts[g, g] -= len(part)
        return cls(sums, counts)

    def mean(self, row: int | None, column: int | None) -> float:
        """Over all pairs but those of one group."""
        rows = torch.ones(len(self.sums), dtype=torch.float64)
        columns = torch.ones(self.sums.shape[1], dtype=torch.float64)
        if row is not None:
            rows[row] = 0
        if column is not None:
            columns[column] = 0
        return float((rows @ self.sums @ columns) / (rows @ self.counts @ columns))


def _groups(features: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
    """[n, F] in `GROUPS` random parts, or n."""
    order = torch.randperm(len(features), generator=rng)
    return features[order].tensor_split(min(GROUPS, len(features)))


def _moments(features: Tensor) -> _Moments:
    return _Moments(len(features), features.sum(dim=0), features.T @ features)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root."""
    values, axes = torch.linalg.eigh(covariance)
    return (axes * values.clamp(min=0).sqrt()) @ axes.T


def _distance(whole: _Moments, other: _Moments, root: Tensor) -> float:
    """Squared Frechet distance; root: of the covariance of `whole`."""
    covariance = other.covariance
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    apart = (whole.mean - other.mean).square().sum()
    return float(apart + root.square().sum() + covariance.trace() - 2 * cross)


def _around(value: float, variance: float, groups: int) -> Interval:
    from scipy.special import stdtrit

    reach = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(value - reach, value + reach)
