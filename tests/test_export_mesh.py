"""`gramhd export-mesh`: from a checkpoint or a saved scene to a file, or to one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gramhd_cli import app
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.scenes.head_manifolds import head_manifolds


@pytest.fixture
def model(small_gram_hd: GramHd, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Checkpoint("gram-hd", small_gram_hd.config, dict(small_gram_hd.state_dict()), 1, 8, {}).save(path)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "head.scene.safetensors"
    head_manifolds(HeadIdentity.from_seed(0), size=32).save(path)
    return path


def test_a_checkpoint_becomes_layers(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trimesh = pytest.importorskip("trimesh")
    out = tmp_path / "new" / "head.glb"
    assert app.run(["export-mesh", "--ckpt", str(model), "--seed", "5", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"] == str(out) and document["bytes"] == out.stat().st_size
    names = {"background", *(f"layer_{level:02d}" for level in document["levels"])}
    assert set(trimesh.load(out).graph.nodes_geometry) == names and len(names) == document["parts"]


@pytest.mark.parametrize("name", ["head.glb", "head.ply", "head.obj"])
def test_a_saved_scene_becomes_a_surface(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / name
    wishes = ["--kind", "surface", "--views", "3", "--resolution", "32"]
    assert app.run(["export-mesh", "--ckpt", str(saved), "--out", str(out), *wishes]) == 0
    assert capsys.readouterr().out == f"{out}\n" and out.stat().st_size > 10_000


def test_html_is_the_page_of_the_viewer(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "head.html"
    assert app.run(["export-mesh", "--ckpt", str(saved), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "<canvas" in out.read_text("utf-8")
    assert 0 < len(document["levels"]) < 24 and "triangles" not in document


@pytest.mark.slow
def test_a_saved_scene_is_not_given_a_seed_that_its_file_does_not_say(
    saved: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = ["sample", "--ckpt", str(model), "--seeds", "5", "--size", "16", "--save-scene", "--out", str(tmp_path)]
    assert app.run(sample) == 0
    for scene, extras in ((saved, None), (tmp_path / "seed0005.scene.safetensors", {"seed": 5, "truncation": 0.7})):
        out = tmp_path / "head.glb"
        assert app.run(["export-mesh", "--ckpt", str(scene), "--out", str(out)]) == 0
        data = out.read_bytes()
        tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        assert tree["asset"].get("extras") == extras


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "head.stl"], "its suffix says what it is"),
        (["--out", "head.glb", "--seed", ""], "write for example --seed 7"),
        (["--out", "head.html", "--texture-size", "4096"], "use a --texture-size in that range"),
        (["--out", "head", "--format", "html"], "its name ends in .html"),
        (["--out", "head.glb", "--seed", "0-3"], "show several with gramhd view"),
        (["--out", "head.glb", "--trunc", "1.5"], "between 0 (the average head) and 1"),
        (["--out", "head.ply", "--resolution", "9000"], "between 32 and 512"),
        (["--out", "head.ply", "--kind", "layers"], "use glb"),
        (["--out", "."], "its suffix says what it is"),
    ],
)
def test_wrong_input_is_one_sentence_before_any_model_is_read(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run(["export-mesh", "--ckpt", "missing.safetensors", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
