"""A data set is a value: the same items from a folder or a zip, in any process; and its batches are a pure function."""

from __future__ import annotations

import io
import json
import pickle
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gramhd_core.data import labels
from gramhd_core.data.dataset import BatchStream, DatasetReader
from gramhd_core.data.image_files import decode_image
from gramhd_core.data.pose_conversions import Pose, camera_from_pose, poses_from_camera
from gramhd_core.errors import BadArgument, BadDataset, BadImage, BadLabels

COUNT, SIDE = 7, 24


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def poses() -> dict[str, Pose]:
    return {f"images/{i}.png": Pose(0.1 * i - 0.3, 0.2 * i - 0.5) for i in range(COUNT)}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for i, name in enumerate(poses()):
        picture(i).save(root / name)
    labels.write_eg3d(root / "dataset.json", poses())
    return root


def zipped(folder, method=zipfile.ZIP_STORED):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


def same(a, b) -> bool:
    return torch.equal(a.image, b.image) and a[1:] == b[1:]


def test_items_are_the_pixels_and_poses_on_disk(folder):
    reader = DatasetReader(folder)
    assert len(reader) == COUNT and reader.resolution == reader.image_size == SIDE
    for i, (name, pose) in enumerate(poses().items()):
        sample = reader[i]
        assert sample.name == name and sample.image.dtype == torch.uint8
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.asarray(picture(i)))
        assert (sample.pitch, sample.yaw) == pytest.approx((pose.pitch, pose.yaw), abs=1e-6)
        assert reader.angles[i].tolist() == [sample.pitch, sample.yaw]


def test_a_zip_is_the_folder_it_was_made_from(folder):
    a, b = DatasetReader(folder, mirror=True), DatasetReader(zipped(folder), mirror=True)
    assert a.fingerprint == b.fingerprint
    assert all(same(a[i], b[i]) for i in range(len(a)))


def test_the_mirrored_image_goes_with_the_mirrored_camera(folder):
    reader = DatasetReader(folder, mirror=True)
    assert len(reader) == 2 * COUNT == len(reader.angles)
    for i in range(COUNT):
        item, twin = reader[i], reader[COUNT + i]
        assert torch.equal(twin.image, item.image.flip(-1)) and twin.name == item.name
        assert (twin.pitch, twin.yaw) == (item.pitch, -item.yaw)
        mirrored = camera_from_pose(Pose(item.pitch, item.yaw)).mirrored()
        assert poses_from_camera(mirrored)[0][:2] == pytest.approx((twin.pitch, twin.yaw), abs=1e-6)


def test_indices_end_where_the_data_ends(folder):
    reader = DatasetReader(folder)
    assert same(reader[-1], reader[COUNT - 1]) and len(list(reader)) == COUNT
    with pytest.raises(IndexError):
        reader[COUNT]


def test_another_size_is_lanczos(folder):
    reader = DatasetReader(folder, size=10)
    wanted = np.asarray(picture(3).resize((10, 10), Image.Resampling.LANCZOS))
    assert np.array_equal(reader[3].image.permute(1, 2, 0).numpy(), wanted)
    assert (reader.image_size, reader.resolution) == (10, SIDE)


def test_a_pickled_reader_reads_the_same(folder):
    for path in (folder, zipped(folder)):
        reader = DatasetReader(path, mirror=True)
        assert all(same(a, b) for a, b in zip(reader, pickle.loads(pickle.dumps(reader)), strict=True))


def test_worker_processes_read_the_same(folder):
    reader = DatasetReader(zipped(folder), mirror=True)
    loaded = list(DataLoader(reader, batch_size=4, num_workers=2))  # type: ignore[arg-type]
    assert torch.equal(torch.cat([batch.image for batch in loaded]), torch.stack([s.image for s in reader]))
    assert [name for batch in loaded for name in batch.name] == [s.name for s in reader]


def test_the_fingerprint_sees_labels_names_count_and_resolution(folder):
    seen = {DatasetReader(folder).fingerprint}
    assert DatasetReader(folder, size=8, mirror=True).fingerprint in seen
    labels.write_eg3d(folder / "dataset.json", {**poses(), "images/0.png": Pose(0.0, 0.01)})
    seen.add(DatasetReader(folder).fingerprint)
    (folder / "images/6.png").unlink()
    labels.write_eg3d(folder / "dataset.json", dict(list(poses().items())[:-1]))
    seen.add(DatasetReader(folder).fingerprint)
    for name in DatasetReader(folder).names:
        picture(0, 2 * SIDE, 2 * SIDE).save(folder / name)
    seen.add(DatasetReader(folder).fingerprint)
    assert len(seen) == 4


