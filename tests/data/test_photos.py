"""Photographs become a data set whose poses and crops are true, or are left out for a reason; nothing is done twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from photographs import Truth, TruthDetector, make_faulty, make_noise, make_photos, photograph, two_heads
from PIL import Image

from gramhd_core.data import photo_work
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.labels import read_labels
from gramhd_core.data.photo_request import PhotoRequest
from gramhd_core.data.photos import prepare_photos, survey_photos
from gramhd_core.data.set_files import camera_settings
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import load_template
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.geometry.camera import Camera

pytestmark = pytest.mark.slow

COUNT, SIZE = 6, 96
HEADS = PhotoRequest(PROCEDURAL_HEADS, size=SIZE)


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> tuple[Path, dict[str, list[Truth]], list[str]]:
    """Photographs with what is true about them, and the faulty files among them."""
    folder = tmp_path_factory.mktemp("album") / "photos"
    return folder, make_photos(folder, COUNT), make_faulty(folder)


@pytest.fixture(scope="module")
def made(album, tmp_path_factory):
    source, truths, _ = album
    before = content(source)
    out = tmp_path_factory.mktemp("made") / "set"
    result = prepare_photos(source, out, request=HEADS, workers=1, detector=TruthDetector(truths))
    assert content(source) == before, "originals are never touched"
    return result


# ------------------------------------------------------------------------------------------------ what is made


def test_poses_and_crops_are_those_of_the_photographs(album, made):
    _, truths, faulty = album
    records = lines(made.out / "poses.jsonl")
    assert made.images == len(records) == COUNT and made.rejected == len(faulty)
    for record in records:
        [truth] = truths[record["source"]]
        assert record["pitch"] == pytest.approx(truth.pitch, abs=math.radians(4))
        assert record["yaw"] == pytest.approx(truth.yaw, abs=math.radians(4))
        assert record["leaning"] == pytest.approx(truth.roll, abs=math.radians(3))
        assert record["centre"] == pytest.approx(truth.centre, abs=0.05 * truth.side)
        assert record["scale"] == pytest.approx(truth.side / (2 * math.tan(math.radians(6))), rel=0.06)
        assert record["roll"] == 0.0 and record["residual"] < 0.02


def test_crops_show_heads_upright_in_their_frame(made):
    records = lines(made.out / "poses.jsonl")
    points = np.array([record["landmarks"] for record in records])
    assert ((points > 0) & (points < SIZE)).all()
    eyes = points[:, 36:48].mean(axis=1)
    assert np.abs(eyes[:, 0] - SIZE / 2).max() < 0.2 * SIZE and (eyes[:, 1] < 0.55 * SIZE).all()
    for record in records:  # upright: a level line through the head is level in the crop
        if abs(record["yaw"]) < 0.3:
            left, right = (np.mean(record["landmarks"][k : k + 6], axis=0) for k in (36, 42))
            assert abs(math.atan2(right[1] - left[1], right[0] - left[0])) < 0.12


def test_a_crop_is_the_rendering_of_its_label(made):
    from gramhd_core.data.procedural_heads import render_item

    records = {record["source"]: record for record in lines(made.out / "poses.jsonl")}
    for number, record in enumerate(records[name] for name in sorted(records)):
        crop = np.asarray(Image.open(made.out / record["name"])).astype(float)
        view = render_item(number, size=SIZE).view
        middle = (slice(SIZE // 4, 3 * SIZE // 4),) * 2
        difference = np.abs(crop - view.image)[middle][view.mask[middle]].mean()
        turned = np.abs(crop[:, ::-1] - view.image)[middle][view.mask[middle]].mean()
        assert difference < 22 and difference < turned, (record["source"], difference, turned)


def test_every_photograph_left_out_has_its_reason(album, made):
    _, _, faulty = album
    rejects = {record["file"]: record for record in lines(made.out / "rejects.jsonl")}
    assert sorted(rejects) == faulty
    kinds = {file: record["kind"] for file, record in rejects.items()}
    assert kinds == {
        "zz_empty.png": "unreadable",
        "zz_phone.heic": "unreadable",
        "zz_renamed.jpg": "unreadable",
        "zz_small.png": "too small",
        "zz_text.jpg": "unreadable",
        "zz_torn.png": "unreadable",
        "zz_wall.jpg": "no face",
    }
    assert all("HEIC" in rejects[name]["reason"] for name in ("zz_phone.heic", "zz_renamed.jpg"))
    assert "48 x 48" in rejects["zz_small.png"]["reason"]


def test_about_says_how_it_was_made(made):
    about = json.loads((made.out / "about.json").read_text())
    assert about["detector"] == "truth" and about["template"]["scheme"] == "ibug-68" and about["template"]["origin"]
    assert about["reasons"] == {"unreadable": 5, "too small": 1, "no face": 1}
    assert (about["photos"], about["images"]) == (COUNT + 7, COUNT) and sum(
        about["yaw"]["histogram"]["counts"]
    ) == COUNT
    assert about["cameras"]["yaw_sd"] == PROCEDURAL_HEADS.cameras.yaw_sd and camera_settings(made.out) == []


def test_the_folder_is_a_data_set(made):
    reader = DatasetReader(made.out)
    assert (len(reader), reader.resolution) == (COUNT, SIZE)
    ours, eg3d = read_labels(made.out / "poses.jsonl"), read_labels(made.out / "dataset.json")
    assert all(eg3d[name]._replace(radius=1.0) == pytest.approx(pose, abs=1e-6) for name, pose in ours.items())


def test_a_measured_prior_is_that_of_the_poses(album, tmp_path):
    source, truths, _ = album
    request = PhotoRequest(PROCEDURAL_HEADS, size=32, prior="measured")
    made = prepare_photos(source, tmp_path / "set", request=request, workers=1, detector=TruthDetector(truths))
    poses = read_labels(made.out).values()
    settings = dict(setting.split("=") for setting in camera_settings(made.out))
    assert float(settings["generator.cameras.pitch_mean"]) == pytest.approx(np.mean([p.pitch for p in poses]), abs=1e-4)
    assert float(settings["generator.cameras.yaw_mean"]) == 0.0
    rms = math.sqrt(np.mean([p.yaw**2 for p in poses]))
    assert float(settings["generator.cameras.yaw_sd"]) == pytest.approx(rms, abs=1e-4)


# ------------------------------------------------------------------------------------------------ nothing twice


class Interrupted(TruthDetector):
    """Ctrl-C at one moment."""

    moment = 0

    def __call__(self, image, *, name):
        if len(self.asked) == self.moment:
            raise KeyboardInterrupt
        return super().__call__(image, name=name)


@pytest.mark.parametrize("moment", [0, 5])
def test_an_interrupted_run_is_finished_and_repeats_nothing(album, made, tmp_path, monkeypatch, moment):
    source, truths, _ = album
    monkeypatch.setattr("gramhd_core.data.photos.PHOTO_CHUNK", 1)
    first, second, out = Interrupted(truths), TruthDetector(truths), tmp_path / "set"
    first.moment = moment
    with pytest.raises(KeyboardInterrupt):
        prepare_photos(source, out, request=HEADS, workers=1, detector=first)
    assert not (out / "about.json").exists() and len(first.asked) == moment
    prepare_photos(source, out, request=HEADS, workers=1, detector=second)
    asked = first.asked + second.asked
    assert len(asked) == len(set(asked)) and set(truths) < set(asked)
    there, wanted = content(out), content(made.out)
    assert [name for name in {**there, **wanted} if there.get(name) != wanted.get(name)] == []


def test_a_finished_folder_looks_at_no_photograph(album, made, tmp_path):
    source, truths, _ = album
    out, detector = shutil.copytree(made.out, tmp_path / "set"), TruthDetector(truths)
    before = content(out)
    prepare_photos(source, out, request=HEADS, workers=1, detector=detector)
    assert detector.asked == [] and content(out) == before


def test_a_lost_image_is_made_again_and_no_other(album, made, tmp_path):
    source, truths, _ = album
    out, detector = shutil.copytree(made.out, tmp_path / "set"), TruthDetector(truths)
    (out / "images/00000/img00000002.png").unlink()
    prepare_photos(source, out, request=HEADS, workers=1, detector=detector)
    assert detector.asked == ["photo002.png"] and content(out) == content(made.out)


def test_a_limit_is_gone_on_from(album, made, tmp_path):
    source, truths, _ = album
    out, detector = tmp_path / "set", TruthDetector(truths)
    few = prepare_photos(
        source, out, request=PhotoRequest(PROCEDURAL_HEADS, size=SIZE, limit=2), workers=1, detector=detector
    )
    assert (few.images, few.rejected, detector.asked) == (2, 0, ["photo000.png", "photo001.jpg"])
    prepare_photos(source, out, request=HEADS, workers=1, detector=detector)
    assert len(detector.asked) == len(set(detector.asked)) and content(out) == content(made.out)


def test_other_arguments_are_refused(album, made):
    source, truths, _ = album
    with pytest.raises(BadDataset, match="keep_roll"):
        prepare_photos(
            source,
            made.out,
            request=PhotoRequest(PROCEDURAL_HEADS, size=SIZE, keep_roll=True),
            workers=1,
            detector=TruthDetector(truths),
        )


def test_two_processes_make_the_bytes_of_one(album, made, tmp_path):
    source, truths, _ = album
    two = prepare_photos(source, tmp_path / "set", request=HEADS, workers=2, detector=TruthDetector(truths))
    assert content(two.out) == content(made.out)


def test_a_survey_writes_nothing_and_says_what_would_be_made(album, made, tmp_path, monkeypatch):
    source, truths, _ = album
    monkeypatch.setattr(photo_work, "write_image", None)
    found = survey_photos(source, request=HEADS, workers=1, detector=TruthDetector(truths))
    assert (found.photos, found.images, found.detector) == (COUNT + 7, COUNT, "truth")
    assert found.reasons == {"unreadable": 5, "too small": 1, "no face": 1} and "ibug-68" in found.template


# ------------------------------------------------------------------------------------------------ self-calibration


def test_a_template_is_learned_from_the_photographs_and_landmarks_are_found_once(tmp_path, monkeypatch):
    truths = make_noise(tmp_path / "photos", 40)
    request = PhotoRequest(PROCEDURAL_HEADS, size=32, self_calibrate=True)
    first, second = TruthDetector(truths), TruthDetector(truths)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(photo_work, "align_faces", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare_photos(tmp_path / "photos", tmp_path / "set", request=request, workers=1, detector=first)
    made = prepare_photos(tmp_path / "photos", tmp_path / "set", request=request, workers=1, detector=second)
    assert sorted(first.asked) == sorted(truths) and second.asked == []
    about = json.loads((made.out / "about.json").read_text())
    assert "40 photographs" in about["template"]["origin"] and load_template(made.out / "template.json")
    records = lines(made.out / "poses.jsonl")
    pairs = np.array([(record["yaw"], truths[record["source"]][0].yaw) for record in records])
    assert len(records) >= 38 and np.corrcoef(pairs.T)[0, 1] > 0.98
    (made.out / records[3]["name"]).unlink()
    third = TruthDetector(truths)
    before = (made.out / "template.json").read_bytes()
    prepare_photos(tmp_path / "photos", made.out, request=request, workers=1, detector=third)
    assert third.asked == [records[3]["source"]] and (made.out / "template.json").read_bytes() == before


def test_three_photographs_teach_no_template(tmp_path):
    truths = make_noise(tmp_path / "photos", 3)
    request = PhotoRequest(PROCEDURAL_HEADS, size=32, self_calibrate=True)
    with pytest.raises(BadDataset, match="3 photographs"):
        prepare_photos(
            tmp_path / "photos", tmp_path / "set", request=request, workers=1, detector=TruthDetector(truths)
        )
    assert not (tmp_path / "set").exists()


# ------------------------------------------------------------------------------------------------ what is refused


def answered(tmp_path: Path, landmarks: np.ndarray, image: np.ndarray) -> str:
    """The reason why a photograph with these landmarks is left out; "" if it is taken."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    Image.fromarray(image).save(tmp_path / "photos/a.png")
    truth = Truth(landmarks, 0.0, 0.0, 0.0, (0.0, 0.0), 1.0)
    detector = TruthDetector({"a.png": [truth]}, noise=0.0)
    found = survey_photos(tmp_path / "photos", request=HEADS, workers=1, detector=detector)
    return next(iter(found.reasons), "")


