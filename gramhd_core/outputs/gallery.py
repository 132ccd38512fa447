"""index.html beside sampled pictures: every file of one call of `sample`, to look at in a browser.

The page is static and links the files where they are, so the folder can be moved or sent as a whole. Angles are radians
as everywhere, shown in degrees. N seeds, V views.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gramhd_core import files
from gramhd_core.errors import BadArgument
from gramhd_core.outputs.sample_request import SampledFile, SampleRequest

NAME = "index.html"
MAIN = ("image", "epi", "video")  # kinds that head a card; others of the same seeds stand below
LABELS = {
    "alpha": "without background",
    "depth": "depth, 16 bit",
    "depth_preview": "depth",
    "depth_video": "depth",
    "scene": "scene file",
    "contact_sheet": "all in one picture",
}
STYLE = """
:root { color-scheme: light dark; --paper: #f4f3f0; --card: #fff; --ink: #1d1c1a; --soft: #6d6a64; --line: #dcd9d3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131415; --card: #1e2022; --ink: #eceae6; --soft: #98958f; --line: #33363a; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: clamp(16px, 4vw, 48px); background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Inter, Roboto, sans-serif; }
header { margin: 0 0 28px; }
h1 { margin: 0; font-size: 20px; font-weight: 600; letter-spacing: -.01em; }
p { margin: 2px 0 0; color: var(--soft); }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: 3px; }
a:hover { text-decoration-color: currentColor; }
main { display: grid; gap: 24px; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--column)), 1fr)); }
figure { margin: 0; }
img, video { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--card); }
img.small { image-rendering: pixelated; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 12px; margin-top: 8px; font-variant-numeric: tabular-nums; }
figcaption b { font-weight: 600; } figcaption span, nav { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 2px 12px; margin-top: 3px; font-size: 12.5px; }
"""


class Card(NamedTuple):
    """What stands together: a picture or video, and the other files of the same seeds."""

    main: SampledFile
    others: list[SampledFile]


def check_place(out: Path) -> None:
    """BadArgument where the page cannot be written, for a folder has its name."""
    if (out / NAME).is_dir():
        raise BadArgument(
            f"{out / NAME} is a folder", expected="the page is a file of that name", remedy="choose another --out"
        )


def write_gallery(request: SampleRequest, written: Sequence[SampledFile], out: Path, *, size: int) -> Path:
    """Write `out`/index.html about the files of one call of `sample`; pictures are `size` pixels per view."""
    columns = {"multiview1x3": 560, "grid": 720, "multiview3x7": 720}.get(request.view, 220)
    made = cards(written)
    seeds = sorted({seed for file in written for seed in file.seeds})
    overall = [file for file in written if file.kind == "contact_sheet"]
    facts = [
        f"{len(seeds)} seed{'s' * (len(seeds) != 1)}",
        f"truncation {request.truncation:g}",
        f"{size} × {size} pixels" + (" a view" if request.view not in ("image", "rand", "video") else ""),
    ]
    about = "<br>".join([", ".join(facts), *(_link(file) for file in overall)])
    body = "\n".join(_figure(card, request.truncation, small=size < 128) for card in made)
    title = f"gramhd sample: {request.view}"
    page = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}main {{ --column: {columns}px; }}\n</style>\n"
        f"<header><h1>{html.escape(title)}</h1><p>{about}</p></header>\n<main>\n{body}\n</main>\n</html>\n"
    )
    files.write_text(out / NAME, page)
    return out / NAME


def cards(written: Sequence[SampledFile]) -> list[Card]:
    """One card per picture or video, in the order of writing; whatever else belongs to its seeds goes with it."""
    made = [Card(file, []) for file in written if file.kind in MAIN]
    by_seeds = {card.main.seeds: card for card in made}
    by_seed = {seed: card for card in made for seed in card.main.seeds}
    for file in written:
        if file.kind not in (*MAIN, "contact_sheet"):
            (by_seeds.get(file.seeds) or by_seed[file.seeds[0]]).others.append(file)
    return made


def angles(file: SampledFile) -> str:
    """`pitch 0°, yaw 17°` of one view; of several the ranges and how many."""

    def span(name: str, values: Sequence[float]) -> str:
        low, high = (round(math.degrees(value)) + 0 for value in (min(values), max(values)))
        return f"{name} {low}°" + ("" if low == high else f" to {high}°")

    views = len(file.pitch)
    several = f"{views} views, " if views > 1 and file.kind != "video" else ""
    return f"{several}{span('pitch', file.pitch)}, {span('yaw', file.yaw)}".replace("-", "−")


def _figure(card: Card, truncation: float, *, small: bool) -> str:
    file, name = card.main, quote(card.main.path.name)
    seeds = ", ".join(map(str, file.seeds[:12])) + (", …" if len(file.seeds) > 12 else "")
    who = f"Seed{'s' * (len(file.seeds) > 1)} {seeds}"
    if file.kind == "video":
        shown = f'<video src="{name}" controls loop muted playsinline preload="metadata"></video>'
    else:
        shape = ' class="small"' if small else ""
        shown = f'<a href="{name}"><img src="{name}" alt="{who}, {angles(file)}" loading="lazy"{shape}></a>'
    links = "".join(_link(other, seeds=other.seeds != file.seeds) for other in card.others)
    return (
        f"<figure>{shown}\n<figcaption><b>{who}</b><span>{angles(file)}</span>"
        f"<span>truncation {truncation:g}</span></figcaption>" + (f"<nav>{links}</nav>" if links else "") + "</figure>"
    )


def _link(file: SampledFile, *, seeds: bool = False) -> str:
    label = LABELS[file.kind] + (f", seed {', '.join(map(str, file.seeds))}" if seeds else "")
    return f'<a href="{quote(file.path.name)}">{label}</a>'
