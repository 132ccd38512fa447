"""Teaching the landmark network: truth stays where it is seen, the same seed is the same network, and it learns."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from gramhd_core.data.labels import POSE_FILE
from gramhd_core.data.landmark_network import (
    COUNT,
    Frames,
    Grid,
    LandmarkConfig,
    Points,
    frames_of,
    load_landmark_network,
)
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.training.landmark_photos import (
    Heads,
    backgrounds,
    draw_crops,
    draw_photographs,
    mean_shape_of,
    photographed,
    read_heads,
    render_wide,
)
from gramhd_core.training.landmark_training import (
    NEAR,
    LandmarkPlan,
    Trained,
    finder_loss,
    frame_distance,
    pointer_loss,
    train_landmarks,
)

pytestmark = pytest.mark.slow

SMALL = LandmarkConfig(32, (6, 8, 10), 32, (6, 10, 12), 12)
PLAN = LandmarkPlan(finder_steps=3, pointer_steps=3, batch=8, held_out=4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_procedural(24, tmp_path_factory.mktemp("heads") / "data", size=64, workers=1).out


@pytest.fixture(scope="module")
def heads(data: Path) -> Heads:
    return read_heads(data)


@pytest.fixture(scope="module")
def wide() -> Heads:
    return render_wide(8)


def dotted(heads: Heads, places: torch.Tensor) -> Heads:
    """The same landmarks in grey pictures where nothing is seen but a red dot at places [n, 2]."""
    images = torch.full_like(heads.images, 128)
    images[:, 3] = 255
    steps = torch.arange(images.shape[-1]) + 0.5
    for image, (x, y) in zip(images, places, strict=True):
        red = (steps - x) ** 2 + ((steps - y) ** 2)[:, None] < 9
        image[:3] = torch.where(red, torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None], image[:3])
    return heads._replace(images=images)


def middle_of_red(image: torch.Tensor) -> torch.Tensor:
    """[2] where a network picture [3, S, S] is red, pixels."""
    red = (image[0] - image[1]).clamp(min=0) ** 2
    steps = torch.arange(image.shape[-1]) + 0.5
    return torch.stack([(red.sum(0) * steps).sum(), (red.sum(1) * steps).sum()]) / red.sum()


@pytest.fixture
def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other light, no noise, black backgrounds."""
    place = "gramhd_core.training.landmark_photos"
    monkeypatch.setattr(f"{place}.photographed", lambda images, rng: images)
    monkeypatch.setattr(f"{place}.backgrounds", lambda count, size, rng: torch.zeros(count, 3, size, size))


@pytest.mark.usefixtures("clear")
def test_crops_show_landmarks_where_the_truth_says(heads: Heads) -> None:
    shape, red = mean_shape_of(heads), dotted(heads, heads.landmarks[:, 30])  # the tip of the nose
    crops = draw_crops(red, torch.arange(12), rng(), mean_shape=shape, size=64, width=0.8)
    truth = (crops.points[:, 30] / 0.8 + 0.5) * 64
    for image, place in zip(crops.images, truth, strict=True):
        assert (middle_of_red(image) - place).norm() < 1.0


@pytest.mark.usefixtures("clear")
def test_photographs_show_heads_in_the_frames_that_the_truth_says(heads: Heads) -> None:
    shape, below = mean_shape_of(heads), torch.tensor([0.0, 0.1])
    places = frames_of(heads.landmarks, shape).photo_from_unit(below.expand(24, 2))
    photographs = draw_photographs(dotted(heads, places), torch.arange(24), rng(1), mean_shape=shape, size=128)
    single = (photographs.shown[:, 0] & ~photographs.shown[:, 1]).nonzero()[:, 0]
    first = photographs.frames.take(single * 2)
    small = first.side < 80  # bars do not reach what is so near to the centre of these
    assert small.sum() > 5
    for i in small.nonzero()[:, 0].tolist():
        place = first.take(torch.tensor([i])).photo_from_unit(below[None])[0]
        assert (middle_of_red(photographs.images[single[i]]) - place).norm() < 0.5 + 0.01 * first.side[i]


def test_photographs_hold_none_one_or_two_heads_of_every_size(wide: Heads, heads: Heads) -> None:
    photographs = draw_photographs(wide, torch.arange(200) % 8, rng(2), mean_shape=mean_shape_of(heads), size=32)
    number = photographs.shown.sum(dim=1)
    assert all((number == n).any() for n in (0, 1, 2)) and photographs.images.abs().max() <= 1
    side = photographs.frames.side[::2] / 32
    assert side.min() < 0.3 and side.max() > 1.2 and photographs.frames.roll.abs().max() > 0.7


def test_pictures_are_the_same_for_the_same_seed_and_stay_in_range() -> None:
    image = backgrounds(9, 16, rng(3))
    assert torch.equal(photographed(image, rng(4)), photographed(image, rng(4)))
    assert not torch.equal(photographed(image, rng(4)), photographed(image, rng(5)))
    assert photographed(image, rng(4)).abs().max() <= 1 and image.abs().max() <= 1


