"""mp4 files that play everywhere: H.264, yuv420p with BT.709 colours, index at the front. Written atomically.

Frames are uint8 [H, W, 3]. H.264 needs even sides, and players show thumbnails badly: frames narrower or lower than
256 pixels are enlarged by a whole factor (bicubic), and an odd side is padded by repeating its last row or column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gramhd_core import files
from gramhd_core.errors import MissingDependency

SMALLEST_SIDE = 256
QUALITY = {"crf": "17", "preset": "medium"}  # visually lossless; about 0.5 Mbit/s for a head at 256 x 256


@contextmanager
def mp4(path: Path, *, fps: int = 30) -> Iterator[Callable[[np.ndarray], None]]:
    """`with mp4(path) as add: add(frame) ...`; all frames of one size. A block that fails leaves nothing."""
    av = require_av()
    options = {"movflags": "faststart"}
    with files.atomic(path) as temporary, av.open(str(temporary), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options=QUALITY)
        stream.pix_fmt = "yuv420p"
        started = False

        def add(frame: np.ndarray) -> None:
            nonlocal started
            frame = presentable(frame)
            if not started:
                stream.height, stream.width = frame.shape[:2]
                _tag_colours(av, stream.codec_context)
                started = True
            container.mux(stream.encode(_yuv(av, frame)))

        yield add
        assert started, "a video needs at least one frame"
        container.mux(stream.encode(None))


def presentable(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] => the frame as it is encoded: at least 256 on its short side, both sides even."""
    height, width = frame.shape[:2]
    factor = math.ceil(SMALLEST_SIDE / min(height, width))
    if factor > 1:
        size = (width * factor, height * factor)
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def require_av() -> Any:
    """The package PyAV, or the sentence that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise MissingDependency(
            "the package `av` (PyAV) is not installed",
            expected="videos are written with it",
            remedy="run `pip install av`, or ask for pictures instead (--view multiview3x7)",
        ) from error
    return av


def _yuv(av: Any, frame: np.ndarray) -> Any:
    """uint8 RGB [H, W, 3] => a yuv420p frame in BT.709, limited range."""
    colours = av.video.reformatter.Colorspace.ITU709
    return av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p", dst_colorspace=colours)


def _tag_colours(av: Any, codec: Any) -> None:
    """Say in the stream what `_yuv` does, so that no player has to guess."""
    codec.colorspace = av.video.reformatter.Colorspace.ITU709
    codec.color_range = av.video.reformatter.ColorRange.MPEG
    codec.color_primaries = codec.color_trc = 1  # BT.709
