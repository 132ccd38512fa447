"""A scene file in place of a model: the same head in the same pictures, and one sentence where weights are needed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL_LOW

from gramhd_cli import app
from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.checkpoints.importers import export_official
from gramhd_core.checkpoints.saved_scene import SavedScene, identities
from gramhd_core.errors import BadArgument, BadCheckpoint, BadScene
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.sample import latent_of_seed, sample
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene_files import load_scene, save_scene
from gramhd_core.training.adopt import adopt_low


def model_file(generator: Gram | GramHd, folder: Path) -> Path:
    path = folder / "model.safetensors"
    Checkpoint(generator.family, generator.config, dict(generator.state_dict()), 7, 56, {}).save(path)
    return path


@torch.no_grad()
def scene_file(generator: Gram | GramHd, folder: Path, seed: int = 7, **options: Any) -> Path:
    scene = generator.scene(latent_of_seed(generator, seed, truncation=0.7)[0])
    assert isinstance(scene, RadianceManifolds)
    path = folder / "head.scene.safetensors"
    options = {"provenance": {"seed": seed, "truncation": 0.7}, **options}
    save_scene(path, scene, cameras=generator.cameras, image_size=generator.image_size, **options)
    return path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@torch.no_grad()
def test_a_scene_file_is_a_generator_of_its_head(small_gram_hd: GramHd, tmp_path: Path) -> None:
    generator = load_generator(scene_file(small_gram_hd, tmp_path, storage="float32"))
    assert isinstance(generator, SavedScene) and generator.latent_dim == 0
    assert (generator.cameras, generator.image_size) == (small_gram_hd.cameras, 32)
    assert (generator.seed, generator.truncation) == (7, 0.7)
    camera = generator.cameras.at(0.1, 0.2, size=16)
    expected = small_gram_hd.eval().scene(latent_of_seed(small_gram_hd, 7, truncation=0.7)[0]).render(camera).rgb
    latent = generator.latent(torch.zeros(1, 0), 0.7)
    assert torch.allclose(generator.scene(latent).render(camera).rgb, expected, atol=1e-5)
    two = generator.scene(generator.latent(torch.zeros(2, 0)))
    assert len(two.maps) == 2 and torch.equal(two.maps[0], two.maps[1])


def test_the_header_decides_what_a_file_is_not_its_name(small_gram: Gram, tmp_path: Path) -> None:
    scene, model = scene_file(small_gram, tmp_path), model_file(small_gram, tmp_path)
    assert isinstance(load_generator(scene.rename(tmp_path / "x.safetensors")), SavedScene)
    assert isinstance(load_generator(model.rename(tmp_path / "y.scene.safetensors")), Gram)


def test_moving_a_saved_scene_moves_its_tensors(small_gram: Gram, tmp_path: Path) -> None:
    generator = load_generator(scene_file(small_gram, tmp_path))
    assert isinstance(generator, SavedScene)
    scene = generator.to("meta").scene(generator.latent(torch.zeros(1, 0, device="meta")))
    assert scene.maps.is_meta and scene.background.is_meta and scene.surfaces.z.is_meta  # type: ignore[attr-defined]


def test_a_file_that_says_nothing_of_its_maker_is_seed_zero(small_gram: Gram, tmp_path: Path) -> None:
    generator = load_generator(scene_file(small_gram, tmp_path, provenance={"seed": "seven", "truncation": None}))
    assert isinstance(generator, SavedScene) and (generator.seed, generator.truncation) == (0, 1.0)


def test_several_identities_in_one_file_are_refused(small_gram: Gram, tmp_path: Path) -> None:
    with torch.no_grad():
        scene = small_gram.scene(small_gram.latent(torch.zeros(3, small_gram.latent_dim)))
    assert isinstance(scene, RadianceManifolds)
    save_scene(tmp_path / "three.scene.safetensors", scene)
    with pytest.raises(BadScene, match="holds 3 identities"):
        load_generator(tmp_path / "three.scene.safetensors")


def test_only_its_own_seed_and_truncation_can_be_asked_of_a_saved_scene(small_gram: Gram, tmp_path: Path) -> None:
    generator = load_generator(scene_file(small_gram, tmp_path))
    assert identities(generator, None, None) == identities(generator, [7], 0.7) == ((7,), 0.7)
    for seeds, truncation, sentence in (
        ((0,), None, "asked for seed 0, but it holds one head, seed 7"),
        (range(9), None, "seeds 0, 1, 2, 3, 4, ..., but it holds one head"),
        (None, 0.5, "a truncation of 0.5, but it is finished, with 0.7"),
    ):
        with pytest.raises(BadArgument, match=sentence):
            identities(generator, seeds, truncation)
    with pytest.raises(BadArgument, match="one head, seed 7"):
        sample(generator, SampleRequest(seeds=(7, 8), view="interpolation"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert identities(small_gram, None, None) == ((0,), 0.7) and identities(small_gram, (3, 3), 0.5) == ((3,), 0.5)


def test_what_needs_weights_refuses_a_scene(small_gram: Gram, tmp_path: Path) -> None:
    path = scene_file(small_gram, tmp_path)
    uses = (Checkpoint.load, lambda file: export_official(file, tmp_path / "w.pt"), partial(adopt_low, small_gram))
    for refused in uses:
        with pytest.raises(BadCheckpoint, match="is a saved scene, but it has no weights") as caught:
            refused(path)
        assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# ---- the command line ---------------------------------------------------------------------------------------------


def test_sample_saves_a_scene_that_it_samples_to_the_same_pictures(
    small_gram_hd: GramHd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_file(small_gram_hd, tmp_path)
    views = ["--view", "multiview1x3", "--size", "48", "--depth"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert app.run(["sample", "--ckpt", str(model), "--seeds", "7-8", *views, "--save-scene", "--out", str(first)]) == 0
    assert sorted(path.name for path in first.glob("*.safetensors")) == [
        "seed0007.scene.safetensors",
        "seed0008.scene.safetensors",
    ]
    capsys.readouterr()
    scene = first / "seed0007.scene.safetensors"
    assert app.run(["sample", "--ckpt", str(scene), *views, "--out", str(second), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["seeds"], document["truncation"], document["scenes"]) == ([7], 0.7, 1)
    names = sorted(path.name for path in second.iterdir())
    assert "seed0007_multiview1x3.png" in names and "seed0007_multiview1x3_depth.png" in names
    for name in names:
        change = np.abs(read(first / name) - read(second / name))
        assert change.max() <= (8 if "depth" in name else 1), name
    assert read(first / "seed0007_multiview1x3.png").std() > 5, "there is something to see"


def test_a_random_view_of_a_saved_scene_is_that_of_its_model(small_gram: Gram, tmp_path: Path) -> None:
    request = SampleRequest((7,), view="rand", size=32, save_scene=True)
    first = sample(small_gram, request, tmp_path / "first")
    again = sample(load_generator(first.files[0].path), request, tmp_path / "again")
    assert again.files[1].yaw == first.files[1].yaw
    assert np.abs(read(again.files[1].path) - read(first.files[1].path)).max() <= 1


def test_a_saved_scene_says_where_it_comes_from(
    small_gram: Gram, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = model_file(small_gram, tmp_path), str(tmp_path / "out")
    options = ["--seeds", "7", "--trunc", "0.5", "--size", "16", "--save-scene"]
    assert app.run(["sample", "--ckpt", str(model), *options, "--out", out, "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [file["kind"] for file in files] == ["scene", "image"]
    header = load_scene(files[0]["path"]).header
    said = {name: header.provenance[name] for name in ("checkpoint", "family", "seed", "truncation")}
    assert said == {"checkpoint": "model.safetensors", "family": "gram", "seed": 7, "truncation": 0.5}
    assert (header.cameras, header.image_size) == (small_gram.cameras, small_gram.image_size)
    again = ["sample", "--ckpt", files[0]["path"], "--save-scene", "--size", "16", "--out", str(tmp_path / "again")]
    assert app.run(again) == 0
    assert load_scene(tmp_path / "again" / "seed0007.scene.safetensors").header.provenance == header.provenance


@pytest.mark.slow
@pytest.mark.parametrize("view", ["rand", "grid", "epi", "video"])
def test_every_view_of_a_seed_saves_the_same_scene(view: str, small_gram: Gram, tmp_path: Path) -> None:
    if view == "video":
        pytest.importorskip("av", reason="videos need PyAV")
    requests = [SampleRequest((3,), view=v, size=16, frames=4, save_scene=True) for v in ("image", view)]
    done = [sample(small_gram, request, tmp_path / request.view) for request in requests]
    scenes = [load_scene(tmp_path / request.view / "seed0003.scene.safetensors").scene for request in requests]
    assert torch.allclose(scenes[0].maps, scenes[1].maps, atol=1e-4)
    assert [file.kind for file in done[1].files][0] == "scene" and done[1].scenes == 1
    assert not done[1].files[0].yaw


@pytest.mark.slow
def test_a_video_is_made_of_a_scene_file(small_gram: Gram, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="videos need PyAV")
    path, out = scene_file(small_gram, tmp_path), tmp_path / "d"
    assert app.run(["sample", "--ckpt", str(path), "--view", "video", "--frames", "4", "--out", str(out)]) == 0
    assert [file.name for file in out.iterdir()] == ["seed0007.mp4"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sample --ckpt SCENE --seeds 0-3 --out out", "it holds one head, seed 7"),
        ("sample --ckpt SCENE --trunc 1 --out out", "it is finished, with 0.7"),
        ("sample --ckpt SCENE --seeds 0-3 --view interpolation --out out", "it holds one head, seed 7"),
        ("sample --ckpt SCENE --view interpolation --out out", "interpolation"),
        ("sample --ckpt MODEL --seeds 0,1 --view interpolation --save-scene --out out", "every frame of that is"),
        ("sample --ckpt FIELD --save-scene --out out", "have no maps to save"),
        ("sample --ckpt BROKEN --out out", "cannot be read"),
        ("export --ckpt SCENE --out out.pt", "is a saved scene"),
    ],
)
def test_the_command_line_refuses_in_one_sentence_and_writes_nothing(
    line: str, sentence: str, small_gram: Gram, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {name: tmp_path / name.lower() for name in ("SCENE", "MODEL", "FIELD", "BROKEN")}
    for folder in inputs.values():
        folder.mkdir()
    field = Gram(SMALL_LOW.compatible())
    files = {
        "SCENE": scene_file(small_gram, inputs["SCENE"]),
        "MODEL": model_file(small_gram, inputs["MODEL"]),
        "FIELD": model_file(field, inputs["FIELD"]),
        "BROKEN": inputs["BROKEN"] / "head.scene.safetensors",
    }
    files["BROKEN"].write_bytes(files["SCENE"].read_bytes()[:-100])
    words = [str(files.get(word, tmp_path / word if word.startswith("out") else word)) for word in line.split()]
    assert app.run(words) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and sentence in err
    assert not list(tmp_path.glob("out*/*")) and not (tmp_path / "out.pt").exists()
