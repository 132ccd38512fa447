"""Confidence intervals: they hold what they should as often as they should, and compute what the scores compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gramhd_core.metrics import intervals
from gramhd_core.metrics.intervals import frechet_interval, jackknife_variance, kernel_interval, share_interval

F = 4


def drawn(count: int, rng: torch.Generator, *, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return torch.randn(count, F, generator=rng) * scale + shift


def frechet(first: Tensor, second: Tensor) -> float:
    """As in the paper."""
    a, b = np.cov(first.double().numpy(), rowvar=False), np.cov(second.double().numpy(), rowvar=False)
    apart = (first.double().mean(dim=0) - second.double().mean(dim=0)).square().sum().item()
    root = sum(np.sqrt(complex(value)).real for value in np.linalg.eigvals(a @ b))
    return apart + float(np.trace(a) + np.trace(b)) - 2 * float(root)


def discrepancy(first: Tensor, second: Tensor) -> float:
    """Unbiased squared MMD of the kernel of KID."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / F + 1) ** 3

    def within(a: Tensor) -> float:
        values = pairs(a, a)
        return float((values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(pairs(first, second).mean())


def test_the_jackknife_of_a_mean_is_its_variance() -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left_out = [float((values.sum() - value) / 39) for value in values]
    assert jackknife_variance(left_out) == pytest.approx(float(values.var() / 40))


def test_leaving_pictures_out_is_computing_without_them() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = drawn(60, rng, shift=3.0), drawn(50, rng, shift=3.5, scale=2.0)
    whole, part = intervals._moments(first.double()), intervals._moments(first[:7].double())
    other = intervals._moments(second.double())
    found = intervals._distance(other, whole.without(part), intervals._root(other.covariance))
    assert found == pytest.approx(frechet(first[7:], second), rel=1e-6)
    groups, others = first.tensor_split(6), second.tensor_split(5)
    mine, theirs, between = (
        intervals._Pairs.of(a, b) for a, b in ((groups, groups), (others, others), (groups, others))
    )
    for left_out in (None, 2):
        kept = torch.cat([group for index, group in enumerate(groups) if index != left_out])
        value = mine.mean(left_out, left_out) + theirs.mean(None, None) - 2 * between.mean(left_out, None)
        assert value == pytest.approx(discrepancy(kept, second), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("score", "interval"), [(frechet, frechet_interval), (discrepancy, kernel_interval)])
@pytest.mark.parametrize("halves", [1, 2])
def test_an_interval_holds_the_score_of_other_pictures_nineteen_times_in_twenty(score, interval, halves: int) -> None:
    rng = torch.Generator().manual_seed(1)

    def one() -> tuple[Tensor, list[Tensor], float]:
        fakes, reals = drawn(80, rng, shift=0.4), [drawn(80, rng) for _ in range(halves)]
        return fakes, reals, sum(score(fakes, part) for part in reals) / halves

    expected = sum(one()[2] for _ in range(150)) / 150
    inside = 0
    for _ in range(40):
        fakes, reals, value = one()
        found = interval(value, fakes, reals, rng=rng)
        assert found.low < value < found.high
        inside += found.low <= expected <= found.high
    assert inside >= 35


def test_more_pictures_make_narrower_intervals() -> None:
    rng = torch.Generator().manual_seed(2)
    for interval in (frechet_interval, kernel_interval):
        few, many = (
            interval(0.0, drawn(n, rng, shift=0.5), [drawn(n, rng)], rng=torch.Generator().manual_seed(0))
            for n in (60, 960)
        )
        assert many.high < 0.5 * few.high


def test_groups_are_drawn_from_the_generator() -> None:
    rng = torch.Generator().manual_seed(3)
    fakes, reals = drawn(50, rng), [drawn(50, rng)]
    a, b, c = (frechet_interval(0.0, fakes, reals, rng=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert a == b != c


def test_a_share_of_few_pictures_is_uncertain_and_stays_a_share() -> None:
    few, many = share_interval(0.5, 16), share_interval(0.5, 1600)
    assert few.low < many.low < 0.5 < many.high < few.high
    assert share_interval(0.0, 20).low == 0 and share_interval(0.0, 20).high > 0.1
    assert share_interval(1.0, 20).high == 1 and share_interval(1.0, 20).low < 0.9