def test_what_no_crop_can_be_made_of_is_left_out_for_the_right_reason(tmp_path):
    image, truth = photograph(5, width=240, height=240, share=0.8, roll=0.0)
    assert answered(tmp_path, truth.landmarks, image) == ""
    line = np.stack([np.linspace(60, 180, 68), np.linspace(80, 160, 68)], axis=-1)
    scattered = np.random.default_rng(0).uniform(60, 180, (68, 2))
    cases = {
        "landmarks outside the picture": truth.landmarks + (150, 0),
        "landmarks on one line": line,
        "landmarks all in one place": np.full((68, 2), 100.0),
        "residual too large": scattered,
        "face too small": (truth.landmarks - 120) * 0.1 + 120,
        "cut off": truth.landmarks - truth.centre + (240 - 0.2 * truth.side, 0.12 * truth.side),
    }
    for reason, landmarks in cases.items():
        assert answered(tmp_path, landmarks, image) == reason, reason
    blurred = cv2.GaussianBlur(image, (0, 0), 9)
    assert answered(tmp_path, truth.landmarks, np.asarray(blurred, np.uint8)) == "blurred"


def test_an_extreme_pose_is_left_out(tmp_path):
    identity = HeadIdentity.from_seed(8)
    camera = Camera.orbit(0.0, 1.25, size=240)
    points = torch.from_numpy(landmarks_of(identity, shape_of(identity)) * WORLD_PER_U).to(camera.world_from_camera)
    image = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    assert answered(tmp_path, camera.project(points[None])[0].double().numpy(), image) == "extreme pose"


