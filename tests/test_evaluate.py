"""`gramhd eval`: scores as lines, documents and reports, and a sentence for whatever is wrong."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gramhd_cli import app, evaluate
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import METRICS
from gramhd_core.metrics.view_files import write_views
from gramhd_core.metrics.views import views_of_head

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(small_gram_hd: GramHd, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Checkpoint("gram-hd", small_gram_hd.config, dict(small_gram_hd.state_dict()), 1, 8, {}).save(path)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_procedural(34, tmp_path_factory.mktemp("data") / "heads", size=16, workers=1).out


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads from five sides each."""
    out = tmp_path_factory.mktemp("views")
    cameras = CameraPrior().at(torch.zeros(5), torch.linspace(-0.4, 0.4, 5), size=32)
    for seed in (3, 4):
        write_views(out / f"head{seed}", views_of_head(HeadIdentity.from_seed(seed), cameras, name="", supersample=1))
    return out


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in document.items() if name != "times"}


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
    assert list(document["metrics"]) == ["geometry", "diversity"] and document["request"]["samples"] == 16
    assert document["system"]["name"] == "model.safetensors" and document["system"]["untrained"] is False
    assert app.run([*words, "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["name"] for row in rows][-1] == "diversity_nearest"
    assert float(rows[-1]["value"]) == document["metrics"]["diversity"]["values"]["diversity_nearest"]
    assert app.run([*words, "--json", "--untrained"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["system"]["untrained"] is True and other["metrics"] != document["metrics"]


def test_a_report_is_the_same_twice_and_goes_on_where_it_ended(
    model: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["geometry", "fid", "depth", "--samples", "16", "--identities", "1"]
    words = ["eval", *asked, "--ckpt", str(model), "--data", str(heads), "--out"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert app.run([*words, str(first)]) == 0
    paths = capsys.readouterr().out.splitlines()
    assert all(Path(path).is_file() for path in paths) and not list(first.glob("*.partial.*"))
    assert app.run([*words, str(second)]) == 0
    one, two = (json.loads((out / "report.json").read_text("utf-8")) for out in (first, second))
    assert without_times(one) == without_times(two) and str(tmp_path) not in json.dumps(one)
    stopped = {**one, "metrics": {name: one["metrics"][name] for name in ("fid", "depth")}}
    times = {name: {**one["times"][name], "seconds": -1.0} for name in stopped["metrics"]}
    stopped["times"] = times | {"files": one["times"]["files"]}
    (first / "report.json").unlink()
    (first / "report.partial.json").write_text(json.dumps(stopped), "utf-8")
    next((first / "pictures").glob("depth-depth.png")).unlink()  # half of this score is lost
    assert app.run([*words, str(first)]) == 0
    again = json.loads((first / "report.json").read_text("utf-8"))
    assert without_times(again) == without_times(one)
    assert again["times"]["fid"]["seconds"] == -1 and again["times"]["depth"]["seconds"] > 0


def test_a_report_of_another_request_is_replaced_only_by_force(
    model: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "geometry", "--ckpt", str(model), "--data", str(heads), "--out", str(tmp_path / "r"), "--samples"]
    assert app.run([*words, "16"]) == 0
    before = (tmp_path / "r" / "report.json").read_text("utf-8")
    capsys.readouterr()
    assert app.run([*words, "17"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "samples 16" in said.err and "samples 17" in said.err and "--force" in said.err
    assert (tmp_path / "r" / "report.json").read_text("utf-8") == before
    assert app.run([*words, "17", "--force"]) == 0
    assert json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))["request"]["samples"] == 17


def test_a_report_of_pictures_that_have_changed_does_not_go_on(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for index in range(16):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(made / f"{index}.bmp")
    words = ["eval", "fid", "--images", str(made), "--data", str(heads), "--size", "32", "--out", str(tmp_path / "r")]
    words += ["--cache", str(tmp_path / "cache")]
    assert app.run(words) == 0
    file = tmp_path / "r" / "report.json"
    before, text = json.loads(file.read_text("utf-8"))["metrics"]["fid"]["values"], file.read_text("utf-8")
    assert "samples" not in re.sub("<[^>]*>", " ", (tmp_path / "r" / "report.html").read_text("utf-8"))  # of a model
    for index in range(16):  # files as long as before
        Image.new("RGB", (32, 32), (0, 255, 15 * index)).save(made / f"{index}.bmp")
    capsys.readouterr()
    assert app.run(words) == 2 and "have changed since" in capsys.readouterr().err
    assert file.read_text("utf-8") == text
    assert app.run([*words, "--force"]) == 0
    assert json.loads(file.read_text("utf-8"))["metrics"]["fid"]["values"] != before


def test_a_report_takes_scores_of_pictures_later(
    model: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt", str(model), "--data", str(heads), "--samples", "16", "--out", str(tmp_path / "r")]
    for metric in ("geometry", "fid", "diversity"):
        assert app.run(["eval", metric, *words]) == 0, capsys.readouterr().err
    document = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))
    assert list(document["metrics"]) == ["fid", "geometry", "diversity"]


def test_a_place_that_cannot_be_written_to_is_refused_before_the_first_head(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GramHd, "scene", lambda *_: pytest.fail("a head was made"))
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    assert app.run(["eval", "reprojection", "--ckpt", str(model), "--out", str(tmp_path / "notes.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and (tmp_path / "notes.txt").read_text("utf-8") == "mine"


def test_all_identities_of_a_folder_are_judged(views: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["eval", "reprojection", "--views", str(views), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["reprojection"]["protocol"]["identities"] == document["request"]["identities"] == 2
    assert app.run(["eval", "reprojection", "--views", str(views), "--identities", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["metrics"]["reprojection"]["each"]["reprojection PSNR"]) == 1
    assert document["system"]["facts"] == ["1 of 2 identities, 5 views each, 32 × 32"]


def test_wrong_features_are_refused_before_the_first_head(
    model: Path, heads: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GramHd, "scene", lambda *_: pytest.fail("a head was made"))
    words = ["eval", "geometry", "fid", "--ckpt", str(model), "--data", str(heads), "--samples", "16"]
    assert app.run([*words, "--features", "inceptoin"]) == 2
    assert "did you mean `inception`" in capsys.readouterr().err


def test_a_model_whose_colours_are_not_numbers_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Checkpoint.load(model)
    for name, tensor in checkpoint.weights.items():
        if tensor.is_floating_point() and "foreground" in name:
            tensor.fill_(math.nan)
    checkpoint.save(tmp_path / "nan.safetensors")
    words = ["--ckpt", str(tmp_path / "nan.safetensors")]
    assert app.run(["eval", "consistency", *words, "--samples", "16"]) == 2
    assert "not numbers" in capsys.readouterr().err


def test_views_of_somebody_else_are_scored_without_a_model(views: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["eval", "reprojection", "--views", str(views), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["system"]["kind"] == "views" and document["system"]["name"] == views.name
    part = document["metrics"]["reprojection"]
    assert len(part["each"]["reprojection PSNR"]) == 2 and part["protocol"]["identities"] == 2
    assert part["intervals"]["reprojection PSNR"][0] < part["values"]["reprojection PSNR"] > 25


def test_plain_pictures_are_scored_against_data(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(heads / "images", plain)
    words = ["eval", "--images", str(plain), "--data", str(heads), "--json", "--features", "procedural"]
    assert app.run(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["metrics"]) == ["fid", "kid", "precision"] and document["system"]["kind"] == "images"
    assert "it needs --ckpt" in document["left_out"]["speed"]
    assert document["metrics"]["precision"]["values"]["precision (procedural features)"] > 0.8


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["neuss", "--ckpt", "MODEL", "--data", "HEADS"], "did you mean `neus`"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--samples", "18"], "use --samples 17"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--samples", "3"], "scores need 16"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--trunc", "-1"], "between 0"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--size", "4"], "16 to 1024"),
        (["pose", "--ckpt", "MODEL", "--data", "EMPTY"], "is empty"),
        (["pose", "--ckpt", "MODEL", "--data", "nowhere"], "nowhere"),
        (["pose", "--ckpt", "nothing.safetensors", "--data", "HEADS"], "does not exist"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--device", "abacus"], "the devices are"),
        (["pose", "--ckpt", "MODEL"], "give --data of procedural heads"),
        (["pose", "--data", "HEADS"], "give one of --ckpt, --views and --images"),
        (["fid", "--ckpt", "MODEL", "--images", "HEADS", "--data", "HEADS"], "one thing is judged at a time"),
        (["speed", "--images", "PLAIN", "--data", "HEADS"], "give --ckpt"),
        (["fid", "--images", "PLAIN"], "give --data"),
        (["fid", "--images", "EMPTY", "--data", "HEADS"], "is empty"),
        (["neus", "--views", "EMPTY"], "has no views"),
        (["neus", "--views", "PLAIN"], "pictures without cameras"),
        (["speed", "--views", "VIEWS"], "give --ckpt"),
        (["epi", "--views", "VIEWS"], "small level steps"),
        (["identity", "--views", "VIEWS"], "weights of ArcFace"),
        (["neus", "--views", "VIEWS", "--size", "64"], "--size"),
        (["fid", "--images", "MIXED", "--data", "HEADS"], "squares of one size"),
        (["fid", "--images", "BROKEN", "--data", "HEADS"], "every picture of the folder is compared"),
        (["fid", "--untrained", "--images", "HEADS", "--data", "HEADS"], "--untrained"),
        (["fid", "--ckpt", "MODEL", "--data", "HEADS", "--features", "inception"], "download https"),
        (["fid", "--ckpt", "MODEL", "--data", "HEADS", "--features", "inceptoin"], "did you mean `inception"),
        (["fid", "--ckpt", "MODEL", "--data", "HEADS", "--protocol", "papr"], "did you mean `paper`"),
        (["fid", "--ckpt", "MODEL", "--data", "HEADS", "--protocol", "paper"], "has 34 images"),
        (["fid", "--ckpt", "MODEL", "--data", "HEADS", "--protocol", "paper", "--samples", "99"], "subsets of 1000"),
        (["reprojection", "--ckpt", "MODEL", "--identities", "0"], "1 to 1000"),
        (["neus", "--ckpt", "MODEL", "--neus", "slow"], "fast, paper"),
        (["pose", "--ckpt", "MODEL", "--data", "HEADS", "--csv", "--json"], "printed in one form"),
        (["geometry", "--ckpt", "MODEL", "--data", "HEADS", "--out", "DAMAGED"], "cannot be read as a report"),
    ],
)
def test_wrong_input_is_one_sentence(
    words: list[str],
    sentence: str,
    model: Path,
    heads: Path,
    views: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "empty").mkdir()
    for name in ("plain", "mixed", "broken"):
        shutil.copytree(heads / "images", tmp_path / name)
    odd = next((tmp_path / "mixed").rglob("*03.png"))
    odd.write_bytes((heads / "contact_sheet.png").read_bytes())
    next((tmp_path / "broken").rglob("*03.png")).write_bytes(b"nothing")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "report.json").write_text("{", "utf-8")
    places = {"MODEL": str(model), "HEADS": str(heads), "VIEWS": str(views)}
    places |= {name.upper(): str(tmp_path / name) for name in ("empty", "plain", "mixed", "broken", "damaged")}
    assert app.run(["eval", *(places.get(word, word) for word in words)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err, said.err
