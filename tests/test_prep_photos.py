"""`gramhd prep-data` with photographs: what is asked, what is refused, what is printed, and a set that can train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from photographs import make_faulty, make_photos

from gramhd_cli.app import run
from gramhd_core.data.dataset import DatasetReader

HEADS = ["--subject", "procedural-heads", "--size", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Five photographs, seven files of no use, and landmarks.json beside their folder."""
    folder = tmp_path_factory.mktemp("album") / "photos"
    truths = make_photos(folder, 5, seed=3)
    make_faulty(folder)
    known = {name: truth[0].landmarks.tolist() for name, truth in truths.items()}
    (folder.parent / "landmarks.json").write_text(json.dumps(known))
    return folder


def given(album: Path) -> list[str]:
    return [str(album), *HEADS, "--landmark-file", str(album.parent / "landmarks.json")]


@pytest.mark.slow
def test_photographs_become_a_set_and_what_was_left_out_is_counted(album, tmp_path, capsys):
    out = tmp_path / "set"
    formats = ["--format", "eg3d-zip", "--format", "transforms", "--prior", "measured"]
    assert run(["prep-data", *given(album), "--out", str(out), *formats]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n" and "7 left out" in printed.err and "Landmarks: file" in printed.err
    assert f"{tmp_path / 'set_eg3d.zip'}" in printed.err and "generator.cameras.yaw_sd=" in printed.err
    assert len(DatasetReader(out)) == len(DatasetReader(tmp_path / "set_eg3d.zip")) == 5
    assert run(["prep-data", *given(album), "--out", str(out), "--json", "--prior", "measured"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["rejected"]) == (5, 7)
    wide = json.loads((out / "about.json").read_text())["cameras"]["yaw_sd"]
    for stage, low in (("lr", []), ("hr", ["low"])):
        shown = ["--data", str(out), "--preset", "tiny", "--show-config"]
        assert run([f"train-{stage}", *shown]) == 0
        cameras = json.loads(capsys.readouterr().out)["generator"]
        for part in [*low, "cameras"]:
            cameras = cameras[part]
        assert cameras["yaw_sd"] == pytest.approx(wide, rel=1e-5)
        place = ".".join(["generator", *low, "cameras", "yaw_sd"])
        assert run([f"train-{stage}", *shown, "--set", f"{place}=0.125"]) == 0
        assert '"yaw_sd": 0.125' in capsys.readouterr().out
    assert run(["prep-data", "--self-test", str(out), "--out", str(tmp_path / "axes.png")]) == 0
    assert (tmp_path / "axes.png").read_bytes() == (out / "contact_sheet.png").read_bytes()


@pytest.mark.slow
def test_a_dry_run_counts_and_writes_nothing(album, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["prep-data", *given(album), "--dry-run", "--limit", "7"]) == 0
    out = capsys.readouterr().out
    assert "photos: 7\nimages: 5\nreasons: 2 unreadable\n" in out and "detector: file" in out
    assert run(["prep-data", *given(album), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"] == {"unreadable": 5, "no landmarks": 2}
    assert list(tmp_path.iterdir()) == []


def test_no_usable_photograph_is_2_with_the_reasons_counted(tmp_path, capsys):
    make_faulty(tmp_path / "photos")
    assert run(["prep-data", str(tmp_path / "photos"), "--landmarks", "haar", "--out", str(tmp_path / "set")]) == 2
    err = capsys.readouterr().err
    assert "5 unreadable, 1 too small, 1 no face" in err and not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "x --labels y --subject faces --out z",
        "x --labels y --dry-run",
        "--procedural 3 --subject faces --out z",
        "--procedural 3 --dry-run",
        "x --self-test --format gram",
        "x --dry-run --format gram",
        "x --subject dogs --out z",
        "x --landmarks eyes --out z",
        "x --faces some --out z",
        "x --limit 0 --out z",
        "x --format coco --out z",
        "x --subject absent.toml --out z",
        "x --landmarks file --out z",
        "x --landmark-file absent.json --out z",
    ],
)
def test_what_does_not_go_together_is_one_sentence(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.png").write_bytes(b"")
    assert run(["prep-data", *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("gramhd: ") and printed.err.count("\n") == 1
    assert not (tmp_path / "z").exists()


def test_images_that_bring_labels_are_taken_as_they_are(tmp_path, capsys):
    assert run(["prep-data", "--procedural", "2", "--size", "16", "--workers", "1", "--out", str(tmp_path / "a")]) == 0
    assert run(["prep-data", str(tmp_path / "a"), "--size", "8", "--workers", "1", "--out", str(tmp_path / "b")]) == 0
    assert "Landmarks" not in capsys.readouterr().err and DatasetReader(tmp_path / "b").resolution == 8


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_same_command(album, tmp_path, gramhd):
    out, journal = tmp_path / "set", tmp_path / "set/.unfinished.jsonl"
    command = [sys.executable, "-m", "gramhd_cli", "prep-data", *given(album), "--out", str(out)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while child.poll() is None and time.monotonic() < deadline:
        if journal.exists() and '"settled"' in journal.read_text():
            os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    child.wait(timeout=60)
    settled = {path.name: path.stat().st_mtime_ns for path in out.rglob("img*.png")}
    done = gramhd("prep-data", *given(album), "--out", str(out))
    assert done.returncode == 0 and len(DatasetReader(out)) == 5 and len(settled) >= 4
    kept = {path.name for path in out.rglob("img*.png") if path.stat().st_mtime_ns == settled.get(path.name)}
    assert len(kept) >= 4


@pytest.mark.slow
def test_training_takes_the_data_set_of_unlabelled_photographs(album, tmp_path, capsys):
    made = str(tmp_path / "set")
    assert run(["prep-data", str(album), *HEADS, "--out", made]) == 0
    assert "Landmarks: procedural" in capsys.readouterr().err
    train = ["train-lr", "--data", made, "--out", str(tmp_path / "run"), "--preset", "tiny", "--images", "16"]
    assert run([*train, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip().endswith(".safetensors")
