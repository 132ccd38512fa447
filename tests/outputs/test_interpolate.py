"""Between two latents: ends are exact, slerp keeps its distance from the average, films go round."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL_LOW

from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram import Gram
from gramhd_core.outputs.edit import subject_of_seed
from gramhd_core.outputs.interpolate import WAYS, Between, InterpolateRequest, eased, interpolate, slerp, transitions

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="films need PyAV")


@pytest.fixture
def generator() -> Gram:
    torch.manual_seed(0)
    return Gram(replace(SMALL_LOW, manifolds=replace(SMALL_LOW.manifolds, predictor="spheres"))).requires_grad_(False)


@pytest.mark.parametrize("way", WAYS)
def test_the_ends_are_the_heads_themselves_bit_by_bit(generator: Gram, way: str) -> None:
    a, b = (subject_of_seed(generator, seed, truncation=1.0).latent for seed in (1, 2))
    between = Between(generator, way)
    assert torch.equal(between(a, b, 0).film, a.film) and torch.equal(between(a, b, 1).film, b.film)
    assert torch.allclose(between(a, b, 1e-6).film, a.film, atol=1e-4)
    assert torch.allclose(between(a, b, 1 - 1e-6).film, b.film, atol=1e-4)


def test_slerp_turns_evenly_at_a_length_that_changes_evenly() -> None:
    centre = torch.tensor([[5.0, 5.0]])
    a, b = centre + torch.tensor([[1.0, 0.0]]), centre + torch.tensor([[0.0, 3.0]])
    for t in (0.25, 0.5, 0.8):
        x, y = (slerp(a, b, t, centre=centre) - centre)[0].tolist()
        assert math.atan2(y, x) == pytest.approx(t * math.pi / 2, abs=1e-5)
        assert math.hypot(x, y) == pytest.approx(1 + 2 * t, abs=1e-5)


def test_slerp_of_equal_opposite_or_central_points_is_straight() -> None:
    centre = torch.zeros(1, 3)
    a = torch.tensor([[1.0, 2.0, 3.0]])
    for b in (a, -a, 2 * a, centre):
        assert torch.allclose(slerp(a, b, 0.3, centre=centre), a + 0.3 * (b - a), atol=1e-4)


def test_slerp_of_each_item_does_not_see_the_others() -> None:
    a, b = (torch.randn(4, 6, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    centre = torch.zeros(1, 6)
    whole = slerp(a, b, 0.4, centre=centre)
    for i in range(4):
        assert torch.allclose(slerp(a[i : i + 1], b[i : i + 1], 0.4, centre=centre)[0], whole[i], atol=1e-6)


def test_slerp_stays_farther_from_the_average_head_than_the_straight_line(generator: Gram) -> None:
    a, b = (subject_of_seed(generator, seed, truncation=1.0).latent for seed in (1, 2))
    round_, straight = Between(generator, "slerp"), Between(generator, "lerp")
    assert round_.centre is not None
    far = [(way(a, b, 0.5).film - round_.centre.film).norm() for way in (round_, straight)]
    assert far[0] > 1.05 * far[1]


def test_a_round_passes_every_head_at_rest(generator: Gram) -> None:
    points = [subject_of_seed(generator, seed, truncation=1.0) for seed in (1, 2, 3)]
    made = list(transitions(points, 4, Between(generator, "lerp")))
    assert [name for _, name in made] == [point.name for point in points for _ in range(4)]
    for place, point in enumerate(points):
        assert torch.equal(made[4 * place][0].film, point.latent.film)
    assert eased(0) == 0 and eased(1) == 1 and eased(0.5) == 0.5 and eased(0.01) < 0.001


def test_the_strip_begins_and_ends_with_the_heads(generator: Gram, tmp_path: Path) -> None:
    points = [subject_of_seed(generator, seed, truncation=1.0) for seed in (1, 2)]
    done = interpolate(generator, points, InterpolateRequest(strip=3, film=False, size=64), tmp_path)
    assert done.film is None and done.strip is not None and done.scenes == 3
    back = interpolate(generator, points[::-1], InterpolateRequest(strip=3, film=False, size=64), tmp_path / "back")
    assert back.strip is not None
    pictures = [np.asarray(Image.open(path)) for path in (done.strip, back.strip)]
    first, last = pictures[0][-64:, -192:-128], pictures[0][-64:, -64:]
    assert np.array_equal(first, pictures[1][-64:, -64:]) and np.array_equal(last, pictures[1][-64:, -192:-128])
    assert not np.array_equal(first, last)


@needs_av
def test_a_film_and_a_strip_are_written_and_told(generator: Gram, tmp_path: Path) -> None:
    points = [subject_of_seed(generator, seed, truncation=1.0) for seed in (1, 2)]
    done = interpolate(generator, points, InterpolateRequest(frames=2, strip=2, size=16), tmp_path)
    assert done.film is not None and done.film.stat().st_size > 0 and done.strip is not None
    document = done.document()
    assert document["points"] == ("seed0001", "seed0002") and document["scenes"] == 6
    assert document["video"] == str(done.film) and document["strip"] == str(done.strip)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interpolation.mp4", "strip.png"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"way": "curve"}, "the way is `curve`"),
        ({"camera_path": "up"}, "the camera path is `up`"),
        ({"frames": 1}, "--frames 1"),
        ({"fps": 0}, "--fps 0"),
        ({"strip": 1}, "--strip 1"),
        ({"strip": 0, "film": False}, "neither a film nor a strip"),
        ({"size": 3}, "the size is 3"),
    ],
)
def test_impossible_requests_are_refused(options: dict, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        InterpolateRequest(**options)


def test_one_head_is_not_enough(generator: Gram, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="at least two"):
        interpolate(generator, [subject_of_seed(generator, 1, truncation=1.0)], InterpolateRequest(), tmp_path / "x")
    assert not (tmp_path / "x").exists()
