"""`gramhd invert`: what it writes, what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import TruthDetector, two_heads
from PIL import Image

from gramhd_cli.invert import PERCEPTUAL, parse_camera
from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.checkpoints.saved_latent import PhotoCamera, load_latent
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.configs import to_dict
from gramhd_core.data.procedural_heads import render_item
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.errors import BadArgument, BadImage
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.images import rgb8
from gramhd_core.outputs.inversion.batch import Studio, invert_photographs
from gramhd_core.outputs.inversion.files import error_map
from gramhd_core.outputs.inversion.invert import to_photo, warnings_of
from gramhd_core.outputs.inversion.losses import KINDS
from gramhd_core.outputs.inversion.photo_camera import camera_of, pose_of
from gramhd_core.outputs.inversion.photographs import Aligner, aligner_for, photo_files
from gramhd_core.outputs.inversion.stages import InversionConfig, finished, problem

QUICK = InversionConfig(
    seeds=2,
    candidates=1,
    draft_steps=1,
    draft_size=8,
    w_steps=1,
    plus_draft_steps=1,
    plus_steps=1,
    tune_steps=1,
    map_steps=5,
    perceptual=0.0,
)
FILES = [
    "reconstruction.png",
    "side_by_side.png",
    "error.png",
    "novel_views.png",
    "orbit.mp4",
    "latent.safetensors",
    "tuned.safetensors",
    "head.scene.safetensors",
    "index.html",
    "report.json",
]
Program = Callable[..., subprocess.CompletedProcess[str]]


def noise(path: Path, *, side: int = 80, seed: int = 0) -> Path:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def aligner() -> Aligner:
    return aligner_for(
        PROCEDURAL_HEADS, size=32, landmarks="auto", landmark_file=None, faces="largest", is_cropped=True
    )


@pytest.fixture
def studio(small_gram_hd: GramHd) -> Studio:
    generator = small_gram_hd.eval().requires_grad_(False)
    checkpoint = Checkpoint("gram-hd", generator.config, dict(generator.state_dict()), 0, 0, {})
    return Studio(generator, checkpoint, "small", QUICK, None, "none")


@pytest.mark.slow
def test_every_file_is_written_and_can_be_used_again(studio: Studio, aligner: Aligner, tmp_path: Path) -> None:
    photo = noise(tmp_path / "photo.png")
    before = photo.read_bytes()
    out = tmp_path / "out"
    done = invert_photographs(studio, [photo], out, align=aligner)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    report = json.loads((out / "report.json").read_text())
    assert report == done.reports[0] and [stage["stage"] for stage in report["stages"]] == ["start", "w", "w+", "tuned"]
    assert any("hardly one of the heads" in warning for warning in report["warnings"])
    latent = load_latent(out / "latent.safetensors", studio.generator)
    tuned = load_generator(out / "tuned.safetensors")
    assert load_latent(out / "latent.safetensors", tuned).camera == latent.camera
    assert isinstance(load_generator(out / "head.scene.safetensors"), SavedScene)
    assert isinstance(tuned, GramHd) and tuned.offsets is not None and tuned.offsets.maps.abs().max() > 0
    assert latent.camera is not None
    with torch.no_grad():
        camera = camera_of(pose_of(latent.camera), tuned.cameras, size=32)
        again = rgb8(tuned.scene(latent.latent).render(camera).rgb)[0]
    assert np.abs(again.astype(int) - np.array(Image.open(out / "reconstruction.png"))).max() <= 1
    assert Image.open(out / "novel_views.png").size == (7 * 32, 3 * 32)
    assert photo.read_bytes() == before


@pytest.mark.slow
def test_a_finished_photo_is_left_alone_until_something_changes(
    studio: Studio, aligner: Aligner, tmp_path: Path
) -> None:
    photos = [noise(tmp_path / f"{i}.png", seed=i) for i in range(2)]
    (tmp_path / "bad.png").write_text("not a picture")
    files, out = photo_files([*photos, tmp_path / "bad.png"]), tmp_path / "out"
    plain = replace(studio, is_tuned=False)
    first = invert_photographs(plain, files, out, align=aligner)
    assert (len(first.reports), first.skipped, len(first.faults)) == (2, 0, 1)
    again = invert_photographs(plain, files, out, align=aligner)
    assert (again.reports, again.skipped) == (first.reports, 2)
    changed = replace(plain, config=replace(QUICK, w_steps=2), has_views=False)
    (out / "0" / "novel_views.png").unlink()
    assert invert_photographs(changed, files[:2], out, align=aligner).skipped == 0
    assert not (out / "0" / "novel_views.png").exists(), "and asked not to, it does not write them"


@pytest.mark.slow
def test_a_camera_far_from_where_the_landmarks_put_it_is_warned_of(studio: Studio, aligner: Aligner, tmp_path: Path):
    photo = to_photo(aligner(noise(tmp_path / "photo.png")).image)
    for moved, is_said in ((0.05, False), (0.2, True)):
        known = pose_of(PhotoCamera(0.0, 0.1))
        task = problem(studio.generator, photo, config=QUICK, known=known)
        end = finished(
            task, "w+", torch.zeros(1, task.spaces.dimensions), None, pose_of(PhotoCamera(0.0, 0.1 + moved)), 0
        )
        assert any("from where the landmarks" in warning for warning in warnings_of(task, end, end)) == is_said


def test_photographs_that_cannot_be_used_are_refused_in_one_sentence(aligner: Aligner, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    Image.new("RGB", (100, 300)).save(tmp_path / "long.png")
    noise(tmp_path / "small.png", side=40)
    for name, reason in (("text.jpg", "cannot be read"), ("long.png", "100 x 300"), ("small.png", "40 x 40")):
        with pytest.raises(BadImage, match=reason):
            aligner(tmp_path / name)


def test_a_photograph_without_a_face_says_so(tmp_path: Path) -> None:
    cropping = aligner_for(
        PROCEDURAL_HEADS, size=32, landmarks="haar", landmark_file=None, faces="largest", is_cropped=False
    )
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    with pytest.raises(BadImage, match="no face"):
        cropping(tmp_path / "grey.png")


def test_of_several_faces_none_is_taken_unless_somebody_chooses(aligner: Aligner, tmp_path: Path) -> None:
    file = tmp_path / "photos" / "two.png"
    detector = TruthDetector({str(file): two_heads(file.parent)[file.name]})
    with pytest.raises(BadImage, match=r"several faces \(2\).*--faces largest"):
        Aligner(replace(aligner.request, faces="one"), detector)(file)
    assert Aligner(aligner.request, detector)(file).image.shape == (3, 32, 32)


def test_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        noise(tmp_path / folder / "me.png")
    with pytest.raises(BadArgument, match="several photographs are called me"):
        photo_files([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(BadArgument, match="does not exist"):
        photo_files([tmp_path / "c.png"])


def test_the_error_map_is_black_where_nothing_is_wrong_and_white_from_a_quarter_on() -> None:
    photo = np.zeros((1, 3, 3), np.uint8)
    made = np.array([[[0, 0, 0], [0, 22, 0], [70, 0, 0]]], np.uint8)
    assert error_map(made, photo)[0].tolist() == [[0, 0, 0], [255, 9, 0], [255, 255, 255]]


def test_cameras_are_read_from_the_command_line() -> None:
    assert parse_camera("0.1,-0.3") == (0.1, -0.3)
    for text in ("0.1", "a,b", "10,20", "nan,0"):
        with pytest.raises(BadArgument, match="--camera"):
            parse_camera(text)


def test_repeated_options_are_those_of_the_core() -> None:
    assert PERCEPTUAL == KINDS


@pytest.mark.slow
def test_bad_input_is_one_sentence(gramhd: Program, tmp_path: Path) -> None:
    noise(tmp_path / "small.png", side=40)
    done = gramhd("invert", "small.png", "--no-crop", "--ckpt", "demo", "--out", "out")
    assert done.returncode == 2 and done.stderr.strip().count("\n") == 0 and "40 x 40" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_head_the_model_never_saw_is_inverted(gramhd: Program, tmp_path: Path) -> None:
    Image.fromarray(render_item(5_000_000, size=256).view.image).save(tmp_path / "head.png")
    settings = [
        f"--set={name}={value}"
        for name, value in to_dict(
            InversionConfig(
                seeds=8, candidates=1, draft_steps=40, w_steps=30, plus_draft_steps=10, plus_steps=4, tune_steps=4
            )
        ).items()
    ]
    done = gramhd(
        "invert", "head.png", "--no-crop", "--ckpt", "demo", "--truth", "5000000", "--out", "out", "--json", *settings
    )
    report = json.loads(done.stdout)
    assert report["psnr"] >= 27 and report["novel_psnr"] >= 22 and report["depth_correlation"] >= 0.9
    assert report["camera_error_degrees"] <= 3 and report["warnings"] == []
    before = next(stage for stage in report["stages"] if stage["stage"] == "w+")
    assert report["novel_psnr"] >= before["novel_psnr"]
