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
from PIL import Image

from gramhd_cli.app import run
from gramhd_core.data import journal as journals
from gramhd_core.data import labels, prepare, procedural_heads
from gramhd_core.data.contact_sheet import AXIS_COLOURS, axes_in_picture, draw_axes, self_test
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.prepare import prepare_labelled, prepare_procedural
from gramhd_core.errors import BadArgument, BadDataset, BadImage, BadLabels, CannotWrite, GramhdError

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


@pytest.fixture
def photos(tmp_path):
    """Six photos of 20 pixels with GRAM face labels beside them."""
    source = tmp_path / "photos"
    source.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / f"face{i}.png")
    labels.write_gram_mat(source / "poses", {f"face{i}.png": Pose(0.1 * i, -0.2 * i, 0.05 * i) for i in range(6)})
    return source


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


def test_the_same_arguments_make_the_same_bytes_in_one_process_or_two(made, tmp_path):
    assert content(heads(tmp_path / "again").out) == content(made.out)
    two = prepare_procedural(2 * prepare.CHUNK, tmp_path / "two", size=16, workers=2)
    one = prepare_procedural(2 * prepare.CHUNK, tmp_path / "one", size=16, workers=1)
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

    monkeypatch.setattr(prepare, "CHUNK", 2)
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
from pathlib import Path
from gramhd_core.data.prepare import prepare_procedural
try:
    prepare_procedural(4000, Path({out!r}), size=16, workers=2)
except KeyboardInterrupt:
    raise SystemExit(130) from None
