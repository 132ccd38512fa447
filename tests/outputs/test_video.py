"""Videos decode to the frames that went in; nothing is left behind when writing fails."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gramhd_core.errors import CannotWrite, MissingDependency
from gramhd_core.outputs import video

av = pytest.importorskip("av", reason="videos need PyAV")

COLOURS = [(200, 50, 50), (50, 200, 60), (40, 60, 210), (230, 200, 170)]


def quarters(size: int = 64) -> np.ndarray:
    """Four flat colours, uint8 [size, size, 3]."""
    return np.array(COLOURS, dtype=np.uint8).reshape(2, 2, 3).repeat(size // 2, axis=0).repeat(size // 2, axis=1)


def decoded(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_frame_comes_back_in_order_with_its_colours(tmp_path):
    levels = range(0, 250, 25)
    with video.mp4(tmp_path / "v.mp4", fps=25) as add:
        for level in levels:
            add(np.full((256, 320, 3), level, dtype=np.uint8))
    frames = decoded(tmp_path / "v.mp4")
    assert [frame.shape for frame in frames] == [(256, 320, 3)] * 10
    np.testing.assert_allclose([frame.mean() for frame in frames], levels, atol=2)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_colours_are_right_and_their_standard_is_stated(tmp_path):
    with video.mp4(tmp_path / "v.mp4") as add:
        add(quarters())
    frame = decoded(tmp_path / "v.mp4")[0]
    centres = frame[64::128, 64::128].reshape(4, 3)
    np.testing.assert_allclose(centres, COLOURS, atol=4)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)  # BT.709, limited
        assert stream.average_rate == 30


@pytest.mark.parametrize(
    ("shape", "encoded"),
    [
        ((64, 64), (256, 256)),
        ((100, 100), (300, 300)),
        ((257, 301), (258, 302)),
        ((512, 512), (512, 512)),
        ((17, 40), (272, 640)),
    ],
)
def test_small_frames_grow_by_a_whole_factor_and_sides_become_even(shape, encoded):
    assert video.presentable(np.zeros((*shape, 3), dtype=np.uint8)).shape == (*encoded, 3)


def test_odd_sides_are_padded_with_their_own_last_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (257, 259, 3), dtype=np.uint8)
    shown = video.presentable(frame)
    np.testing.assert_array_equal(shown[:257, :259], frame)
    np.testing.assert_array_equal(shown[257, :259], frame[-1])
    np.testing.assert_array_equal(shown[:257, 259], frame[:, -1])


def test_a_failure_half_way_leaves_the_old_video(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"old")

    def half_a_video() -> None:
        with video.mp4(tmp_path / "v.mp4") as add:
            add(quarters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_a_video()
    assert (tmp_path / "v.mp4").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="not a folder"), video.mp4(tmp_path / "file" / "v.mp4") as add:
        add(quarters())


def test_without_pyav_the_sentence_names_the_install_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match="pip install av"), video.mp4(tmp_path / "v.mp4"):
        pass
    assert not list(tmp_path.iterdir())
