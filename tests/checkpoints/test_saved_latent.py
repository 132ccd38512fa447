"""A latent file: comes back as it was, for models whose latents mean the same and for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SMALL_HIGH, SMALL_LOW

from gramhd_core.checkpoints.saved_latent import (
    KEY,
    PhotoCamera,
    is_latent_file,
    latent_space,
    load_latent,
    save_latent,
)
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene_files import load_scene, save_scene
from gramhd_core.tensor_files import load_tensors, save_tensors

CAMERA = PhotoCamera(0.1, -0.2, 0.03, 1.1, 0.01, -0.02)


def drawn(generator: Gram | GramHd, n: int = 1) -> Latent:
    with torch.no_grad():
        return generator.latent(torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(3)))


@pytest.fixture
def saved(small_gram_hd: GramHd, tmp_path: Path) -> Path:
    path = tmp_path / "latent.safetensors"
    save_latent(path, drawn(small_gram_hd, 2), small_gram_hd, checkpoint="mine", camera=CAMERA, provenance={"a": 1})
    return path


def test_a_latent_comes_back_bit_by_bit_with_camera_and_provenance(saved: Path, small_gram_hd: GramHd) -> None:
    back, before = load_latent(saved, small_gram_hd), drawn(small_gram_hd, 2)
    assert torch.equal(back.latent.film, before.film) and torch.equal(back.latent.style, before.style)
    assert back.camera == CAMERA
    assert back.provenance["checkpoint"] == "mine" and back.provenance["a"] == 1 and "version" in back.provenance
    assert is_latent_file(saved)


def test_a_latent_without_style_and_camera_comes_back(small_gram: Gram, tmp_path: Path) -> None:
    save_latent(tmp_path / "x.safetensors", drawn(small_gram), small_gram, checkpoint="mine")
    back = load_latent(tmp_path / "x.safetensors", small_gram)
    assert back.camera is None and back.latent.style.shape == (1, 0)


def test_it_fits_a_model_tuned_behind_its_mappings(saved: Path, small_gram_hd: GramHd) -> None:
    with torch.no_grad():
        for head in small_gram_hd.low.field.output_color.parameters():
            head.mul_(1.5)
        small_gram_hd.foreground.conv_last.weight.mul_(2)
    assert load_latent(saved, small_gram_hd).camera == CAMERA


def test_a_latent_of_another_model_is_refused_by_name(saved: Path, small_gram_hd: GramHd, small_gram: Gram) -> None:
    with pytest.raises(BadCheckpoint, match=r"latent of mine \(gram-hd\).*the gram model"):
        load_latent(saved, small_gram)
    with torch.no_grad():
        small_gram_hd.low.field.mapping.network[0].bias[0] += 1e-3  # type: ignore[index]
    with pytest.raises(BadCheckpoint, match="--ckpt"):
        load_latent(saved, small_gram_hd)


def test_the_space_depends_on_every_mapping_and_nothing_random(small_gram_hd: GramHd) -> None:
    before = latent_space(small_gram_hd)
    assert before == latent_space(small_gram_hd) and len(before) == 16
    with torch.no_grad():
        small_gram_hd.foreground.mapping.network[2].weight[0, 0] += 1e-3  # type: ignore[index]
    assert latent_space(small_gram_hd) != before


def test_other_files_are_refused_in_a_sentence(saved: Path, small_gram_hd: GramHd, tmp_path: Path) -> None:
    text, scene = tmp_path / "text.safetensors", tmp_path / "a.scene.safetensors"
    text.write_text("no tensors")
    maker = Gram(replace(SMALL_LOW, manifolds=replace(SMALL_LOW.manifolds, predictor="spheres")))  # quickly baked
    made = maker.scene(drawn(maker))
    assert isinstance(made, RadianceManifolds)
    save_scene(scene, made)
    for path, words in (
        (tmp_path / "absent", "does not exist"),
        (tmp_path, "is a folder"),
        (text, "cannot be read"),
        (scene, "is not a saved latent"),
    ):
        with pytest.raises(BadCheckpoint, match=words):
            load_latent(path, small_gram_hd)
    with pytest.raises(BadCheckpoint, match="has no latents"):
        load_latent(saved, SavedScene(*load_scene(scene)))


def test_a_file_with_wrong_numbers_is_refused(saved: Path, small_gram_hd: GramHd, tmp_path: Path) -> None:
    tensors, header = load_tensors(saved, key=KEY)
    broken, film = tmp_path / "broken.safetensors", tensors["film"]
    for change, words in (
        ({"film": film[:, 1:]}, "film \\[2, "),
        ({"film": film[:1]}, "are needed"),
        ({"film": film / 0}, "finite"),
        ({"style": tensors["style"].double()}, "float32"),
    ):
        save_tensors(broken, {**tensors, **change}, header, key=KEY)
        with pytest.raises(BadCheckpoint, match=words):
            load_latent(broken, small_gram_hd)
    for change, words in (
        ({"camera": {"pitch": 1.0}}, "camera"),
        ({"camera": {**header["camera"], "scale": 0}}, "impossible"),
        ({"camera": {**header["camera"], "extra": 0}}, "extra"),
        ({"format": 2}, "another version"),
        ({"space": None}, "mean nothing"),
    ):
        save_tensors(broken, tensors, {**header, **change}, key=KEY)
        with pytest.raises(BadCheckpoint, match=words):
            load_latent(broken, small_gram_hd)


def test_another_configuration_is_another_space(small_gram_hd: GramHd) -> None:
    twin = GramHd(replace(SMALL_HIGH, low=replace(SMALL_HIGH.low, half_width=0.13)))
    twin.load_state_dict(small_gram_hd.state_dict())
    assert latent_space(twin) != latent_space(small_gram_hd)
