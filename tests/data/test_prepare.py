"""Making a data set folder: deterministic, finished after any interruption, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gramhd_cli.app import run
from gramhd_core.data import journal as journals
from gramhd_core.data import labels, procedural_heads, set_files
from gramhd_core.data.contact_sheet import AXIS_COLOURS, axes_in_picture, draw_axes, self_test
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.errors import BadArgument, BadDataset, CannotWrite

COUNT, SIZE = 8, 32


class Counting:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.done = self.total = self.advanced = 0
        self.finished = False

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        self.total, self.done = total, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.advanced += steps

    def say(self, line: str) -> None: ...

    def finish(self) -> None:
        self.finished = True


def heads(out: Path, **options):
    return prepare_procedural(COUNT, out, **{"size": SIZE, "workers": 1, **options})


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return heads(tmp_path_factory.mktemp("made") / "heads")


# ------------------------------------------------------------------------------------------------ procedural heads


def test_the_folder_holds_what_the_reader_and_the_renderer_say(made):
    reader, records = DatasetReader(made.out), lines(made.out / "poses.jsonl")
    assert made.images == len(reader) == len(records) == COUNT and made.rejected == 0
    assert made.fingerprint == reader.fingerprint and made.contact_sheet.stat().st_size < 300_000
    for i, (sample, record) in enumerate(zip(reader, records, strict=True)):
        item = procedural_heads.render_item(record["seed"], size=SIZE)
        assert sample.name == record["name"] == f"images/00000/img{i:08d}.png"
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), item.view.image)
        assert (sample.pitch, sample.yaw) == pytest.approx((item.pitch, item.yaw), abs=1e-6)
        assert np.allclose(record["landmarks"], item.view.landmarks_2d, atol=0.01)


def test_both_label_files_say_the_same(made):
    ours, eg3d = (labels.read_labels(made.out / name) for name in ("poses.jsonl", "dataset.json"))
    assert ours.keys() == eg3d.keys()
    for name, pose in ours.items():
        assert eg3d[name]._replace(radius=1.0) == pytest.approx(pose, abs=1e-6)


def test_about_tells_counts_and_distribution(made):
    about = json.loads((made.out / "about.json").read_text())
    assert (about["images"], about["size"], about["subject"]) == (COUNT, SIZE, "procedural-heads")
    assert about["fingerprint"] == made.fingerprint and sum(about["yaw"]["histogram"]["counts"]) == COUNT
    assert about["yaw"]["mean"] == pytest.approx(float(DatasetReader(made.out).angles[:, 1].mean()), abs=1e-4)


def test_the_same_arguments_make_the_same_bytes(made, tmp_path):
    assert content(heads(tmp_path / "again").out) == content(made.out)


@pytest.mark.slow
def test_two_processes_make_the_bytes_of_one(tmp_path):
    two = prepare_procedural(2 * set_files.CHUNK, tmp_path / "two", size=16, workers=2)
    one = prepare_procedural(2 * set_files.CHUNK, tmp_path / "one", size=16, workers=1)
    assert content(two.out) == content(one.out)


def test_other_seeds_make_other_heads(made, tmp_path):
    other = heads(tmp_path / "other", seed=1)
    assert other.fingerprint != made.fingerprint
    seeds = [{record["seed"] for record in lines(result.out / "poses.jsonl")} for result in (made, other)]
    assert not seeds[0] & seeds[1]


def test_a_finished_folder_is_not_made_again(made, tmp_path, monkeypatch):
    before = content(shutil.copytree(made.out, tmp_path / "heads"))
    monkeypatch.setattr(procedural_heads, "render_item", None)
    progress = Counting()
    heads(tmp_path / "heads", progress=progress)
    assert content(tmp_path / "heads") == before
    assert (progress.total, progress.done, progress.advanced, progress.finished) == (COUNT, COUNT, 0, True)


def test_a_lost_or_damaged_image_is_made_again(made, tmp_path):
    out = shutil.copytree(made.out, tmp_path / "heads")
    (out / "images/00000/img00000002.png").unlink()
    (out / "images/00000/img00000005.png").write_bytes(b"")
    progress = Counting()
    heads(out, progress=progress)
    assert progress.advanced == 2 and content(out) == content(made.out)


@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_run_is_finished_by_the_same_call(made, tmp_path, monkeypatch, torn):
    out, drawn, render = tmp_path / "heads", [], procedural_heads.render_item

    def interrupted(*args, **options):
        drawn.append(args)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return render(*args, **options)

    monkeypatch.setattr(set_files, "CHUNK", 2)
    monkeypatch.setattr(procedural_heads, "render_item", interrupted)
    with pytest.raises(KeyboardInterrupt):
        heads(out)
    (out / "images/00000/.img00000007.123.part.png").write_bytes(b"half")  # what kill -9 leaves
    if torn:
        journal = out / ".unfinished.jsonl"
        journal.write_text(journal.read_text()[:-9])
    with pytest.raises(BadDataset, match="unfinished"):
        DatasetReader(out)
    progress = Counting()
    heads(out, progress=progress)
    assert progress.done == (3 if torn else 4) and content(out) == content(made.out)


MAKE_MANY = """
import signal
from pathlib import Path
from gramhd_core.data.prepare import prepare_procedural
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what is in the background without it
try:
    prepare_procedural(4000, Path({out!r}), size=16, workers=2)
except KeyboardInterrupt:
    raise SystemExit(130) from None
