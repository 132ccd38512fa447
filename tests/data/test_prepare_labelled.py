"""Labelled photos become a data set of the same pixels and poses, whatever form their labels have; or one sentence."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gramhd_cli.app import run
from gramhd_core.data import labels
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.prepare import prepare_labelled, prepare_procedural
from gramhd_core.errors import BadArgument, BadDataset, BadImage, BadLabels, GramhdError


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


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


def test_gram_photos_become_a_data_set_of_the_same_pixels_and_poses(photos, tmp_path):
    made = prepare_labelled(photos, None, tmp_path / "out", workers=1)
    poses = labels.read_labels(made.out / "poses.jsonl")
    for i, sample in enumerate(DatasetReader(made.out)):
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.asarray(Image.open(photos / f"face{i}.png")))
        assert poses[sample.name] == pytest.approx(Pose(0.1 * i, -0.2 * i, 0.05 * i), abs=1e-6)
    assert [record["source"] for record in lines(made.out / "poses.jsonl")] == [f"face{i}.png" for i in range(6)]


@pytest.mark.slow
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


def test_a_data_set_folder_can_be_prepared_at_another_size(tmp_path):
    made = prepare_procedural(3, tmp_path / "heads", size=24, workers=1)
    smaller = prepare_labelled(made.out, None, tmp_path / "small", size=16, workers=1)
    a, b = DatasetReader(made.out, size=16), DatasetReader(smaller.out)
    assert b.resolution == 16 and smaller.images == 3 and smaller.rejected == 0
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
    elif kind == "link":
        file.unlink()
        file.symlink_to("nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["truncated", "unreadable", "not square", "absent", "link"])
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


def test_a_full_name_is_never_taken_for_another_image(tmp_path):
    (tmp_path / "set/b").mkdir(parents=True)
    for name in ("b/1.png", "b/2.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / "set" / name)
    for absent in ("a/1.png", "1.png", "a/1", "b/1.jpg"):
        labels.write_poses(tmp_path / "poses.jsonl", {absent: Pose(0.1, 0), "b/2.png": Pose(0, 0)})
        with pytest.raises(BadLabels, match=f"names {absent}, absent"):
            prepare_labelled(tmp_path / "set", tmp_path / "poses.jsonl", tmp_path / "out", workers=1)
    made = prepare_labelled(tmp_path / "set", tmp_path / "poses.jsonl", tmp_path / "out", workers=1, keep_going=True)
    assert [record["source"] for record in lines(made.out / "poses.jsonl")] == ["b/2.png"]


@pytest.mark.parametrize("write", [labels.write_gram_mat, labels.write_gram_npy])
def test_gram_labels_find_images_in_folders_and_with_dots_in_their_names(tmp_path, write):
    names = ["a/face.1.png", "b/face.2.png"]
    for name in names:
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "set" / name)
    write(tmp_path / "poses", {name: Pose(0.1, 0.2) for name in names})
    read = labels.read_labels(tmp_path / "poses")
    assert set(read) == {"face.1", "face.2"}
    write(tmp_path / "again", read)
    for poses in ("poses", "again"):
        made = prepare_labelled(tmp_path / "set", tmp_path / poses, tmp_path / f"{poses}-out", workers=1)
        assert [record["source"] for record in lines(made.out / "poses.jsonl")] == names


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


def test_the_command_reports_what_it_left_out_and_tests_labels(photos, tmp_path, capsys):
    damage(photos, "truncated")
    out = str(tmp_path / "set")
    assert run(["prep-data", str(photos), "--size", "16", "--workers", "1", "--out", out]) == 2
    assert "face3.png" in capsys.readouterr().err
    assert run(["prep-data", str(photos), "--size", "16", "--workers", "1", "--out", out, "--keep-going"]) == 0
    assert "1 left out" in capsys.readouterr().err
    assert run(["prep-data", "--self-test", out]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "set_axes.png"