# ------------------------------------------------------------------------------------------------ choices


@pytest.mark.parametrize(("faces", "images"), [("largest", 1), ("all", 2), ("one", 0)])
def test_of_several_faces_as_many_are_taken_as_asked(tmp_path, faces, images):
    truths = two_heads(tmp_path / "photos")
    request = PhotoRequest(PROCEDURAL_HEADS, size=32, faces=faces)
    arguments = {"request": request, "workers": 1, "detector": TruthDetector(truths)}
    if not images:
        with pytest.raises(BadDataset, match="several faces"):
            prepare_photos(tmp_path / "photos", tmp_path / "set", **arguments)
        assert not (tmp_path / "set").exists()
        return
    made = prepare_photos(tmp_path / "photos", tmp_path / "set", **arguments)
    records = lines(made.out / "poses.jsonl")
    assert [record["name"] for record in records] == [
        "images/00000/img00000000.png",
        "images/00000/img00000000_1.png",
    ][:images]
    assert records[0]["centre"][0] > 240, "the larger one comes first"


def test_roll_is_kept_if_asked_and_in_the_label_then(album, tmp_path):
    source, truths, _ = album
    request = PhotoRequest(PROCEDURAL_HEADS, size=64, keep_roll=True)
    made = prepare_photos(source, tmp_path / "set", request=request, workers=1, detector=TruthDetector(truths))
    for record in lines(made.out / "poses.jsonl"):
        [truth] = truths[record["source"]]
        assert record["roll"] == pytest.approx(truth.roll, abs=math.radians(3))
        left, right = (np.mean(record["landmarks"][k : k + 6], axis=0) for k in (36, 42))
        there = [truth.landmarks[k : k + 6].mean(axis=0) for k in (36, 42)]
        assert (right - left) / np.linalg.norm(right - left) == pytest.approx(
            (there[1] - there[0]) / np.linalg.norm(there[1] - there[0]), abs=0.05
        )


@pytest.mark.parametrize(
    "wrong", [{"faces": "some"}, {"padding": "black"}, {"prior": "flat"}, {"limit": 0}, {"size": 0}]
)
def test_impossible_requests_are_a_sentence(wrong):
    with pytest.raises(BadArgument):
        PhotoRequest(**wrong)


def test_hopeless_sources_are_sentences(album, tmp_path):
    source, truths, _ = album
    detector = TruthDetector(truths)
    (tmp_path / "words").mkdir()
    (tmp_path / "words/a.txt").write_text("x")
    make_faulty(tmp_path / "faulty")
    for folder, match in (("nowhere", "does not exist"), ("words", "no photographs"), ("faulty", "5 unreadable")):
        with pytest.raises(BadDataset, match=match):
            prepare_photos(tmp_path / folder, tmp_path / "set", request=HEADS, workers=1, detector=detector)
        assert not (tmp_path / "set").exists()
    with pytest.raises(BadArgument, match="lies in"):
        prepare_photos(source, source / "set", request=HEADS, workers=1, detector=detector)