"""


@pytest.mark.slow
def test_ctrl_c_with_worker_processes_is_quiet_and_leaves_a_folder_that_can_be_finished(tmp_path):
    out = tmp_path / "heads"
    command = [sys.executable, "-c", MAKE_MANY.format(out=str(out))]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    journal, deadline = out / ".unfinished.jsonl", time.monotonic() + 180  # the first run after installation compiles
    while not (journal.exists() and journal.read_text().count("\n") > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    assert child.communicate(timeout=90) == (None, b"") and child.returncode == 130
    records = lines(journal)[1:]
    assert 0 < len(records) < 4000 and all((out / record["name"]).exists() for record in records)


@pytest.mark.parametrize("other", [{"seed": 1}, {"size": 16}])
def test_a_folder_of_other_arguments_is_refused(made, other):
    before = content(made.out)
    with pytest.raises(BadDataset, match=f"other arguments .*{next(iter(other))}"):
        heads(made.out, **other)
    assert content(made.out) == before


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(BadDataset, match="not empty"):
        heads(tmp_path)
    with pytest.raises(BadDataset, match="is a file"):
        heads(tmp_path / "letter.txt")
    assert content(tmp_path) == {"letter.txt": b"dear reader"}


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"size": 0}, {"workers": 0}, {"count": 10**7}])
def test_impossible_arguments_are_a_sentence(tmp_path, wrong):
    with pytest.raises(BadArgument):
        prepare_procedural(**{"count": 1, "out": tmp_path / "x", "size": 16, "workers": 1, **wrong})


def test_a_full_disk_is_a_sentence_and_keeps_what_is_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CannotWrite, match="disk is full"):
        heads(tmp_path / "heads")
    monkeypatch.undo()
    assert heads(tmp_path / "heads").images == COUNT


# ------------------------------------------------------------------------------------------------ sheet and processes


def test_the_axes_point_where_the_camera_says():
    centre, x, y, z = axes_in_picture(Pose(0.0, 0.0), size=64)[:, :2]
    assert torch.allclose(centre, torch.full((2,), 32.0, dtype=torch.float64)) and torch.allclose(z, centre)
    assert x[0] > 45 and x[1] == 32 and y[1] < 19 and y[0] == 32
    from_right_above = axes_in_picture(Pose(0.3, 0.5, radius=2.7), size=64)
    assert from_right_above[3, 0] < 30 and from_right_above[3, 1] > 34  # the nose points left and down in the picture
    mirrored = axes_in_picture(Pose(0.3, 0.5, 0.2).mirrored(), size=64)[3, 0]
    assert 64 - mirrored == pytest.approx(float(axes_in_picture(Pose(0.3, 0.5, 0.2), size=64)[3, 0]))


def test_the_drawn_axes_have_their_colours():
    pose = Pose(0.3, 0.5)
    picture = np.asarray(draw_axes(torch.full((3, 96, 96), 128, dtype=torch.uint8), pose)).astype(int)
    for tip, colour in zip(axes_in_picture(pose, size=96)[1:], AXIS_COLOURS, strict=True):
        pixel = picture[int(tip[1]), int(tip[0])]
        assert np.abs(pixel - colour).max() < 60 and pixel.argmax() == np.argmax(colour)


def test_self_test_draws_a_sheet_beside_any_data_set(made, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, data in content(made.out).items():
            archive.writestr(name, data)
    sheet = self_test(tmp_path / "set.zip")
    assert sheet == tmp_path / "set_axes.png" and sheet.read_bytes() == made.contact_sheet.read_bytes()
    assert self_test(made.out, tmp_path / "here.png").stat().st_size < 300_000


def test_a_journal_takes_over_only_its_own_recipe(tmp_path):
    with journals.Journal(tmp_path / "out", {"size": 1}) as journal:
        journal.add([{"name": "a"}, {"file": "b", "reason": "c"}])
    again = journals.Journal(tmp_path / "out", {"size": 1})
    assert again.images() == [{"name": "a"}] and again.rejects() == []
    with pytest.raises(BadDataset, match=r"\(size\)"):
        journals.Journal(tmp_path / "out", {"size": 2})


# ------------------------------------------------------------------------------------------------ the command


@pytest.mark.slow
def test_the_command_prints_the_folder_or_one_json_document(made, tmp_path, capsys):
    out = str(tmp_path / "heads")
    command = ["prep-data", "--procedural", str(COUNT), "--size", str(SIZE), "--workers", "1", "--out", out]
    assert run(command) == 0
    assert capsys.readouterr().out == f"{out}\n" and content(tmp_path / "heads") == content(made.out)
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["out"], document["images"], document["fingerprint"]) == (out, COUNT, made.fingerprint)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "x",
        "--procedural 3",
        "x --procedural 3 --out y",
        "--procedural 3 --labels x --out y",
        "--procedural 3 --keep-going --out y",
        "x --seed 0 --out y",
        "--self-test",
        "x --self-test --labels y",
        "x --self-test --size 8",
        "x --self-test --seed 0",
        "x --self-test --workers 1",
        "x --self-test --keep-going",
    ],
)
def test_contradictory_arguments_are_one_sentence(arguments, capsys):
    assert run(["prep-data", *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("gramhd: ") and printed.err.count("\n") == 1
    assert "does not exist" not in printed.err  # nothing was looked for


def test_an_option_without_effect_is_named(capsys):
    assert run(["prep-data", "x", "--self-test", "--labels", "y", "--keep-going"]) == 2
    assert "--labels and --keep-going and --self-test were given together" in capsys.readouterr().err
