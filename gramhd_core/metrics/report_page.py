"""A report as one page: tables with intervals, pictures, spreads; no network, no script, light or dark.

Pictures are read from the report's folder and stand in the page as WebP.
"""

from __future__ import annotations

import html
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gramhd_core import files
from gramhd_core.metrics.picture_scores import HOUSE
from gramhd_core.metrics.report import PICTURES
from gramhd_core.metrics.report_charts import chart
from gramhd_core.metrics.report_tables import arrow, figure, interval
from gramhd_core.outputs.viewer_layers import webp

NAME = "report.html"
FEWEST = 4  # values worth a chart
SMALL = 400  # pixels: narrower pictures are drawn larger, pixel by pixel
PREVIEW = "Preview (--quick): few heads and short fits. Its numbers are for a first look, not for a table."
CEILING = "Ceiling: analytic heads, scored by the same code. Smooth pictures are easier and can lie above it."
TITLES = {
    "fid": "FID",
    "kid": "KID",
    "neus": "3D consistency: NeuS",
    "epi": "3D consistency: epipolar strips",
    "reprojection": "3D consistency: reprojection",
    "fid3d": "FID with frontal conditioning",
}


def write_page(document: dict[str, Any], out: Path) -> Path:
    """Write `out`/report.html about the report whose pictures are in `out`."""
    files.write_text(out / NAME, page(document, out))
    return out / NAME


def page(document: dict[str, Any], out: Path) -> str:
    """The whole page."""
    name = document["system"]["name"]
    style = (resources("gramhd_core") / "assets" / "report" / "report.css").read_text("utf-8")
    times = document["times"]
    sections = [_section(metric, part, times.get(metric, {}), out) for metric, part in document["metrics"].items()]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(name)}: gramhd eval</title>\n<style>\n{style}</style>\n"
        f"{_header(document)}\n<main>\n{''.join(sections)}{_closing(document)}</main>\n</html>\n"
    )


def _header(document: dict[str, Any]) -> str:
    system, data, request = document["system"], document["data"], document["request"]
    facts = [html.escape(str(fact)) for fact in system.get("facts", [])]
    if data:
        side = data["size"]
        facts.append(f"against {html.escape(data['name'])} ({data['images']:,} images, {side} × {side})")
    if system.get("kind") == "model":
        named = [name for name in request["protocols"] if name != HOUSE]
        others = f" ({', '.join(named)}: as each metric says)" if named else ""
        counts = f"{request['samples']} samples{others}, {request['identities']} identities"
        facts.append(f"{counts}, truncation {request['truncation']:g}")
    preview = f'<p class="preview">{PREVIEW}</p>' if document["preview"] else ""
    if any(part["ceiling"] for part in document["metrics"].values()):
        facts.append(CEILING)
    return f"<header><h1>{html.escape(system['name'])}</h1><p>{'<br>'.join(facts)}</p>{preview}</header>"


def _section(metric: str, part: dict[str, Any], times: dict[str, Any], out: Path) -> str:
    title = TITLES.get(metric, metric.capitalize())
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in part["notes"])
    charts = [
        f"<figure>{drawn}<figcaption>{html.escape(name.replace('_', ' '))} of single heads</figcaption></figure>"
        for name, values in part["each"].items()
        if len(values) >= FEWEST
        and (drawn := chart(values, title=html.escape(name), ceiling=part["ceiling"].get(name)))
    ]
    shown = "".join(_picture(out / PICTURES / item["file"], item["caption"]) for item in part["pictures"].values())
    return (
        f'<section id="{metric}"><h2>{html.escape(title)}</h2>{notes}{_values(part, times)}'
        + (f'<div class="charts">{"".join(charts)}</div>' if charts else "")
        + shown
        + _details(
            "How it was measured", {**part["protocol"], "seconds": times.get("seconds"), "on": times.get("machine")}
        )
        + "</section>\n"
    )


def _values(part: dict[str, Any], times: dict[str, Any]) -> str:
    measured = times.get("measured", {})
    heads = ["", "value"]
    heads += ["95 % interval"] if part["intervals"] else []
    heads += ["ceiling"] if part["ceiling"] else []
    rows = []
    for name, value in {**part["values"], **measured}.items():
        cells = [
            f"<td>{html.escape(name.replace('_', ' '))} {arrow(name)}</td>",
            f'<td class="value">{figure(value)}</td>',
        ]
        if part["intervals"]:
            cells.append(f'<td class="soft">{interval(part["intervals"].get(name))}</td>')
        if part["ceiling"]:
            cells.append(f'<td class="soft">{figure(part["ceiling"].get(name))}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{word}</th>" for word in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _picture(file: Path, caption: str) -> str:
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    small = ' class="small"' if width < SMALL else ""
    text = html.escape(caption)
    return (
        f'<figure><img src="data:image/webp;base64,{webp(pixels, quality=92)}" width="{width}" height="{height}" '
        f'alt="{text}"{small}><figcaption>{text}</figcaption></figure>'
    )


def _closing(document: dict[str, Any]) -> str:
    reasons = document["left_out"].items()
    left = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(why)}</dd>" for name, why in reasons)
    about = {"gramhd": document["gramhd"], "commit": document["commit"], **document["versions"]}
    about |= {name: value for name, value in document["times"].items() if isinstance(value, str)}
    return (
        f'<section id="left-out"><h2>Left out</h2><dl>{left}</dl></section>\n' if left else ""
    ) + f'<section id="about"><h2>Versions</h2>{_list(about)}</section>\n'


def _details(title: str, facts: dict[str, Any]) -> str:
    return f"<details><summary>{title}</summary>{_list(facts)}</details>"


def _list(facts: dict[str, Any]) -> str:
    rows = [
        f"<dt>{html.escape(name.replace('_', ' '))}</dt><dd>{html.escape(_words(value))}</dd>"
        for name, value in facts.items()
        if value is not None
    ]
    return f"<dl>{''.join(rows)}</dl>"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_words(part)}" for name, part in value.items() if part is not None)
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)
