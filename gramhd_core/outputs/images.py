"""Pictures on disk: 8-bit conversion, PNG files, sheets of tiles, foreground mattes.

N tiles of H x W pixels with C channels (none for grey). Tensors are NCHW as scenes render them; pictures are numpy
arrays [N, H, W] or [N, H, W, C] of uint8 (uint16 for depth), the first row at the top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from gramhd_core import files

PNG_EFFORT = 3  # zlib level: a third of the time of the default for about 5 % more bytes
CAPTION_HEIGHT = 16  # pixels of the bar under a captioned tile


def rgb8(rgb: Tensor) -> np.ndarray:
    """float [N, 3, H, W] nominally in [-1, 1] => uint8 [N, H, W, 3], rounded to the nearest level.

    The official scripts cut `255 * clip(0.5 x + 0.5, 0, 1)` down to the integer below, which darkens every picture by
    half a level on average; rounding is never off by more than half a level and brings back 8-bit data exactly.
    """
    levels = (rgb.detach().float() * 127.5 + 127.5).round().clamp(0, 255)
    return levels.permute(0, 2, 3, 1).byte().cpu().numpy()


def alpha8(alpha: Tensor) -> np.ndarray:
    """float [N, 1, H, W] in [0, 1] => uint8 [N, H, W], rounded to the nearest level."""
    return (alpha.detach().float() * 255).round().clamp(0, 255)[:, 0].byte().cpu().numpy()


def matte(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] and [N, H, W] => [N, H, W, 4]: the head with everything behind it transparent.

    The colours are those of the finished picture, so a soft edge still holds a trace of the generated background.
    """
    return np.concatenate([rgb, alpha[..., None]], axis=-1)


def sheet(tiles: np.ndarray, *, columns: int, gap: int = 0, paper: int = 255) -> np.ndarray:
    """[N, H, W(, C)] => one picture of `columns` columns, filled row by row; `gap` pixels between tiles.

    Without a gap, tile (r, c) is exactly the pixels [r*H : (r+1)*H, c*W : (c+1)*W]. Unused places get level `paper`.
    """
    count, height, width = tiles.shape[:3]
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:])
    picture = np.full(shape, paper, dtype=tiles.dtype)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def contact_sheet(tiles: Sequence[np.ndarray], captions: Sequence[str], *, columns: int | None = None) -> np.ndarray:
    """Captioned tiles (uint8 [H, W, 3] each, of one size) in a landscape sheet, or in so many columns."""
    columns = columns or min(len(tiles), math.ceil(math.sqrt(1.5 * len(tiles))))
    return sheet(np.stack([_captioned(*pair) for pair in zip(tiles, captions, strict=True)]), columns=columns, gap=4)


def labelled_sheet(tiles: Sequence[np.ndarray], *, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Tiles (uint8 [H, W, 3] each, of one size, row by row) without gaps, a caption left of each row and above each
    column. Tile (r, c) is the pixels of the sheet that begin H (rows - r) above and W (columns - c) left of its end."""
    assert len(tiles) == len(rows) * len(columns), (len(tiles), len(rows), len(columns))
    font, (height, width) = ImageFont.load_default(11), tiles[0].shape[:2]
    left = 8 + math.ceil(max(font.getlength(caption) for caption in rows))
    image = Image.new("RGB", (left + width * len(columns), CAPTION_HEIGHT + height * len(rows)), "white")
    image.paste(Image.fromarray(sheet(np.stack(tiles), columns=len(columns))), (left, CAPTION_HEIGHT))
    pen = ImageDraw.Draw(image)
    for c, caption in enumerate(columns):
        pen.text((left + width * (c + 0.5), CAPTION_HEIGHT / 2), caption, fill=(60, 60, 60), font=font, anchor="mm")
    for r, caption in enumerate(rows):
        pen.text((left - 4, CAPTION_HEIGHT + height * (r + 0.5)), caption, fill=(60, 60, 60), font=font, anchor="rm")
    return np.asarray(image)


def thumbnail(picture: np.ndarray, *, smallest: int = 64, largest: int = 256) -> np.ndarray:
    """A square uint8 [S, S, 3] for a contact sheet: small ones grow by a whole factor, large ones shrink."""
    size = len(picture)
    if size < smallest:
        return enlarged(picture, math.ceil(smallest / size))
    if size > largest:
        return np.asarray(Image.fromarray(picture).resize((largest, largest), Image.Resampling.LANCZOS))
    return picture


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """[H, W(, C)] => every pixel becomes factor x factor equal ones."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def save_png(path: Path, picture: np.ndarray, *, notes: Mapping[str, str] | None = None) -> None:
    """Write uint8 or uint16 [H, W(, C)] to `path` atomically; `notes` become text entries inside the file."""
    info = PngImagePlugin.PngInfo()
    for name, value in (notes or {}).items():
        info.add_text(name, value)
    with files.atomic(path) as temporary:
        Image.fromarray(np.ascontiguousarray(picture)).save(temporary, pnginfo=info, compress_level=PNG_EFFORT)


def _captioned(tile: np.ndarray, caption: str) -> np.ndarray:
    """The tile (uint8 [H, W, 3]) on a white bar that carries the caption, centred."""
    height, width = tile.shape[:2]
    image = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    image.paste(Image.fromarray(tile))
    middle = (width / 2, height + CAPTION_HEIGHT / 2)
    ImageDraw.Draw(image).text(middle, caption, fill=(60, 60, 60), font=ImageFont.load_default(11), anchor="mm")
    return np.asarray(image)
