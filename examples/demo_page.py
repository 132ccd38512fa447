"""The page that `make demo` ends with: DEMO_DIR/index.html shows what the commands before it left in DEMO_DIR.

    python examples/demo_page.py DEMO_DIR

Pictures are linked where they are; only progress.png is made here, from the sample sheets of both trainings. A piece
that is missing becomes a sentence in its place; then the exit code is 2.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gramhd_core.errors import BadArgument, GramhdError
from gramhd_core.files import write_text
from gramhd_core.outputs.images import save_png, sheet, thumbnail

STAGES = {"lr": "low resolution (GRAM)", "hr": "high resolution (GRAM-HD)"}  # what names of run folders begin with
ACROSS, DOWN = 6, 4  # tiles of a sample sheet of the training loop: two seeds x three yaws in a row
SHOWN = 12  # tiles per row of the progress picture: the first four seeds
ROWS = 4  # of each run
TILE = 64  # pixels
MARGIN = 96  # pixels left of a row, for its label
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2.5rem 0 0; font-size: 1.2rem; } p { margin: .2rem 0 .8rem; }
img, video { max-width: 100%; height: auto; border-radius: 4px; margin: 0 .5rem .5rem 0; }
table { border-collapse: collapse; } th, td { padding: .25rem .75rem .25rem 0; text-align: left; }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums; } .missing { color: #b00020; }
"""


class Piece(NamedTuple):
    """Pictures or videos to show: which files, under what title, and one line about them."""

    pattern: str
    title: str
    line: str


BUILT_IN = (
    Piece("built-in/sheet.png", "The built-in model", "What --ckpt demo makes: one random seed each."),
    Piece(
        "built-in/multiview/*multiview3x7.png",
        "The built-in model from 21 views",
        "Every sheet is one head: rows from above to below, columns from -x to +x. One network pass each.",
    ),
)
REAL = Piece(
    "heads/contact_sheet.png",
    "Real images of a training",
    "Procedural heads with the axes of their labels: red x, green y, blue z. Training sees the heads without the axes.",
)
MADE = (
    Piece("heads-made/sheet.png", "Heads of that training", "None of them is in the data: one random seed each."),
    Piece(
        "multiview/*multiview3x7.png",
        "Heads of that training from 21 views",
        "Every sheet is one generated head: rows from above to below, columns from -x to +x. One network pass each.",
    ),
    Piece("video/*.mp4", "Orbits", "The camera moves once around an ellipse; the scene stays what it is."),
    Piece(
        "epi/*_epi.png",
        "Epipolar strips",
        "The marked line in 129 neighbouring views, stacked: smooth trails mean that nothing flickers.",
    ),
)


LINKS = (
    (
        "heads.html",
        "Turn them yourself",
        "Eight heads in one file, in this browser: drag, scroll, pull the surfaces apart.",
    ),
    ("head.glb", "Take one with you", "The first head as textured layers, for Blender and other viewers of glTF."),
    ("head.ply", "Or as one surface", "Fused from many views, with a colour at every corner."),
)


def main(demo: Path) -> list[str]:
    """Write the page; returns a sentence for every piece that is missing."""
    if not demo.is_dir():
        given, expected = f"{demo} is not a folder", "what make demo left is needed"
        raise BadArgument(given, expected=expected, remedy="run make demo first")
    missing: list[str] = []
    sections = [
        *(pictures(demo, piece, missing) for piece in BUILT_IN),
        section("In your hands", "Files of the built-in model that open elsewhere.", links(demo, missing)),
        pictures(demo, REAL, missing),
        progress(demo, missing),
        *(pictures(demo, piece, missing) for piece in MADE),
        figures(demo, missing),
    ]
    write_text(demo / "index.html", page("\n\n".join(sections)))
    return missing


