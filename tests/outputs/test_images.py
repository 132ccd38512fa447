"""Bytes of pictures, depth and strips: rounding, layout and what comes back from the files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gramhd_core.errors import CannotWrite
from gramhd_core.outputs import depth_images, epi, images


def test_eight_bit_pictures_survive_the_way_through_floats():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    rgb = torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_array_equal(images.rgb8(rgb), levels)
    np.testing.assert_array_equal(images.alpha8(torch.from_numpy(levels[..., 0])[:, None] / 255), levels[..., 0])


def test_colours_outside_the_range_are_clipped():
    rgb = torch.tensor([-7.0, -1.0, 1.0, 7.0]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert images.rgb8(rgb)[0, ..., 0].flatten().tolist() == [0, 0, 255, 255]


def test_a_sheet_without_gaps_gives_every_tile_back():
    tiles = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    picture = images.sheet(tiles, columns=3)
    assert picture.shape == (10, 12, 3)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, 3)
        np.testing.assert_array_equal(picture[row * 5 : row * 5 + 5, column * 4 : column * 4 + 4], tile)


def test_unused_places_of_a_sheet_are_paper():
    picture = images.sheet(np.zeros((3, 2, 2), dtype=np.uint16), columns=2, gap=1, paper=9)
    assert picture.dtype == np.uint16 and picture.shape == (5, 5)
    assert (picture[3:, 3:] == 9).all() and (picture[2] == 9).all() and (picture[:2, :2] == 0).all()


def test_a_contact_sheet_shows_every_tile_and_leaves_room_for_its_caption():
    tiles = [np.full((64, 64, 3), level, dtype=np.uint8) for level in (10, 90, 170, 250)]
    picture = images.contact_sheet(tiles, ["seed 0", "seed 1", "seed 2", "seed 3"])
    assert picture.shape == (2 * 80 + 4, 3 * 64 + 2 * 4, 3)
    assert (picture[:64, 68:132] == 90).all()
    caption = picture[64:80, 68:132]
    assert caption.max() == 255 and caption.min() < 128


@pytest.mark.parametrize(("size", "shown"), [(8, 64), (48, 96), (64, 64), (256, 256), (1024, 256)])
def test_thumbnails_are_neither_tiny_nor_huge(size, shown):
    assert images.thumbnail(np.zeros((size, size, 3), dtype=np.uint8)).shape == (shown, shown, 3)


@pytest.mark.parametrize(("shape", "dtype"), [((6, 4, 3), np.uint8), ((6, 4, 4), np.uint8), ((6, 4), np.uint16)])
def test_png_files_hold_exactly_what_was_written(tmp_path, shape, dtype):
    picture = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    images.save_png(tmp_path / "x.png", picture, notes={"seeds": "3"})
    with Image.open(tmp_path / "x.png") as image:
        assert image.info["seeds"] == "3"
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="not a folder"):
        images.save_png(tmp_path / "file" / "x.png", np.zeros((4, 4, 3), dtype=np.uint8))


def test_the_matte_is_the_picture_with_its_alpha():
    rgb, alpha = np.full((2, 3, 3, 3), 7, dtype=np.uint8), np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    cut = images.matte(rgb, alpha)
    np.testing.assert_array_equal(cut[..., :3], rgb)
    np.testing.assert_array_equal(cut[..., 3], alpha)


def test_sixteen_bit_depth_measures_to_half_a_level(tmp_path):
    distance = np.linspace(0.8, 1.2, 64, dtype=np.float32).reshape(1, 8, 8)
    images.save_png(tmp_path / "d.png", depth_images.depth16(distance)[0])
    with Image.open(tmp_path / "d.png") as image:
        read = np.asarray(image).astype(np.float64) * depth_images.UNITS_PER_LEVEL
    assert np.abs(read - distance[0]).max() <= 0.5 * depth_images.UNITS_PER_LEVEL + 1e-7


def test_unknown_depth_is_level_zero_and_far_depth_saturates():
    distance = np.array([[[np.nan, np.inf, -np.inf, 5.0]]], dtype=np.float32)
    assert depth_images.depth16(distance).flatten().tolist() == [0, 0, 0, 65535]


def test_the_preview_gets_lighter_towards_the_camera_and_never_darker():
    distance = np.linspace(0.88, 1.12, 256, dtype=np.float32).reshape(1, 1, 256)
    colours = depth_images.depth_preview(distance, (0.9, 1.1))[0, 0].astype(float)
    lightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) <= 0.5).all() and lightness[0] > 230 and lightness[-1] < 30
    assert (colours[:10] == colours[0]).all() and (colours[-10:] == colours[-1]).all()


def test_the_preview_spends_its_colours_on_the_head():
    distance = np.full((1, 40, 40), 1.12, dtype=np.float32)
    alpha = np.zeros((1, 40, 40), dtype=np.uint8)
    distance[0, :20], alpha[0, :20] = np.linspace(0.9, 1.0, 40, dtype=np.float32), 255
    distance[0, 0, :2] = [50.0, np.nan]  # stray pixels
    near, far = depth_images.depth_range(distance, alpha)
    assert near == pytest.approx(0.9, abs=3e-3) and far == pytest.approx(1.0, abs=3e-3)
    wall = depth_images.depth_preview(distance, (near, far))[0, 30, 30]
    assert wall.tolist() == depth_images.depth_preview(np.array([[[9.0]]]), (near, far))[0, 0, 0].tolist(), (
        "as far as can be"
    )


def test_the_preview_range_is_never_empty():
    for distance in (np.full((1, 2, 2), 1.0), np.full((1, 2, 2), np.nan)):
        near, far = depth_images.depth_range(distance, np.zeros((1, 2, 2), dtype=np.uint8))
        assert far > near


def test_the_epi_picture_holds_the_frame_above_the_strip_and_marks_the_line():
    rng = np.random.default_rng(2)
    frame, strip = (rng.integers(0, 200, shape, dtype=np.uint8) for shape in ((64, 64, 3), (9, 64, 3)))
    row = epi.line_row(64)
    picture = epi.epi_picture(frame, strip, row=row)
    inside = slice(14, 14 + 256)
    red = (picture == (255, 40, 40)).all(axis=-1)
    assert row == 30 and picture.shape == (256 + 8 + 9, 256 + 28, 3)
    np.testing.assert_array_equal(picture[:256:4, inside][:, ::4], frame)  # 4 x enlarged
    np.testing.assert_array_equal(picture[264:, inside][:, ::4], strip)
    assert np.flatnonzero(red[:, inside].all(axis=1)).tolist() == [4 * row + 2]
    assert red[:, :14].any() and red[:, -14:].any(), "arrow heads on both sides"
    np.testing.assert_array_equal(red, red[:, ::-1])


@pytest.mark.parametrize(("line", "row"), [(0.0, 0), (0.5, 50), (1.0, 99)])
def test_every_line_is_inside_the_picture(line, row):
    assert epi.line_row(100, line) == row
