"""`gramhd view`: from a checkpoint or saved scenes to a page, opened where there is a browser."""

from __future__ import annotations

import json
import re
import tempfile
import webbrowser
from pathlib import Path

import pytest
from small import SMALL_LOW

from gramhd_cli import app
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd


@pytest.fixture
def model(small_gram_hd: GramHd, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Checkpoint("gram-hd", small_gram_hd.config, dict(small_gram_hd.state_dict()), 1, 8, {}).save(path)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were given to the browser, of a desktop."""
    addresses: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(addresses.append(address)) or True)
    return addresses


def names(page: str | Path) -> list[str]:
    """Who is on a page."""
    found = re.search(r'id="page">(.*?)</script>', Path(page).read_text("utf-8"))
    assert found
    return json.loads(found[1])["names"]


@pytest.mark.slow
def test_seeds_become_identities_of_one_page(
    model: Path, tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "heads.html"
    assert app.run(["view", str(model), "--seeds", "3,0-1", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and opened == [out.as_uri()]
    assert names(out) == ["Seed 3", "Seed 0", "Seed 1"]


def test_without_out_the_page_is_temporary(
    model: Path, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert app.run(["view", str(model), "--no-open", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["path"]).parent.parent == tmp_path and names(document["path"]) == ["Seed 0"]
    assert document["bytes"] == Path(document["path"]).stat().st_size
    assert document["opened"] is False and opened == []


def test_a_machine_without_windows_says_so_and_is_content(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail("a text browser would take the terminal"))
    assert app.run(["view", str(model), "--out", str(tmp_path / "a.html")]) == 0
    assert "open the page yourself" in capsys.readouterr().err


@pytest.mark.slow
def test_saved_scenes_and_models_share_a_page(model: Path, tmp_path: Path) -> None:
    sample = ["sample", "--ckpt", str(model), "--seeds", "5", "--size", "16", "--save-scene", "--out", str(tmp_path)]
    assert app.run(sample) == 0
    scene, out = tmp_path / "seed0005.scene.safetensors", tmp_path / "a.html"
    assert app.run(["view", str(model), "--scene", str(scene), "--no-open", "--out", str(out)]) == 0
    assert names(out) == ["model, seed 0", "seed0005"]


def test_sample_writes_a_page_about_its_files(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pics"
    assert app.run(["sample", "--ckpt", str(model), "--seeds", "0,1", "--size", "16", "--html", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    assert 'src="seed0001.png"' in (out / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no model was named"),
        (["MODEL", "--seeds", ""], "neither a number nor a range"),
        (["MODEL", "--out", "head.glb"], ".html"),
        (["MODEL", "--out", "there.html"], "is a folder"),
        (["MODEL", "--size", "5000"], "16 to 2048"),
        (["missing.safetensors"], "does not exist"),
        (["MODEL", "--trunc", "2"], "between 0"),
        (["FIELD"], "no maps"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    words: list[str],
    sentence: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    field = Gram(SMALL_LOW.compatible())
    Checkpoint("gram", field.config, dict(field.state_dict()), 1, 8, {}).save(tmp_path / "field.safetensors")
    (tmp_path / "there.html").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there.html"))
    before = sorted(tmp_path.rglob("*"))
    places = {"MODEL": str(model), "FIELD": "field.safetensors"}
    assert app.run(["view", "--no-open", *(places.get(word, word) for word in words)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err
    assert sorted(tmp_path.rglob("*")) == before
