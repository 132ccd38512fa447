"""A photograph is read as a viewer shows it, whatever camera, phone or program wrote it, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramhd_core.data import photo_files
from gramhd_core.data.photo_files import PhotoFile, is_photo, open_photos
from gramhd_core.errors import BadDataset, BadImage

ROOT = Path(__file__).resolve().parents[2]


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 / (width - 1), y * 255 / (height - 1), 128 + 0 * x], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_photograph_stands_as_its_orientation_says(orientation, format):
    turns = [
        *(None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270),
    ]
    turn = turns[orientation - 1]
    stored = scene() if turn is None else scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = PhotoFile(encoded(stored, format, exif=exif, **({"quality": 98} if format == "JPEG" else {})), name="a")
    assert (photo.width, photo.height) == (48, 32)
    shown = photo.decode().image.astype(int)
    assert shown.shape == (32, 48, 3) and np.abs(shown - np.asarray(scene())).max() < 12


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (scene().convert("L"), "PNG"),
        (Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257), "PNG"),
        (Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257), "TIFF"),
        (scene().convert("L").convert("1"), "PNG"),
        (scene().convert("LA"), "PNG"),
        (scene().convert("P"), "PNG"),
        (scene().convert("CMYK"), "JPEG"),
        (scene().convert("RGBA"), "WEBP"),
        (scene(), "BMP"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_every_mode_becomes_three_channels_of_a_byte(image, format):
    shown = PhotoFile(encoded(image, format), name="a").decode().image
    assert shown.shape == (32, 48, 3) and shown.dtype == np.uint8
    grey = shown.astype(float).mean(axis=-1)
    assert grey[-8:, -8:].mean() > grey[:8, :8].mean() + 60, "dark where the scene is dark"


def test_what_is_transparent_is_white():
    image = scene().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert (PhotoFile(encoded(image), name="a").decode().image == 255).all()


def test_a_jpeg_is_decoded_no_larger_than_needed():
    photo = PhotoFile(encoded(scene(400, 200), "JPEG"), name="a")
    for factor, width in ((1.0, 400), (0.6, 400), (0.5, 200), (0.3, 200), (0.25, 100), (0.01, 50)):
        picture = photo.decode(factor=factor)
        assert picture.image.shape == (width // 2, width, 3) and picture.factor == width / 400
    assert PhotoFile(encoded(scene(400, 200)), name="a").decode(factor=0.25).factor == 1


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_thumbnail_is_the_photograph_made_smaller(format):
    photo = PhotoFile(encoded(scene(400, 200), format), name="a")
    picture = photo.thumbnail(side=90)
    assert picture.image.shape == (45, 90, 3) and picture.factor == 90 / 400
    assert np.abs(picture.image.astype(int) - np.asarray(scene(90, 45))).max() < 12
    assert photo.thumbnail(side=4000).factor == 1


def test_more_pixels_than_fit_are_read_from_jpegs_only_and_at_a_fraction(monkeypatch):
    monkeypatch.setattr(photo_files, "MOST_PIXELS", 20_000)
    photo = PhotoFile(encoded(scene(400, 200), "JPEG"), name="a")
    assert photo.decode().factor == 0.5 and (photo.width, photo.height) == (400, 200)
    with pytest.raises(BadImage, match=r"0 megapixels.*as a JPEG") as error:
        PhotoFile(encoded(scene(400, 200)), name="large.png")
    assert "large.png" in str(error.value)


MEMORY = """
import io, resource, sys
import numpy as np
from PIL import Image
from gramhd_core.data.photo_files import PhotoFile
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photo = PhotoFile(data, name="huge")
small, large = photo.thumbnail(side=1280), photo.decode()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(photo.width * photo.height, large.image.shape[1], grown // 1024)
"""


@pytest.mark.slow
def test_a_photograph_of_200_megapixels_takes_bounded_memory(tmp_path):
    Image.new("L", (16_320, 12_240), 90).save(tmp_path / "huge.jpg", quality=50)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "huge.jpg")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    pixels, width, megabytes = map(int, done.stdout.split())
    assert (pixels, width) == (16_320 * 12_240, 8_160) and megabytes < 600


@pytest.mark.parametrize(
    "data", [b"", b"words", b"\xff\xd8\xff\xe0 torn", encoded(scene())[:60], b"\0\0\0\x18ftypheic" + bytes(50)]
)
def test_what_cannot_be_read_is_a_sentence_that_names_it(data):
    with pytest.raises(BadImage, match="photo7") as error:
        PhotoFile(data, name="photo7.jpg").decode()
    assert "\n" not in str(error.value) and " at 0x" not in str(error.value)


def test_sources_are_folders_zips_and_single_photographs(tmp_path):
    for name in ("b/2.JPG", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "album" / name).write_bytes(encoded(scene()))
    assert list(open_photos(tmp_path / "album").sizes) == ["a.png", "b/2.JPG"]
    single = open_photos(tmp_path / "album/a.png")
    assert list(single.sizes) == ["a.png"] and single.read("a.png") == encoded(scene())
    assert is_photo("x.HEIC") and is_photo("x.tif") and not is_photo("x.txt")
    with pytest.raises(BadDataset, match="does not exist"):
        open_photos(tmp_path / "absent.jpg")
