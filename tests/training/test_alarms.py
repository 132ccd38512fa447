"""Signs of collapse: heard once per episode, kept with the run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_runs import lines, lr

from gramhd_core.errors import GramhdWarning
from gramhd_core.generators.gram import Gram
from gramhd_core.training.alarms import CHANCE, Alarms, Look, variety
from gramhd_core.training.loop import train
from gramhd_core.training.train_lr import recipe_lr


def names(alarms: list) -> list[str]:
    return [alarm.name for alarm in alarms]


def test_variety_is_the_mean_difference_of_all_pairs() -> None:
    levels = torch.tensor([-0.5, 0.0, 1.0])
    images = levels[:, None, None, None].expand(3, 3, 64, 64)
    assert variety(images) == pytest.approx((0.5 + 1.5 + 1.0) / 3, rel=1e-5)
    assert variety(images[:1].expand(4, 3, 64, 64)) == 0 == variety(images[:1])
    noise = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert variety(noise) < 0.4 * float((noise[0] - noise[1]).abs().mean())  # grain is not what tells heads apart


def test_a_discriminator_that_wins_is_told_once_until_it_loses_again() -> None:
    alarms = Alarms()
    assert not alarms.hear({"d_fake": CHANCE / 2, "d_real": CHANCE / 2})
    wins, even = {"d_fake": 0.001, "d_real": 0.001}, {"d_fake": 0.5, "d_real": 0.5}
    told = [alarm for _ in range(2000) for alarm in alarms.hear(wins)]
    assert names(told) == ["d_wins"] and "train.d_lr" in told[0].sentence
    assert not [alarm for _ in range(100) for alarm in alarms.hear(even)]
    assert names([alarm for _ in range(2000) for alarm in alarms.hear(wins)]) == ["d_wins"]


def test_short_luck_and_numbers_that_are_not_finite_are_no_win() -> None:
    alarms = Alarms()
    assert not [alarm for _ in range(50) for alarm in alarms.hear({"d_fake": 0.0, "d_real": 0.0})]
    known = alarms.d_mean
    assert not alarms.hear({"d_fake": math.nan, "d_real": 0.0}) and not alarms.hear({"reconstruction": 0.1})
    assert alarms.d_mean == known


def test_heads_that_become_alike_are_told_once_per_fall() -> None:
    alarms, reals = Alarms(), 0.5
    heard = [names(alarms.look(Look(v, 0.4), reals=reals)) for v in (0.05, 0.3, 0.3, 0.2, 0.1, 0.08, 0.3, 0.1)]
    assert heard == [[], [], [], [], ["alike"], [], [], ["alike"]]


def test_heads_that_never_differed_are_told_when_they_had_time() -> None:
    alarms = Alarms()
    assert [names(alarms.look(Look(0.02, 0.4), reals=0.5)) for _ in range(5)] == [[], [], [], ["alike"], []]


def test_a_run_that_begins_grey_and_finds_its_heads_is_left_in_peace() -> None:
    alarms = Alarms()
    assert not [a for v in (0.001, 0.02, 0.06, 0.1, 0.2, 0.3) for a in alarms.look(Look(v, 0.4), reals=0.5)]


@pytest.mark.parametrize(("name", "wrong", "right"), [("faint", 0.01, 0.3), ("solid", 0.999, 0.9)])
def test_opacity_that_vanishes_or_saturates_is_told_once_per_episode(name: str, wrong: float, right: float) -> None:
    alarms = Alarms()
    heard = [names(alarms.look(Look(0.4, opacity), reals=0.5)) for opacity in (right, wrong, wrong, right, wrong)]
    assert heard == [[], [name], [], [], [name]]


def test_alarms_go_on_where_they_were() -> None:
    whole, first, second = Alarms(), Alarms(), Alarms()
    looks = [Look(v, 0.4) for v in (0.3, 0.05, 0.05)]
    for alarms in (whole, first):
        alarms.look(looks[0], reals=0.5)
        alarms.hear({"d_fake": 0.3, "d_real": 0.1})
    second.restore(first.state())
    for look in looks[1:]:
        assert whole.look(look, reals=0.5) == second.look(look, reals=0.5)
    assert whole.state() == second.state()


@pytest.mark.slow
def test_a_run_whose_heads_vanished_says_so_once_and_writes_it_down(heads: Path, tmp_path: Path) -> None:
    """Three sheets in two sittings, one episode."""
    more = ["train.batch=2", "train.sample_every=4", "train.save_every=8", "train.g_lr=1e-9"]

    def sitting(images: int) -> None:
        recipe = recipe_lr(lr(*more, f"train.images={images}"))
        assert isinstance(recipe.generator, Gram)
        with torch.no_grad():
            recipe.generator.field.output_sigma[-1].get_parameter("bias").fill_(-1e4)
        train(recipe, heads, tmp_path / "run", device="cpu")

    with pytest.warns(GramhdWarning, match="Heads vanish.*start_density") as heard:
        sitting(8)
        sitting(12)
    told = [alarm for alarm in lines(tmp_path / "run" / "alarms.jsonl") if alarm["name"] == "faint"]
    assert len([w for w in heard if "vanish" in str(w.message)]) == len(told) == 1
    assert told[0]["step"] == 2 and told[0]["figure"] == 0
    stats = lines(tmp_path / "run" / "stats.jsonl")
    assert [line["step"] for line in stats if "opacity" in line] == [2, 4, 6]
