"""Teaching the feature network: same seed, same network; only what a picture shows is asked for."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.labels import POSE_FILE
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.metrics.feature_training import (
    DEGRADED,
    MIRRORED,
    Heads,
    TrainingPlan,
    coarsened,
    degrade,
    figures,
    read_heads,
    train_features,
)
from gramhd_core.networks.feature_network import FeatureConfig, load_feature_network

pytestmark = pytest.mark.slow

SMALL = FeatureConfig(16, (12, 16), 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_procedural(60, tmp_path_factory.mktemp("heads") / "data", size=16, workers=1).out


@pytest.fixture(scope="module")
def heads(data: Path) -> Heads:
    return read_heads(data, size=16)


def test_heads_come_with_their_numbers(heads: Heads) -> None:
    truth = HeadIdentity.from_seed(7).attributes()
    for name in ("skin_r", "nose_length", "curtain"):
        assert heads.targets[7, heads.names.index(name)] == pytest.approx(truth[name])
    assert heads.names[:2] == ("pitch", "yaw") and heads.names[-2:] == DEGRADED
    assert heads.targets.shape == heads.known.shape == (60, len(heads.names))


def test_what_a_picture_cannot_show_is_not_asked_for(heads: Heads) -> None:
    for i in range(60):
        truth = HeadIdentity.from_seed(i).attributes()
        assert heads.known[i, heads.names.index("glasses_colour_r")] == truth["glasses"]
        assert heads.known[i, heads.names.index("hair_r")] == (truth["hair_top"] + truth["stubble"] > 0)
        assert heads.known[i, heads.names.index("hair_top")] == 1


def test_a_mirrored_head_differs_in_the_numbers_that_change_sign() -> None:
    for seed in range(20):
        before = HeadIdentity.from_seed(seed)
        flipped = before.mirrored().attributes()
        for name, value in before.attributes().items():
            assert flipped[name] == (-value if name in MIRRORED else value)


def test_the_same_seed_is_the_same_network_and_another_is_not(heads: Heads) -> None:
    plan = TrainingPlan(epochs=1, batch=16, held_out=12)
    first, second = (train_features(heads, SMALL, plan).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = train_features(heads, SMALL, TrainingPlan(epochs=1, batch=16, held_out=12, seed=1)).network.state_dict()
    assert not torch.equal(first["enter.weight"], other["enter.weight"])


def test_training_finds_the_pose(heads: Heads) -> None:
    trained = train_features(heads, SMALL, TrainingPlan(epochs=100, batch=24, rate=4e-3, held_out=12))
    assert trained.figures["heads"] == 12 and trained.figures["plan"]["seed"] == 0
    assert "noise" not in trained.figures["r2"] and trained.figures["r2"]["yaw"] < 1
    before = train_features(heads, SMALL, TrainingPlan(epochs=1, batch=24, rate=1e-9, held_out=12))
    seen = [figures(t.network, heads.part(0, 48)) for t in (before, trained)]
    assert seen[1]["yaw_error_sharp"] < 0.9 * seen[0]["yaw_error_sharp"] and seen[1]["r2"]["yaw"] > 0.3


def test_degraded_images_say_what_was_done() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(96, 3, 32, 32, generator=rng) * 1.6 - 0.8
    after, done = degrade(images, rng)
    clean = (done == 0).all(dim=1)
    assert 0 < clean.sum() < 96 and (done > 0).any(dim=0).all()
    assert torch.equal(after[clean], images[clean])
    changed = (after - images).abs().mean(dim=(1, 2, 3))
    assert changed[~clean].min() > 0


def test_coarser_pictures_hold_less_detail() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    detail = [coarsened(image, side).diff(dim=-1).abs().mean().item() for side in (32, 24, 16, 8)]
    assert detail == sorted(detail, reverse=True) and torch.equal(coarsened(image, 32), image)


def test_the_recipe_writes_the_network_and_its_errors(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).resolve().parents[2] / "examples" / "train_features.py"
    out = tmp_path / "features.safetensors"
    words = [data, "--out", out, "--size", 32, "--epochs", 1, "--held-out", 12]
    monkeypatch.setattr(sys, "argv", [script.name, *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")
    network, provenance = load_feature_network(out)
    assert json.loads(capsys.readouterr().out)["heads"] == provenance["heads"] == 12
    assert network.config.image_size == 32 and provenance["images"] == 60 and provenance["plan"]["epochs"] == 1


def test_data_sets_without_truth_are_refused(data: Path, tmp_path: Path, heads: Heads) -> None:
    for path in data.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(data)).write_bytes(path.read_bytes())
    rows = [json.loads(line) for line in (tmp_path / POSE_FILE).read_text("utf-8").splitlines()]
    rows[3].pop("seed")
    (tmp_path / POSE_FILE).write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with pytest.raises(BadDataset, match="which heads"):
        read_heads(tmp_path, size=16)
    (tmp_path / POSE_FILE).unlink()
    with pytest.raises(BadDataset, match="which heads"):
        read_heads(tmp_path, size=16)
    with pytest.raises(BadArgument, match="held out"):
        train_features(heads, SMALL, TrainingPlan(held_out=60))