def page(body: str) -> str:
    """The document around the sections; it needs nothing from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>gramhd demo</title>\n<style>{STYLE}</style>\n"
        "<h1>gramhd demo</h1>\n<p>From images on disk to heads that turn, on this machine.</p>\n\n"
        f"{body}\n</html>\n"
    )


def absent(what: Path, missing: list[str]) -> str:
    """The sentence for a missing piece, remembered and as HTML."""
    missing.append(f"{what} is missing, but the page shows it: run make demo again.")
    return f'<p class="missing">{html.escape(missing[-1])}</p>'


def section(title: str, line: str, body: list[str]) -> str:
    """A part of the page as HTML."""
    return "\n".join([f"<h2>{title}</h2>", f"<p>{line}</p>", *body])


def pictures(demo: Path, piece: Piece, missing: list[str]) -> str:
    """All files that match, in the order of their names."""
    tags = []
    for path in sorted(demo.glob(piece.pattern)):
        name = html.escape(path.relative_to(demo).as_posix())
        if path.suffix == ".mp4":
            tags.append(f'<video src="{name}" autoplay loop muted playsinline controls width="256"></video>')
        else:
            tags.append(f'<img src="{name}" alt="{piece.title}: {html.escape(path.stem)}">')
    return section(piece.title, piece.line, tags or [absent(demo / piece.pattern, missing)])


def links(demo: Path, missing: list[str]) -> list[str]:
    """The page, the layers and the surface."""
    return [
        f'<p><a href="{name}">{title}</a>: {line}</p>' if (demo / name).is_file() else absent(demo / name, missing)
        for name, title, line in LINKS
    ]


def runs(demo: Path) -> list[Path]:
    """The run folders of both stages, the oldest first; a stage that left none is expected under its own name."""

    def age(run: Path) -> float:
        stats = run / "stats.jsonl"
        return stats.stat().st_mtime if stats.exists() else 0.0

    return [run for stage in STAGES for run in sorted(demo.glob(f"{stage}*/"), key=age) or [demo / stage]]


def progress(demo: Path, missing: list[str]) -> str:
    """progress.png: the same seeds at a few moments of both trainings, made from their sample sheets."""
    body, rows = [], []
    for run in runs(demo):
        sheets = sorted((run / "samples").glob("images*.png"))
        if not sheets:
            body.append(absent(run / "samples/images*.png", missing))
        picked = np.linspace(0, len(sheets) - 1, min(ROWS, len(sheets))).round().astype(int)
        rows += [labelled_row(sheets[i], run.name) for i in picked]
    if rows:
        save_png(demo / "progress.png", sheet(np.stack(rows), columns=1, gap=2))
        body.insert(0, '<img src="progress.png" alt="The same seeds during training">')
    line = "Four seeds, each from the left, the front and the right, and how many images training had seen by then."
    return section("Training", line, body)


def labelled_row(path: Path, run: str) -> np.ndarray:
    """uint8 [TILE, MARGIN + SHOWN * TILE, 3]: the first tiles of a sample sheet behind the number in its name."""
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    height, width = picture.shape[0] // DOWN, picture.shape[1] // ACROSS
    tiles = [
        picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(SHOWN // ACROSS)
        for column in range(ACROSS)
    ]
    strip = sheet(np.stack([thumbnail(tile, smallest=TILE, largest=TILE) for tile in tiles]), columns=SHOWN)
    label = Image.new("RGB", (MARGIN, TILE), "white")
    text = f"{run}\n{int(path.stem.removeprefix('images')):,}\nimages"
    place = (MARGIN // 2, TILE // 2)
    ImageDraw.Draw(label).multiline_text(
        place, text, fill=(60, 60, 60), font=ImageFont.load_default(12), anchor="mm", align="center"
    )
    return np.concatenate([np.asarray(label), strip], axis=1)


def figures(demo: Path, missing: list[str]) -> str:
    """How much each run saw and how fast, from the last line of its stats.jsonl."""
    rows, body = ["<tr><th>run</th><th>images</th><th>images/s</th><th>minutes</th></tr>"], []
    for run in runs(demo):
        path = run / "stats.jsonl"
        try:
            stats = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
            images, rate = stats["images"], stats["images_per_s"]
        except (OSError, IndexError, ValueError, KeyError):  # no file, an empty one, or one cut off by a kill
            body.append(absent(path, missing))
            continue
        cells = (f"{run.name}: {STAGES[run.name[:2]]}", f"{images:,}", f"{rate:.1f}", f"{images / rate / 60:.1f}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    line = "Minutes are images over images/s; saving and sampling are included."
    return section("What it cost", line, ["<table>", *rows, "</table>", *body])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demo", type=Path, metavar="DEMO_DIR")
    folder = parser.parse_args().demo
    try:
        sentences = main(folder)
        print(folder / "index.html")
    except GramhdError as error:
        sentences = [str(error)]
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    sys.exit(2 if sentences else 0)