def test_a_mended_image_leaves_the_fingerprint_alone(folder):
    whole = DatasetReader(folder).fingerprint
    file = folder / "images/2.png"
    data = file.read_bytes()
    file.write_bytes(data[:-400])
    damaged = DatasetReader(folder).fingerprint
    file.write_bytes(data + b"another encoder")
    assert whole == damaged == DatasetReader(folder).fingerprint == DatasetReader(zipped(folder)).fingerprint


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode):
    buffer = io.BytesIO()
    picture(0).convert(mode).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    assert decode_image(buffer.getvalue(), name="x").shape == (3, SIDE, SIDE)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_greys_of_16_bits_keep_their_upper_8():
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 0 to 65535
    decoded = decode_image(encoded(Image.fromarray(values)), name="x")
    assert np.array_equal(decoded.numpy(), np.broadcast_to(values >> 8, (3, 16, 16)))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_an_image_is_turned_as_its_exif_says(format):
    corner = np.zeros((SIDE, SIDE, 3), np.uint8)
    corner[: SIDE // 2, : SIDE // 2] = 255  # upper left
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left of how it is shown
    decoded = decode_image(encoded(Image.fromarray(corner), format, exif=exif), name="x").float()
    assert decoded[:, : SIDE // 2, SIDE // 2 :].mean() > 250 and decoded.mean() == pytest.approx(64, abs=2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    if mode == "P":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([200, 0, 0])
        data = encoded(image, transparency=0)
    else:
        data = encoded(Image.new("RGBA", (2, 2), (200, 0, 0, 0)).convert(mode))
    assert (decode_image(data, name="x") == 255).all()
    half = encoded(Image.new("RGBA", (2, 2), (55, 0, 0, 51)))  # a fifth
    assert decode_image(half, name="x")[:, 0, 0].tolist() == [215, 204, 204]


def test_an_image_cut_anywhere_is_a_sentence(folder):
    for format, step in (("PNG", 13), ("JPEG", 7)):
        buffer = io.BytesIO()
        picture(0).save(buffer, format)
        whole = buffer.getvalue()
        for end in range(0, len(whole) - 16, step):
            with pytest.raises(BadImage, match="portrait"):
                decode_image(whole[:end], name="portrait")


def test_a_truncated_image_is_named_when_it_is_read(folder):
    file = folder / "images/2.png"
    file.write_bytes(file.read_bytes()[:-400])
    reader = DatasetReader(folder)
    assert reader[1].name == "images/1.png"
    with pytest.raises(BadImage, match=r"images/2\.png"):
        reader[2]


def bad_sets():
    """name -> (damage done to a folder, kind of error, words of the sentence)."""

    def write(folder, name, data):
        (folder / name).write_bytes(data)

    def link(file):
        file.unlink()
        file.symlink_to("nowhere")

    def relabel(folder, change):
        document = json.loads((folder / "dataset.json").read_text())
        change(document["labels"])
        (folder / "dataset.json").write_text(json.dumps(document))

    return {
        "no labels": (lambda f: (f / "dataset.json").unlink(), BadDataset, "has no dataset.json"),
        "unfinished": (
            lambda f: ((f / "dataset.json").unlink(), write(f, ".unfinished.jsonl", b"")),
            BadDataset,
            "unfinished",
        ),
        "absent images": (lambda f: (f / "images/3.png").unlink(), BadLabels, "images/3.png and 0 other"),
        "wrong length": (lambda f: relabel(f, lambda pairs: pairs[1][1].pop()), BadLabels, "24 numbers"),
        "no items": (lambda f: relabel(f, lambda pairs: pairs.clear()), BadDataset, "labels no image"),
        "mixed sizes": (lambda f: picture(0, 16, 16).save(f / "images/4.png"), BadDataset, "16 pixels wide"),
        "not square": (lambda f: picture(0, 24, 20).save(f / "images/4.png"), BadImage, "24 x 20"),
        "not an image": (lambda f: write(f, "images/5.png", b"hello"), BadImage, "images/5.png"),
        "empty image": (lambda f: write(f, "images/5.png", b""), BadImage, "images/5.png"),
        "link to nowhere": (lambda f: link(f / "images/3.png"), BadImage, "images/3.png cannot be read as an image"),
        "labels link to nowhere": (lambda f: link(f / "dataset.json"), BadImage, "dataset.json cannot be read (No"),
        "not json": (lambda f: write(f, "dataset.json", b"{"), BadLabels, "not JSON"),
    }


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("damage", bad_sets())
def test_a_bad_set_is_one_sentence(folder, damage, archive):
    harm, kind, words = bad_sets()[damage]
    harm(folder)
    if archive and (damage == "unfinished" or "link" in damage):
        return  # no archive has these
    with pytest.raises(kind) as error:
        DatasetReader(zipped(folder) if archive else folder)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_place_that_is_no_set_is_one_sentence(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.zip").write_bytes(zipped(folder).read_bytes()[:-30])
    for name in ("nowhere", "empty", "cut.zip"):
        with pytest.raises(BadDataset, match=name):
            DatasetReader(tmp_path / name)
    with pytest.raises(BadArgument, match="Size 0"):
        DatasetReader(folder, size=0)


def test_a_compressed_zip_is_refused_with_the_remedy(folder):
    with pytest.raises(BadDataset, match="zip -0"):
        DatasetReader(zipped(folder, zipfile.ZIP_DEFLATED))


# ------------------------------------------------------------------------------------------------ batches


def drawn(reader, batches: int, *, position: int = 0, **options):
    stream = BatchStream(reader, **{"batch": 4, "seed": 1, **options})
    stream.seek(position)
    result = [next(stream) for _ in range(batches)]
    stream.close()
    return result


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for one, two in zip(a, b, strict=True) for x, y in zip(one, two, strict=True))


def test_batches_are_items_and_a_pass_shows_each_once(folder):
    reader = DatasetReader(folder, mirror=True)
    batches = drawn(reader, 7)  # 28 images = two passes over 14
    rows = torch.cat([torch.stack([b.pitch, b.yaw], -1) for b in batches])
    images = torch.cat([b.images for b in batches])
    for part in (slice(0, 14), slice(14, 28)):
        items = [int((reader.angles == row).all(-1).nonzero()) for row in rows[part]]
        assert sorted(items) == list(range(14))
        assert all(torch.equal(image, reader[i].image) for image, i in zip(images[part], items, strict=True))
    assert not torch.equal(rows[:14], rows[14:])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_the_stream_is_a_pure_function_of_seed_and_position(folder, cache_bytes):
    reader = DatasetReader(folder, size=16, mirror=True)
    whole = drawn(reader, 12)
    assert equal(drawn(reader, 12, cache_bytes=cache_bytes, workers=1), whole)
    assert equal(drawn(reader, 5, position=28, cache_bytes=cache_bytes), whole[7:])
    assert not equal(drawn(reader, 12, seed=2), whole)


def test_seeking_in_the_middle_is_exact(folder):
    stream = BatchStream(DatasetReader(folder), batch=3, seed=5, cache_bytes=0)
    first = [next(stream) for _ in range(6)]
    assert stream.position == 18
    stream.seek(6)
    assert equal([next(stream) for _ in range(4)], first[2:])


def test_the_order_does_not_depend_on_the_batch_size(folder):
    reader = DatasetReader(folder)
    assert torch.equal(drawn(reader, 1, batch=20)[0].yaw, torch.cat([b.yaw for b in drawn(reader, 10, batch=2)]))


def test_batches_do_not_share_memory_with_the_cache(folder):
    stream = BatchStream(DatasetReader(folder), batch=COUNT, seed=0)
    first = next(stream).images.clone()
    next(stream).images.zero_()
    stream.seek(0)
    assert torch.equal(next(stream).images, first)


def test_a_bad_image_reaches_the_one_who_asks(folder):
    file = folder / "images/2.png"
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(BadImage, match=r"images/2\.png"):
        drawn(DatasetReader(folder), 2)


@pytest.mark.parametrize("options", [{"batch": 0}, {"seed": -1}])
def test_a_batch_of_nothing_is_a_sentence(folder, options):
    with pytest.raises(BadArgument, match="Batch size"):
        drawn(DatasetReader(folder), 1, **options)


def test_a_cached_set_streams_fast(folder):
    stream = BatchStream(DatasetReader(folder, size=64), batch=32, seed=0)
    next(stream)
    start = time.perf_counter()
    for _ in range(50):
        next(stream)
    assert 50 * 32 / (time.perf_counter() - start) > 2000  # far above any training speed, even on a busy machine