"""


def test_ctrl_c_with_worker_processes_is_quiet_and_leaves_a_folder_that_can_be_finished(tmp_path):
    out = tmp_path / "heads"
    command = [sys.executable, "-c", MAKE_MANY.format(out=str(out))]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    journal, deadline = out / ".unfinished.jsonl", time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    assert child.communicate(timeout=30) == (None, b"") and child.returncode == 130
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


# ------------------------------------------------------------------------------------------------ photos with labels


def test_gram_photos_become_a_data_set_of_the_same_pixels_and_poses(photos, tmp_path):
    made = prepare_labelled(photos, None, tmp_path / "out", workers=1)
    poses = labels.read_labels(made.out / "poses.jsonl")
    for i, sample in enumerate(DatasetReader(made.out)):
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.asarray(Image.open(photos / f"face{i}.png")))
        assert poses[sample.name] == pytest.approx(Pose(0.1 * i, -0.2 * i, 0.05 * i), abs=1e-6)
    assert [record["source"] for record in lines(made.out / "poses.jsonl")] == [f"face{i}.png" for i in range(6)]


def test_every_form_of_the_same_photos_makes_the_same_data_set(photos, tmp_path):
    poses = {f"face{i}.png": Pose(0.1 * i, -0.2 * i, 0.05 * i) for i in range(6)}
    labels.write_poses(tmp_path / "p/poses.jsonl", poses)
    labels.write_eg3d(tmp_path / "e/dataset.json", poses)
    for method, name in ((zipfile.ZIP_STORED, "set.zip"), (zipfile.ZIP_DEFLATED, "small.zip")):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for file in sorted(photos.glob("*.png")):
                archive.write(file, file.name)
            archive.write(tmp_path / "e/dataset.json", "dataset.json")
    ways = [(photos, "p"), (photos, "p/poses.jsonl"), (photos, "e/dataset.json"), ("set.zip", None), ("small.zip", "e")]
    reference = prepare_labelled(photos, photos / "poses", tmp_path / "reference", workers=1)
    for i, (source, where) in enumerate(ways):
        where = None if where is None else tmp_path / where
        made = prepare_labelled(tmp_path / source, where, tmp_path / f"out{i}", workers=1)
        a, b = DatasetReader(reference.out), DatasetReader(made.out)
        torch.testing.assert_close(a.angles, b.angles, rtol=0, atol=1e-6)
        assert all(torch.equal(x.image, y.image) for x, y in zip(a, b, strict=True))


def test_a_data_set_folder_can_be_prepared_at_another_size(made, tmp_path):
    smaller = prepare_labelled(made.out, None, tmp_path / "small", size=16, workers=1)
    a, b = DatasetReader(made.out, size=16), DatasetReader(smaller.out)
    assert b.resolution == 16 and smaller.images == COUNT and smaller.rejected == 0
    assert all(torch.equal(x.image, y.image) for x, y in zip(a, b, strict=True))
    torch.testing.assert_close(a.angles, b.angles)


def test_the_angle_of_view_of_the_labels_is_kept(photos, tmp_path):
    labels.write_eg3d(
        tmp_path / "dataset.json", {f"face{i}.png": Pose(0, 0, fov_degrees=13.4) for i in range(6)}, radius=1.7
    )
    made = prepare_labelled(photos, tmp_path / "dataset.json", tmp_path / "out", workers=1)
    assert all(p.fov_degrees == pytest.approx(13.4) for p in labels.read_labels(made.out).values())


def damage(photos: Path, kind: str) -> None:
    """Make face3 unusable."""
    file = photos / "face3.png"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-300])
    elif kind == "unreadable":
        file.write_bytes(b"no image at all")
    elif kind == "not square":
        Image.new("RGB", (20, 30)).save(file)
    elif kind == "absent":
        file.unlink()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["truncated", "unreadable", "not square", "absent"])
def test_an_unusable_photo_stops_or_is_left_out_as_asked(photos, tmp_path, kind, workers):
    if workers == 2 and kind != "truncated":
        return  # the others are found before any worker starts
    damage(photos, kind)
    with pytest.raises(GramhdError, match="face3") as error:
        prepare_labelled(photos, None, tmp_path / "out", workers=workers)
    assert isinstance(error.value, BadLabels if kind == "absent" else BadImage) and "\n" not in str(error.value)
    made = prepare_labelled(photos, None, tmp_path / "out", workers=workers, keep_going=True)
    assert (made.images, made.rejected) == (5, 1)
    [reject] = lines(made.out / "rejects.jsonl")
    assert "face3" in reject["file"] and "face3" in reject["reason"]
    assert len(DatasetReader(made.out)) == 5


def test_photos_without_label_are_left_out_and_listed(photos, tmp_path):
    (photos / "poses/face0.mat").unlink()
    made = prepare_labelled(photos, None, tmp_path / "out", workers=1)
    assert (made.images, lines(made.out / "rejects.jsonl")) == (5, [{"file": "face0.png", "reason": "it has no label"}])


def test_mixed_sizes_need_a_size(photos, tmp_path):
    Image.new("RGB", (24, 24)).save(photos / "face3.png")
    with pytest.raises(BadDataset, match="from 20 to 24.*--size 20"):
        prepare_labelled(photos, None, tmp_path / "out", workers=1)
    made = prepare_labelled(photos, None, tmp_path / "out", size=16, workers=1)
    assert DatasetReader(made.out).resolution == 16


def test_changed_photos_do_not_mix_with_an_earlier_run(photos, tmp_path):
    prepare_labelled(photos, None, tmp_path / "out", workers=1)
    (photos / "face0.png").unlink()
    (photos / "poses/face0.mat").unlink()
    with pytest.raises(BadDataset, match="content"):
        prepare_labelled(photos, None, tmp_path / "out", workers=1)


def test_two_photos_of_one_stem_are_not_guessed_at(photos, tmp_path):
    Image.new("RGB", (20, 20)).save(photos / "face3.jpg")
    with pytest.raises(BadLabels, match="face3"):
        prepare_labelled(photos, None, tmp_path / "out", workers=1)


def test_hopeless_sources_are_sentences(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("x")
    for source, kind in (("nowhere", BadDataset), ("empty", BadDataset), ("text", GramhdError)):
        with pytest.raises(kind, match=source):
            prepare_labelled(tmp_path / source, photos, tmp_path / "out", workers=1)
    with pytest.raises(BadArgument, match="lies in"):
        prepare_labelled(photos, None, photos / "out", workers=1)
    for i in range(6):
        damage(photos, "unreadable")
        (photos / f"face{i}.png").write_bytes(b"x")
    with pytest.raises(BadDataset, match="No image was fit"):
        prepare_labelled(photos, None, tmp_path / "out", workers=1, keep_going=True)


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


def test_the_command_prints_the_folder_or_one_json_document(made, tmp_path, capsys):
    out = str(tmp_path / "heads")
    command = ["prep-data", "--procedural", str(COUNT), "--size", str(SIZE), "--workers", "1", "--out", out]
    assert run(command) == 0
    assert capsys.readouterr().out == f"{out}\n" and content(tmp_path / "heads") == content(made.out)
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["out"], document["images"], document["fingerprint"]) == (out, COUNT, made.fingerprint)


def test_the_command_reports_what_it_left_out_and_tests_labels(photos, tmp_path, capsys):
    damage(photos, "truncated")
    out = str(tmp_path / "set")
    assert run(["prep-data", str(photos), "--size", "16", "--workers", "1", "--out", out]) == 2
    assert "face3.png" in capsys.readouterr().err
    assert run(["prep-data", str(photos), "--size", "16", "--workers", "1", "--out", out, "--keep-going"]) == 0
    assert "1 left out" in capsys.readouterr().err
    assert run(["prep-data", "--self-test", out]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "set_axes.png"


@pytest.mark.parametrize(
    "arguments",
    ["", "x", "--procedural 3", "x --procedural 3 --out y", "--procedural 3 --labels x --out y", "--self-test"],
)
def test_contradictory_arguments_are_one_sentence(arguments, capsys):
    assert run(["prep-data", *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("gramhd: ") and printed.err.count("\n") == 1
