"""The examples run, at sizes of seconds, and say what they promise; the demo page shows what is there."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramhd_core.data.prepare import prepare_procedural

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
Runner = Callable[..., tuple[int, str, str]]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    """`example("01_procedural_head", "out")` as from the shell: exit code, stdout, stderr."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        code: object = 0
        try:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return (code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return run


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_they_are_run(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 60
    assert f"python examples/{path.name} " in text


def test_every_numbered_example_is_run_here() -> None:
    tests = Path(__file__).read_text("utf-8")
    assert len(NUMBERED) >= 5
    assert all(f'example("{path.stem}"' in tests for path in NUMBERED)


def test_a_head_comes_with_its_truth(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("01_procedural_head", tmp_path, "--size", 64)
    assert code == 0 and "landmarks of 68" in out
    with Image.open(tmp_path / "head0003.png") as picture:
        assert picture.size == (3 * 64 + 2 * 4, 64)


def test_a_data_set_is_read(example: Runner, tmp_path: Path) -> None:
    prepare_procedural(6, tmp_path / "heads", size=16)
    code, out, _ = example("02_read_a_dataset", tmp_path / "heads", tmp_path)
    assert code == 0 and "12 items" in out and (tmp_path / "first.png").exists()


@pytest.mark.slow
def test_both_stages_train_from_python(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("03_train_tiny", tmp_path, "--heads", 8, "--images", 32)
    assert code == 0 and "9 pictures of 3 heads" in out
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3


def test_a_scene_is_seen_many_times(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("04_scene_is_a_value", tmp_path, "--views", 3, "--size", 16)
    assert code == 0 and "each of 3 views" in out and (tmp_path / "views.png").exists()


@pytest.mark.slow
def test_a_head_becomes_meshes(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("06_head_as_a_mesh", tmp_path, "--size", 64, "--resolution", 48)
    assert code == 0 and "closed" in out and "% of the head's width" in out
    assert (tmp_path / "layers.glb").exists() and (tmp_path / "surface.ply").exists()


@pytest.mark.slow
def test_official_weights_come_back(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("05_import_official_layout", tmp_path)
    assert code == 0 and "62 tensors" in out and "the same names, the same values" in out


@pytest.mark.slow
def test_heads_turn_in_one_file(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("07_page_of_heads", tmp_path, "--heads", 2, "--size", 32)
    assert code == 0 and "2 heads" in out and (tmp_path / "heads.html").stat().st_size > 50_000


def test_photographs_become_a_data_set(example: Runner, tmp_path: Path) -> None:
    code, out, _ = example("08_photos_to_dataset", tmp_path, "--photos", 4)
    assert code == 0 and "4 heads of 5 photographs" in out and "'unreadable': 1" in out
    assert (tmp_path / "set" / "dataset.json").exists()


# ---- the demo page ------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """What `make demo` leaves, with flat pictures: tile (row, column) of a sample sheet has its number as grey."""
    folder = tmp_path / "demo"
    for run, moments in (("lr", range(4000, 28000, 4000)), ("hr", (1000, 2000))):
        (folder / run / "samples").mkdir(parents=True)
        tiles = np.arange(24, dtype=np.uint8).reshape(4, 6).repeat(64, 0).repeat(64, 1)
        for images in moments:
            Image.fromarray(tiles).save(folder / run / "samples" / f"images{images:09d}.png")
        stats = {"step": 10, "images": moments[-1], "images_per_s": 50.0}
        (folder / run / "stats.jsonl").write_text(json.dumps(stats) + "\n")
    for name in (
        "built-in/sheet.png",
        "built-in/multiview/seed0000_multiview3x7.png",
        "heads/contact_sheet.png",
        "heads-made/sheet.png",
        "multiview/seed0000_multiview3x7.png",
        "epi/seed0000_epi.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "video").mkdir()
    for name in ("video/seed0000.mp4", "heads.html", "head.glb", "head.ply"):
        (folder / name).touch()
    return folder


def test_the_page_links_every_piece_and_nothing_from_elsewhere(example: Runner, demo: Path) -> None:
    before = {path for path in demo.rglob("*") if path.is_file()}
    code, out, err = example("demo_page", demo)
    assert (code, out, err) == (0, f"{demo / 'index.html'}\n", "")
    text = (demo / "index.html").read_text("utf-8")
    assert {path for path in demo.rglob("*") if path.is_file()} - before == {demo / "index.html", demo / "progress.png"}
    sources = [part.split('"')[0] for part in text.split('src="')[1:]]
    assert len(sources) == 8 and all((demo / source).is_file() for source in sources)
    assert [part.split('"')[0] for part in text.split('href="')[1:]] == ["heads.html", "head.glb", "head.ply"]
    assert "http" not in text and "missing, but" not in text
    assert "<td>24,000</td><td>50.0</td><td>8.0</td>" in text


def test_progress_shows_four_moments_of_a_run_with_the_same_tiles(example: Runner, demo: Path) -> None:
    example("demo_page", demo)
    with Image.open(demo / "progress.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (6 * 64 + 5 * 2, 96 + 12 * 64, 3)
    for row in range(6):
        assert picture[row * 66 + 32, 96 + 32 :: 64, 0].tolist() == list(range(12))
        assert picture[row * 66 : row * 66 + 64, :96].min() < 200, "a label"


def test_runs_come_in_the_order_they_were_trained(example: Runner, demo: Path) -> None:
    (demo / "lr").rename(demo / "lr16")
    shutil.copytree(demo / "lr16", demo / "lr")
    os.utime(demo / "lr16" / "stats.jsonl", (0, 0))
    assert example("demo_page", demo)[0] == 0
    text = (demo / "index.html").read_text("utf-8")
    assert text.index("<td>lr16:") < text.index("<td>lr:") < text.index("<td>hr:")


@pytest.mark.parametrize("piece", ["heads", "video", "hr/samples", "lr/stats.jsonl", "epi"])
def test_a_missing_piece_is_a_sentence_on_the_page_and_2(example: Runner, demo: Path, piece: str) -> None:
    (demo / piece).rename(demo / "gone")
    code, _, err = example("demo_page", demo)
    assert code == 2 and piece in err and err.count("\n") == 1
    assert err.strip() in (demo / "index.html").read_text("utf-8")


def test_no_demo_is_a_sentence_and_2(example: Runner, tmp_path: Path) -> None:
    code, out, err = example("demo_page", tmp_path / "nothing")
    assert (code, out) == (2, "") and "run make demo first" in err
    assert example("demo_page")[0] == 2
