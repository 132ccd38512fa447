"""Protocols: their numbers, what is said when others are asked for, and sentences for what they cannot have."""

from __future__ import annotations

import pytest

from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.metrics.protocols import PROTOCOLS, known_protocols


def test_protocols_have_the_published_counts() -> None:
    counts = {name: (p.fakes, p.reals, p.poses) for name, p in PROTOCOLS.items()}
    assert counts["paper"] == (20_000, 20_000, "prior")
    assert counts["official-eval"] == (10_000, None, "prior")
    assert counts["eg3d"] == (50_000, None, "labels")
    assert all((p.kid_subset, p.kid_subsets) == (1000, 100) for name, p in PROTOCOLS.items() if name != "house")
    assert all(name == p.name and p.source and not p.changed for name, p in PROTOCOLS.items())


def test_other_counts_are_said_to_be_other_counts() -> None:
    paper, official, house = known_protocols(["paper", "official-eval", "house"], samples=2000)
    assert (paper.fakes, paper.reals) == (2000, 2000) and paper.title == "paper (2,000 samples instead of 20,000)"
    assert (official.fakes, official.reals) == (2000, None) and "instead of 10,000" in official.changed
    assert house.fakes == 2000 and not house.changed
    assert known_protocols(["paper", "paper"]) == (PROTOCOLS["paper"],)
    assert known_protocols(["paper"], samples=20_000) == (PROTOCOLS["paper"],)


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadArgument, match="did you mean `eg3d`"):
        known_protocols(["eg3"])


@pytest.mark.parametrize("name", ["paper", "official-eval", "eg3d"])
def test_fewer_images_than_a_subset_of_kid_are_refused_by_named_protocols(name: str) -> None:
    with pytest.raises(BadArgument, match="subsets of 1000.*--protocol house"):
        known_protocols([name], samples=999)
    protocol = known_protocols([name], samples=1000)[0]
    with pytest.raises(BadDataset, match=r"heads has 999 images.*--protocol house\."):
        protocol.reals_of(999, where="heads")
    with pytest.raises(BadDataset, match="999 pictures"):
        protocol.check_fakes(999, where="theirs")


def test_the_subsets_of_the_house_shrink_to_what_is_there() -> None:
    house = known_protocols(["house"], samples=40)[0]
    assert house.subset_of(40, 40) == (40, 1)
    assert house.subset_of(3000, 2000) == (1000, 20)
    official = PROTOCOLS["official-eval"]
    assert official.subset_of(1000, 70_000) == (1000, 100), "the subsets of one side still differ"
    assert official.subset_of(1000, 1000) == (1000, 1)
    with pytest.raises(BadArgument, match="16 or more"):
        known_protocols(["house"], samples=15)


def test_a_protocol_takes_what_it_needs_of_the_real_images() -> None:
    paper, official = PROTOCOLS["paper"], PROTOCOLS["official-eval"]
    assert paper.reals_of(70_000, where="") == 20_000 and official.reals_of(70_000, where="") == 70_000
    assert PROTOCOLS["house"].reals_of(1000, where="") == 400
    with pytest.raises(BadDataset, match="--samples 12000 or prepare more"):
        paper.reals_of(12_000, where="heads")
    with pytest.raises(BadDataset, match="--samples 100 or prepare more"):
        PROTOCOLS["house"].reals_of(201, where="heads")
    with pytest.raises(BadDataset, match="prepare more images") as caught:
        PROTOCOLS["house"].reals_of(20, where="heads")
    assert "--samples" not in str(caught.value)
