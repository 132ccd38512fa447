"""Edits and mixes: rows and columns are what they say, 0 changes no bit, wishes that cannot be met are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL_HIGH, SMALL_LOW, thicken

from gramhd_core.checkpoints.saved_latent import PhotoCamera, load_latent, save_latent
from gramhd_core.errors import BadArgument, BadCheckpoint
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.feature_network import FeatureConfig, FeatureNetwork, LoadedFeatures
from gramhd_core.outputs import images, trajectories
from gramhd_core.outputs.directions import Direction
from gramhd_core.outputs.edit import (
    EditRequest,
    Subject,
    changes,
    edit,
    known_truncation,
    pictures_of,
    subject,
    subject_of_seed,
)
from gramhd_core.outputs.mixing import mix, mixture

SPHERES = replace(SMALL_LOW.manifolds, predictor="spheres")  # scenes without a search
CAMERA = PhotoCamera(0.1, 0.2, 0.05, 1.1, 0.01, 0.0)


@pytest.fixture
def generator() -> GramHd:
    torch.manual_seed(0)
    made = GramHd(replace(SMALL_HIGH, low=replace(SMALL_HIGH.low, manifolds=SPHERES)))
    thicken(made)
    return made.eval().requires_grad_(False)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def direction(generator: GramHd, seed: int = 7) -> Direction:
    one, other = (subject_of_seed(generator, s, truncation=1.0).latent for s in (seed, seed + 1))
    return Direction(f"pca:{seed}", (one.film - other.film)[0], (one.style - other.style)[0])


def tile(picture: np.ndarray, row: int, column: int, *, rows: int, columns: int, size: int) -> np.ndarray:
    """Tile (row, column) of a labelled sheet, found from its lower right corner."""
    top, left = picture.shape[0] - (rows - row) * size, picture.shape[1] - (columns - column) * size
    return picture[top : top + size, left : left + size]


def test_rows_are_strengths_and_columns_are_views(generator: GramHd, tmp_path: Path) -> None:
    who, way = subject_of_seed(generator, 3, truncation=0.7), direction(generator)
    done = edit(generator, [who], [way], EditRequest((-2.0, 0.0, 1.0), "multiview1x3", size=64), tmp_path)
    picture = read(done.grids[0].path)
    cameras = trajectories.multiview1x3(generator.cameras, size=64)
    for row, strength in enumerate((-2.0, 0.0, 1.0)):
        expected = pictures_of(generator, way.move(who.latent, strength), cameras)
        for column in range(3):
            assert np.array_equal(tile(picture, row, column, rows=3, columns=3, size=64), expected[column])
    assert not np.array_equal(tile(picture, 0, 1, rows=3, columns=3, size=64), expected[1])
    assert done.grids[0].path.name == "seed0003_pca7.png"
    assert [round(yaw, 3) for _, yaw in done.views] == [-0.3, 0.0, 0.3]


def test_an_overview_has_a_row_for_every_direction(generator: GramHd, tmp_path: Path) -> None:
    who, ways = subject_of_seed(generator, 3, truncation=0.7), [direction(generator, 7), direction(generator, 9)]
    done = edit(generator, [who], ways, EditRequest((0.0, 2.0), "multiview1x3", size=64), tmp_path)
    picture, camera = read(done.overviews[0]), trajectories.frontal(generator.cameras, size=64)
    for row, way in enumerate(ways):
        for column, strength in enumerate((0.0, 2.0)):
            expected = pictures_of(generator, way.move(who.latent, strength), camera)[0]
            assert np.array_equal(tile(picture, row, column, rows=2, columns=2, size=64), expected)
    assert done.scenes == 3  # the head itself is made once
    document = done.document()
    assert [grid["direction"] for grid in document["grids"]] == ["pca:7", "pca:9"]
    assert document["overviews"] == [str(done.overviews[0])]


def test_a_latent_file_is_edited_as_its_photograph_was_taken(generator: GramHd, tmp_path: Path) -> None:
    who = subject_of_seed(generator, 3, truncation=0.7)
    folder = tmp_path / "me"
    save_latent(folder / "latent.safetensors", who.latent, generator, checkpoint="x", camera=CAMERA)
    me = subject(generator, folder / "latent.safetensors", truncation=0.7)
    assert me.name == "me" and me.camera == CAMERA
    request = EditRequest((0.0, 1.0), "photo", size=16, save_latents=True, checkpoint="x")
    done = edit(generator, [me], [direction(generator)], request, tmp_path / "out")
    (pitch, yaw), grid = done.views[0], done.grids[0]
    assert (pitch, yaw) != (0, 0) and abs(yaw - 0.2) < 0.03
    saved = [load_latent(path, generator) for path in grid.latents]
    assert torch.equal(saved[0].latent.film, who.latent.film) and saved[0].camera == CAMERA
    assert torch.equal(saved[1].latent.film, grid.direction.move(who.latent, 1.0).film)
    assert saved[1].provenance["direction"] == "pca:7" and saved[1].provenance["strength"] == 1
    with pytest.raises(BadArgument, match="only latents of photographs know a camera"):
        edit(generator, [who], [direction(generator)], request, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_subjects_are_seeds_or_files(generator: GramHd, tmp_path: Path) -> None:
    assert subject(generator, "12", truncation=0.5).name == "seed0012"
    with pytest.raises(BadCheckpoint, match="absent does not exist"):
        subject(generator, tmp_path / "absent", truncation=0.5)
    two = generator.latent(torch.zeros(2, 8))
    save_latent(tmp_path / "two.safetensors", two, generator, checkpoint="x")
    with pytest.raises(BadArgument, match="holds 2 latents"):
        subject(generator, tmp_path / "two.safetensors", truncation=0.5)
    with pytest.raises(BadArgument, match="truncation is 2"):
        known_truncation(2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strengths": ()}, "the strengths none"),
        ({"strengths": (float("nan"),)}, "finite"),
        ({"view": "video"}, "the view is `video`"),
        ({"size": 3}, "the size is 3 pixels"),
    ],
)
def test_impossible_requests_are_refused(options: dict, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        EditRequest(**options)


def test_what_changes_is_told_in_standard_deviations_per_strength() -> None:
    network = FeatureNetwork(FeatureConfig(image_size=8, widths=(4,), features=4), ("yaw", "beard", "skin_r", "curl"))
    network.attribute_sd.copy_(torch.tensor([1.0, 2.0, 0.5, 1.0]))
    features = LoadedFeatures(network, {"r2": {"beard": 0.9, "skin_r": 0.9, "curl": 0.1}})
    strengths = (-1.0, 0.0, 3.0)
    readings = torch.tensor(strengths)[:, None] * torch.tensor([5.0, 1.0, -0.5, 9.0]) + 4
    assert changes(features, readings, strengths) == {"skin_r": -1.0, "beard": 0.5}  # pose and what is badly read: not
    assert changes(features, readings[:1], strengths[:1]) == {}


def test_readings_are_those_of_the_frontal_pictures(generator: GramHd, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = FeatureNetwork(FeatureConfig(image_size=8, widths=(4,), features=4), ("beard", "skin_r")).eval()
    features = LoadedFeatures(network.requires_grad_(False), {})
    who, way = subject_of_seed(generator, 3, truncation=0.7), direction(generator)
    done = edit(generator, [who], [way], EditRequest((0.0, 2.0), size=16), tmp_path, features=features)
    camera = trajectories.frontal(generator.cameras, size=16)
    seen = pictures_of(generator, way.move(who.latent, 2.0), camera)
    image = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert done.grids[0].readings is not None
    assert torch.allclose(done.grids[0].readings[1], network(image).attributes[0], atol=1e-5)


# ---- mixing -------------------------------------------------------------------------------------------------------


def test_a_mixture_has_the_field_of_one_and_the_style_of_the_other() -> None:
    coarse, fine = Latent(torch.zeros(1, 3, 2, 4), torch.zeros(1, 5)), Latent(torch.ones(1, 3, 2, 4), torch.ones(1, 5))
    mixed = mixture(coarse, fine)
    assert torch.equal(mixed.film, coarse.film) and torch.equal(mixed.style, fine.style)
    layered = mixture(coarse, fine, from_layer=1)
    assert layered.film[0, :, 0, 0].tolist() == [0, 1, 1]
    assert torch.equal(mixture(coarse, fine, from_layer=0).film, fine.film)
    assert torch.equal(mixture(coarse, coarse, from_layer=2).film, coarse.film)


def test_a_mix_shows_both_parents_and_every_pair(generator: GramHd, tmp_path: Path) -> None:
    rows, columns = ([subject_of_seed(generator, s, truncation=1.0) for s in seeds] for seeds in ((0, 1), (2, 3, 4)))
    picture = read(mix(generator, rows, columns, tmp_path, size=64))
    camera = trajectories.frontal(generator.cameras, size=64)
    where = {"rows": 3, "columns": 4, "size": 64}
    assert (tile(picture, 0, 0, **where) == 255).all()
    assert np.array_equal(tile(picture, 0, 2, **where), pictures_of(generator, columns[1].latent, camera)[0])
    assert np.array_equal(tile(picture, 2, 0, **where), pictures_of(generator, rows[1].latent, camera)[0])
    mixed = pictures_of(generator, mixture(rows[1].latent, columns[2].latent), camera)[0]
    assert np.array_equal(tile(picture, 2, 3, **where), mixed)


def test_there_must_be_something_to_mix(generator: GramHd, tmp_path: Path) -> None:
    low = Gram(replace(SMALL_LOW, manifolds=SPHERES))
    heads = [subject_of_seed(low, 0, truncation=1.0)]
    with pytest.raises(BadArgument, match="no super-resolution style"):
        mix(low, heads, heads, tmp_path)
    assert mix(low, heads, heads, tmp_path, from_layer=1, size=8).is_file()
    with pytest.raises(BadArgument, match="layers 0 to"):
        mix(low, heads, heads, tmp_path, from_layer=9)


# ---- sheets -------------------------------------------------------------------------------------------------------


def test_captions_stand_outside_of_the_tiles() -> None:
    tiles = [np.full((64, 64, 3), level, np.uint8) for level in range(6)]
    picture = images.labelled_sheet(tiles, rows=["one", "two"], columns=["a", "b", "c"])
    for index, level in enumerate(range(6)):
        assert (tile(picture, index // 3, index % 3, rows=2, columns=3, size=64) == level).all()
    margin = picture[:, : picture.shape[1] - 3 * 64]
    assert margin.min() < 128 and (picture[: picture.shape[0] - 2 * 64].min(axis=(1, 2)) < 128).any()


def test_subjects_without_a_camera_have_none() -> None:
    assert Subject("x", Latent(torch.zeros(1, 1, 2, 1), torch.zeros(1, 0))).camera is None