def test_wide_photographs_come_with_landmarks_on_the_head(wide: Heads) -> None:
    assert wide.images.shape[1:] == (4, 208, 208) and len(wide.landmarks) == 8
    for image, points in zip(wide.images, wide.landmarks.long(), strict=True):
        assert (image[3, points[:, 1], points[:, 0]] == 255).float().mean() > 0.9
        assert image[3, 0, 0] == 0
    assert torch.equal(render_wide(3).images, wide.images[:3])


def test_the_pointer_is_best_at_the_truth_when_it_claims_its_error() -> None:
    truth = torch.rand(2, COUNT, 2, generator=rng(6)) - 0.5
    off = truth + torch.tensor([0.06, 0.0])

    def loss(points: torch.Tensor, error: float) -> float:
        return float(pointer_loss(Points(points, torch.full((2, COUNT), error)), truth))

    assert loss(truth, 0.01) < loss(off, 0.06) < min(loss(off, 0.03), loss(off, 0.2))


def test_the_finder_is_best_when_it_says_what_is_there(wide: Heads, heads: Heads) -> None:
    photographs = draw_photographs(wide, torch.arange(16) % 8, rng(7), mean_shape=mean_shape_of(heads), size=64)
    first = Frames(*(part.unflatten(0, (16, 2))[:, 0] for part in photographs.frames))
    places = (torch.arange(8) + 0.5) * 8
    y, x = torch.meshgrid(places, places, indexing="ij")
    away = (torch.stack([x, y], dim=-1) - first.centre[:, None, None]).norm(dim=-1)
    nearest = away == away.flatten(1).amin(dim=1)[:, None, None]
    roll = torch.stack([first.roll.cos(), first.roll.sin()], dim=-1)
    row = torch.cat([first.centre, (first.side / 64).log()[:, None], roll], dim=-1)
    near = nearest | (away < NEAR * first.side[:, None, None])
    presence = torch.where(near & photographs.shown[:, :1, None], 8.0, -8.0)
    true = Grid(presence, row[:, None, None].expand(-1, 8, 8, -1))
    alone = ~photographs.shown[:, 1]
    kept = photographs._replace(
        images=photographs.images[alone],
        shown=photographs.shown[alone],
        frames=photographs.frames.take(alone.repeat_interleave(2)),
    )
    best = float(finder_loss(Grid(true.presence[alone], true.frames[alone]), kept))
    for other in (-true.presence, torch.zeros_like(true.presence)):
        assert best < float(finder_loss(Grid(other[alone], true.frames[alone]), kept))
    assert best < float(finder_loss(Grid(true.presence[alone], true.frames[alone] + 0.5), kept))
    assert torch.allclose(frame_distance(row, first, 64), torch.zeros(16), atol=1e-5)


def test_the_same_seed_is_the_same_network_and_another_is_not(heads: Heads, wide: Heads) -> None:
    first, second = (train_landmarks(heads, wide, SMALL, PLAN).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    plan = LandmarkPlan(finder_steps=3, pointer_steps=3, batch=8, held_out=4, seed=1)
    other = train_landmarks(heads, wide, SMALL, plan).network.state_dict()
    assert not torch.equal(first["finder.answer.weight"], other["finder.answer.weight"])


def test_training_finds_landmarks(heads: Heads, wide: Heads) -> None:
    def trained(steps: int) -> Trained:
        plan = LandmarkPlan(finder_steps=1, pointer_steps=steps, batch=10, rate=4e-3, held_out=4)
        return train_landmarks(heads, wide, SMALL, plan)

    before, after = trained(1), trained(60)
    assert after.figures["landmark_error"] < 0.7 * before.figures["landmark_error"]
    assert after.figures["heads"] == 4 and after.figures["plan"]["pointer_steps"] == 60


def test_the_recipe_writes_the_network_and_its_errors(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).resolve().parents[2] / "examples" / "train_landmarks.py"
    out = tmp_path / "landmarks.safetensors"
    words = [data, "--out", out, "--wide", 8, "--pointer-steps", 1, "--finder-steps", 1, "--held-out", 4]
    monkeypatch.setattr(sys, "argv", [script.name, *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")
    _, provenance = load_landmark_network(out)
    assert json.loads(capsys.readouterr().out)["heads"] == provenance["heads"] == 4
    assert provenance["images"] == 24 and provenance["photographs"] == 8 and provenance["plan"]["pointer_steps"] == 1


def test_data_sets_without_landmarks_are_refused(data: Path, tmp_path: Path, heads: Heads, wide: Heads) -> None:
    for path in data.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(data)).write_bytes(path.read_bytes())
    rows = [json.loads(line) for line in (tmp_path / POSE_FILE).read_text("utf-8").splitlines()]
    rows[3].pop("landmarks")
    (tmp_path / POSE_FILE).write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with pytest.raises(BadDataset, match="where the landmarks are"):
        read_heads(tmp_path)
    with pytest.raises(BadArgument, match="held out"):
        train_landmarks(heads, wide, SMALL, LandmarkPlan(held_out=8))
