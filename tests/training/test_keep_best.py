"""Checkpoints scored while training: the best one is kept, and training does not notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import losses

from gramhd_cli import app
from gramhd_core.data.prepare import prepare_procedural

pytestmark = pytest.mark.slow

SETTINGS = ["--set", "train.save_every=16", "--set", "train.keep=1", "--set", "train.batch=8", "--images", "64"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_procedural(34, tmp_path_factory.mktemp("data") / "heads", size=16, workers=1).out


@pytest.mark.slow
def test_the_best_checkpoint_stays_and_the_losses_are_those_of_a_run_without_scores(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, scored = tmp_path / "plain", tmp_path / "scored"
    words = ["train-lr", "--data", str(heads), "--preset", "tiny", *SETTINGS]
    assert app.run([*words, "--out", str(plain)]) == 0
    assert app.run([*words, "--out", str(scored), "--keep-best", "16"]) == 0
    assert losses(scored) == losses(plain) and len(losses(plain)) == 8
    best = json.loads((scored / "checkpoints" / "best.json").read_text("utf-8"))
    assert best["score"] > 0
    capsys.readouterr()
    ckpt = scored / "checkpoints" / f"step{best['step']:08d}.safetensors"
    words = ["eval", "fid", "--features", "procedural", "--ckpt", str(ckpt), "--data", str(heads), "--samples", "16"]
    assert app.run([*words, "--json", "--cache", str(tmp_path / "cache")]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["fid"]["values"]["FID (procedural features)"]
    assert found == pytest.approx(best["score"], rel=1e-4)


def test_too_few_images_to_score_with_are_refused_before_training(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train-lr", "--data", str(heads), "--preset", "tiny", "--out", str(tmp_path / "run"), "--keep-best", "20"]
    assert app.run(words) == 2
    assert "has 34 images" in capsys.readouterr().err and not (tmp_path / "run").exists()
