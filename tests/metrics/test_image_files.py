"""Plain folders: what is listed, what is refused in one sentence, what is cut and resized."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gramhd_core.errors import BadDataset, BadImage
from gramhd_core.metrics.image_files import PlainImages, square


def fill(folder: Path, count: int = 16, *, size: tuple[int, int] = (20, 20)) -> Path:
    """Noise, in two folders."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / ("b" if index % 2 else "a") / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return folder


def test_pictures_are_listed_by_name_wherever_they_lie_and_nothing_else_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("not a picture")
    images = PlainImages(folder)
    assert images.count == 16 and images.size == 20 and list(images.names) == sorted(images.names)
    shown = images.pictures([3, 0])
    assert shown.shape == (2, 1, 3, 20, 20) and shown.dtype == torch.uint8
    with Image.open(folder / images.names[3]) as picture:
        assert np.array_equal(np.asarray(picture), shown[0, 0].permute(1, 2, 0).numpy())


def test_a_zip_is_as_good_as_a_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
    plain, packed = PlainImages(folder), PlainImages(tmp_path / "made.zip")
    assert plain.fingerprint == packed.fingerprint
    assert torch.equal(plain.pictures(range(16)), packed.pictures(range(16)))


def test_the_key_changes_with_the_pictures_and_with_what_is_done_to_them(tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    images = PlainImages(folder)
    assert images.key() == PlainImages(folder).key() != images.at_size(10).key()
    before, path = images.key(), folder / images.names[0]
    os.utime(path, ns=(1, 1))
    assert PlainImages(folder).key() != before and PlainImages(folder).fingerprint == images.fingerprint
    path.unlink()
    fill(folder, 18)
    assert PlainImages(folder).fingerprint != images.fingerprint


def test_a_size_cuts_the_middle_and_resizes(tmp_path: Path) -> None:
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[:, :, 2:6] = torch.arange(1, 5, dtype=torch.uint8)
    assert torch.equal(square(image, 4), image[:, :, 2:6])
    assert square(torch.full((3, 9, 6), 77, dtype=torch.uint8), 3).unique().tolist() == [77]
    folder = fill(tmp_path / "wide", size=(32, 20))
    assert PlainImages(folder, size=8).pictures([0]).shape == (1, 1, 3, 8, 8)
    with pytest.raises(BadDataset, match="32 x 20.*--size 20"):
        PlainImages(folder)


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="does not exist"):
        PlainImages(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataset, match="is empty, but a folder or zip with PNG"):
        PlainImages(tmp_path / "empty")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(BadDataset, match="has no pictures"):
        PlainImages(tmp_path / "texts")
    with pytest.raises(BadDataset, match="has 15 pictures.*16 or more"):
        PlainImages(fill(tmp_path / "few", 15))
    mixed = fill(tmp_path / "mixed")
    Image.new("RGB", (24, 24)).save(mixed / "z.png")
    with pytest.raises(BadDataset, match="24 x 24.*20 pixels wide.*one size"):
        PlainImages(mixed)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "made")
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadImage, match=r"broken\.png cannot be read.*remove it"):
        PlainImages(folder)
    whole = (folder / "a" / "000.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])  # its header is still there
    images = PlainImages(folder)
    with pytest.raises(BadImage, match=r"broken\.png cannot be read") as caught:
        images.pictures(range(images.count))
    assert "prep-data" not in str(caught.value)
