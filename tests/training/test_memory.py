"""Micro-batches that fit: fewer with more memory, none where one image is too much, published sizes within reason."""

from __future__ import annotations

import pytest

from gramhd_core.errors import BadArgument
from gramhd_core.training.memory import fitted, micro_batches, step_bytes
from gramhd_core.training.presets import PRESETS, run_config


@pytest.mark.slow
def test_more_memory_never_needs_more_pieces() -> None:
    config = run_config("gramhd256-ffhq", "hr", [])
    pieces = [micro_batches(config, gigabytes) for gigabytes in (6, 12, 24, 48, 96, 1000)]
    assert pieces == sorted(pieces, reverse=True) and pieces[0] > pieces[-1] == 1
    assert all(config.train.batch % count == 0 for count in pieces)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRESETS), ids="-".join)
def test_what_is_chosen_fits_and_is_the_fewest(name: tuple[str, str]) -> None:
    config = PRESETS[name]
    budget = 1.2 * step_bytes(config, 1) / 1e9
    count = micro_batches(config, budget)
    assert step_bytes(config, config.train.batch // count) <= 1e9 * budget
    fewer = [n for n in range(1, count) if config.train.batch % n == 0]
    assert all(step_bytes(config, config.train.batch // n) > 1e9 * budget for n in fewer)


@pytest.mark.slow
def test_one_image_that_does_not_fit_is_refused_with_its_size() -> None:
    with pytest.raises(BadArgument, match="needs about .* GB"):
        micro_batches(run_config("gramhd1024-ffhq", "hr", []), 0.5)


def test_without_a_limit_nothing_changes() -> None:
    config = run_config("demo", "lr", [])
    assert fitted(config, None) is config
    assert fitted(config, 1000).train.micro_batches == 1


def test_a_published_1024_step_of_one_image_fits_16_gb() -> None:
    assert step_bytes(run_config("gramhd1024-ffhq", "hr", []), 1) < 16e9
