"""Sets of pictures: an order for real ones, one head per seed for made ones, and the two ways a head can be made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.metrics.image_files import PlainImages
from gramhd_core.metrics.picture_sets import FRONTAL, GeneratedPictures, RealPictures
from gramhd_core.outputs.shots import latent_of_seed, render_shots

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> DatasetReader:
    return DatasetReader(prepare_procedural(20, tmp_path_factory.mktemp("data") / "heads", size=16, workers=1).out)


def test_real_pictures_come_in_one_shuffled_order(reader: DatasetReader) -> None:
    real = RealPictures(reader, size=16)
    shown = real.pictures(range(20))[:, 0]
    stored = torch.stack([reader.image(index) for index in range(20)])
    assert not torch.equal(shown, stored)
    assert sorted(shown.flatten(1).tolist()) == sorted(stored.flatten(1).tolist())
    assert torch.equal(real.pictures([7, 3])[:, 0], shown[[7, 3]])
    assert RealPictures(reader, size=8).pictures([0]).shape == (1, 1, 3, 8, 8)


def test_a_data_set_and_its_images_in_a_plain_folder_are_the_same_pictures(reader: DatasetReader) -> None:
    plain = PlainImages(Path(reader.path) / "images")
    same = RealPictures(plain, size=16).pictures(range(20))
    assert torch.equal(same, RealPictures(reader, size=16).pictures(range(20)))


def test_a_replaced_image_changes_the_key(reader: DatasetReader, tmp_path: Path) -> None:
    out = prepare_procedural(16, tmp_path / "heads", size=16, workers=1).out
    before = RealPictures(DatasetReader(out), size=16).key()
    assert before == RealPictures(DatasetReader(out), size=16).key() != RealPictures(DatasetReader(out), size=8).key()
    first, second = sorted((out / "images").rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())
    assert RealPictures(DatasetReader(out), size=16).key() != before


def test_head_i_is_seed_i_whoever_is_beside_it(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    made = GeneratedPictures(small_gram_hd, count=8, size=16, labels=reader)
    both = made.pictures([2, 5], ("prior", "labels"))
    assert torch.equal(made.pictures([5], ("labels", "prior"))[0], both[1].flip(0))
    latent, rng = latent_of_seed(small_gram_hd, 5, truncation=1.0)
    camera = small_gram_hd.cameras.sample(1, rng, size=16)
    with torch.no_grad():
        shot = next(render_shots(small_gram_hd.scene(latent), camera)).rgb[0]
    assert torch.equal(both[1, 0], torch.from_numpy(shot).movedim(-1, 0))


def test_cameras_of_labels_are_those_of_the_data(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    made = GeneratedPictures(small_gram_hd, count=30, size=16, labels=reader)
    seen = set()
    for seed in range(30):
        _, rng = latent_of_seed(small_gram_hd, seed, truncation=1.0)
        camera = made._camera("labels", rng.get_state())
        distance = (reader.angles - torch.cat([camera.pitch, camera.yaw])).abs().sum(dim=1)
        assert distance.min() < 1e-5
        seen.add(int(distance.argmin()))
    assert len(seen) > 8


def test_the_fingerprint_is_of_weights_and_configuration(small_gram_hd: GramHd, small_turning: GramHd) -> None:
    prints = {
        GeneratedPictures(generator, count=1, size=16).fingerprint for generator in (small_gram_hd, small_turning)
    }
    assert len(prints) == 2 and GeneratedPictures(small_gram_hd, count=9, size=32).fingerprint in prints
    keys = [
        GeneratedPictures(small_gram_hd, count=1, size=size, truncation=psi).key()
        for size, psi in ((16, 1.0), (32, 1.0), (16, 0.5))
    ]
    assert keys[0] != keys[1] and keys[0] != keys[2]


def test_only_heads_that_know_their_camera_differ_when_they_are_made_for_the_front(
    small_gram_hd: GramHd, small_turning: GramHd
) -> None:
    still, other = (GeneratedPictures(generator, count=4, size=16) for generator in (small_gram_hd, small_turning))
    assert not still.view_dependent and other.view_dependent
    ways = ("prior", "prior" + FRONTAL)
    same, different = still.pictures([1], ways)[0], other.pictures([1], ways)[0]
    assert torch.equal(same[0], same[1]) and not torch.equal(different[0], different[1])
