"""`gramhd eval`: scores as lines or JSON, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gramhd_cli import app, evaluate
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.metrics import METRICS

pytestmark = pytest.mark.slow


@pytest.fixture
def model(small_gram_hd: GramHd, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Checkpoint("gram-hd", small_gram_hd.config, dict(small_gram_hd.state_dict()), 1, 8, {}).save(path)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_procedural(34, tmp_path_factory.mktemp("data") / "heads", size=16, workers=1).out


def test_the_help_lists_every_metric() -> None:
    assert evaluate.METRICS == tuple(METRICS)


def test_scores_are_lines_or_one_document(model: Path, heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "geometry", "diversity", "--ckpt", str(model), "--data", str(heads), "--samples", "16"]
    assert app.run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "ordered", "nose to cheeks", "cheeks to ears", "diversity", "diversity nearest",
    ]  # fmt: skip
    assert app.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["scores"]) == ["geometry", "diversity"] and document["samples"] == 16
    assert document["checkpoint"] == "model.safetensors" and document["untrained"] is False
    assert app.run([*words, "--json", "--untrained"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["untrained"] is True and other["scores"] != document["scores"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fid", "--ckpt", "MODEL", "--data", "HEADS"], "did you mean `fid-procedural`"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--samples", "18"], "use --samples 17"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--samples", "3"], "scores need 16"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--trunc", "-1"], "between 0"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--size", "4"], "16 to 1024"),
        (["pose", "--ckpt", "MODEL", "--data", "EMPTY"], "is empty"),
        (["pose", "--ckpt", "MODEL", "--data", "nowhere"], "nowhere"),
        (["pose", "--ckpt", "nothing.safetensors", "--data", "HEADS"], "does not exist"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--device", "abacus"], "the devices are"),
    ],
)
def test_wrong_input_is_one_sentence(
    words: list[str], sentence: str, model: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"MODEL": str(model), "HEADS": str(heads), "EMPTY": str(tmp_path / "empty")}
    assert app.run(["eval", *(places.get(word, word) for word in words)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err
