"""Several reports side by side, and beside published numbers, which nobody here has measured.

Numbers of different protocols are never put side by side: the first field that differs is named instead.
"""

from __future__ import annotations

import html
import importlib
import itertools
from collections.abc import Sequence
from importlib.resources import files as resources
from typing import Any, NamedTuple

from gramhd_core import __version__
from gramhd_core.errors import BadArgument, MissingDependency
from gramhd_core.metrics.report_tables import System, arrow, columns_of, figure, interval, system_of, tables_of
from gramhd_core.metrics.scores import REACH

LITERATURE = "literature.toml"
SETS = {"fid": "FID", "kid": "KID"}  # whose names end in the protocol, unlike those of `house`
UNKNOWN = "as published"  # the protocol of a row that does not name one of ours
NAMES = {  # key of the literature file -> name in reports, and what to multiply with
    "neus_psnr": ("NeuS PSNR", 1.0),
    "neus_ssim": ("NeuS SSIM", 1.0),
    "seconds": ("first view, seconds", 1.0),
    "memory_gb": ("peak memory, MB", 1000.0),
}
OF_SYSTEMS = ("made_for",)  # of protocols: what a system is, not how it is measured
PUBLISHED = "published, not measured"
NEARLY = 0.1  # of an angle, and radians below which angles are as good as none


class Comparison(NamedTuple):
    """systems: measured ones first. metrics: which of them the reports have."""

    systems: list[System]
    metrics: list[str]


def compare(documents: Sequence[dict[str, Any]], *, literature: bool = False) -> Comparison:
    """BadArgument for fewer than two systems, for reports without a common metric and for protocols that differ."""
    if len(documents) < (1 if literature else 2):
        raise BadArgument(
            f"{len(documents)} report was given" if documents else "no report was given",
            expected="systems are put side by side",
            remedy="name two or more reports, or one with --literature",
        )
    metrics = list(dict.fromkeys(metric for document in documents for metric in document["metrics"]))
    for metric in metrics:
        having = [document for document in documents if metric in document["metrics"]]
        for pair in itertools.combinations(having, 2):  # what one report does not know, another may
            _refuse_mixture(metric, *pair)
    shared = [metric for metric in metrics if sum(metric in document["metrics"] for document in documents) > 1]
    alone = [document for document in documents if not set(shared) & set(document["metrics"])]
    if len(documents) > 1 and alone:
        raise BadArgument(
            f"{_name(alone[0])} has no metric in common with the others",
            expected="systems are compared by the same",
            remedy="measure one of them again with the metrics of the other",
        )
    systems = [system_of(document) for document in documents]
    return Comparison(_told_apart(systems) + (published() if literature else []), metrics)


def published() -> list[System]:
    """The rows of the literature file; names of FID and KID say by which protocol.

    MissingDependency for a Python without a reader of TOML."""
    try:
        toml = importlib.import_module("tomllib")
    except ModuleNotFoundError as error:  # Python 3.10
        raise MissingDependency(
            "--literature was given",
            expected="reading its file needs Python 3.11 or newer",
            remedy="leave it out, or run gramhd with a newer Python",
        ) from error
    text = (resources("gramhd_core") / "assets" / LITERATURE).read_text("utf-8")
    found = []
    for row in toml.loads(text)["system"]:
        protocol = row.get("protocol", UNKNOWN)
        values = {f"{name}, {protocol}": row[key] for key, name in SETS.items() if key in row}
        values |= {name: scale * row[key] for key, (name, scale) in NAMES.items() if key in row}
        place = " ".join([*([row["data"]] if "data" in row else []), *([str(row["size"])] if "size" in row else [])])
        source = f"{row['source']}" + (f" ({row['note']})" if "note" in row else "")
        name = f"{row['name']}, {place}" if place else row["name"]
        found.append(System(name, values, {}, published=True, source=source, setting=row.get("setting", False)))
    return found


def text_of_comparison(comparison: Comparison) -> str:
    """Tables in plain text, one per kind of score."""
    blocks = []
    for title, names, rows in _tables(comparison):
        cells = [["", *names], *([system.name + _mark(system), *_figures(system, names)] for system in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(names) + 1)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
        blocks.append("\n".join([title, *lines]))
    return "\n\n".join(blocks)


def page_of_comparison(comparison: Comparison) -> str:
    """The same as a page, with intervals and sources."""
    style = (resources("gramhd_core") / "assets" / "report" / "report.css").read_text("utf-8")
    sections = "".join(_section(*table) for table in _tables(comparison))
    sources = "".join(
        f"<dt>{html.escape(system.name)}</dt><dd>{html.escape(system.source)}</dd>"
        for system in comparison.systems
        if system.published
    )
    closing = f"<section><h2>Sources of {PUBLISHED} numbers</h2><dl>{sources}</dl></section>\n" if sources else ""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>gramhd eval compare</title>\n<style>\n{style}</style>\n"
        "<header><h1>Systems side by side</h1><p>Measured by one protocol each; 95 % intervals in small print.</p>"
        f"</header>\n<main>\n{sections}{closing}<section><p>gramhd {__version__}</p></section>\n</main>\n</html>\n"
    )


def document_of_comparison(comparison: Comparison) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "format": "gramhd comparison 1",
        "metrics": comparison.metrics,
        "systems": [{**system._asdict(), "published": system.published} for system in comparison.systems],
    }


def _tables(comparison: Comparison) -> list[tuple[str, list[str], list[System]]]:
    """Title, names of columns and systems of every table that has a number; an ablation only with published ones."""
    filled = [one for one in tables_of(comparison.systems) if one.table.label != "ablation" or one.rows[-1].setting]
    found = [(one.table.title, one.names, one.rows) for one in filled]
    taken = {name for one in filled for name in one.names}
    measured = [system for system in comparison.systems if not system.published]
    others = [name for name in columns_of(measured, ("",)) if name not in taken]
    return [*found, ("Other scores", others, measured)] if others else found


def _section(title: str, names: Sequence[str], rows: Sequence[System]) -> str:
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))} {arrow(name)}</th>" for name in names)
    body = []
    for system in rows:
        cells = []
        for name, value in zip(names, _figures(system, names), strict=True):
            ends = interval(system.intervals.get(name))
            cells.append(f"<td>{value}" + (f'<br><span class="soft">{ends}</span>' if ends else "") + "</td>")
        kind = ' class="published"' if system.published else ""
        body.append(f"<tr{kind}><td>{html.escape(system.name + _mark(system))}</td>{''.join(cells)}</tr>")
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<section><h2>{title}</h2><div class="wide">{table}</div></section>\n'


def _mark(system: System) -> str:
    return f" ({PUBLISHED})" if system.published else ""


def _figures(system: System, names: Sequence[str]) -> list[str]:
    return [figure(system.values.get(name)) for name in names]


def _told_apart(systems: Sequence[System]) -> list[System]:
    """The same with a number after names that occur more than once."""
    seen: dict[str, int] = {}
    found = []
    for system in systems:
        seen[system.name] = seen.get(system.name, 0) + 1
        again = f" [{seen[system.name]}]" if seen[system.name] > 1 else ""
        found.append(system._replace(name=system.name + again))
    return found


def _refuse_mixture(metric: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    differing = _difference(first["metrics"][metric]["protocol"], second["metrics"][metric]["protocol"])
    if differing:
        field, one, other = differing
        raise BadArgument(
            f"{_name(first)} and {_name(second)} measured {metric} with {field} {one} and {other}",
            expected="numbers of different protocols do not stand side by side",
            remedy="measure one of them again with the settings of the other",
        )


def _name(document: dict[str, Any]) -> str:
    return document["system"]["name"]


def _difference(first: Any, second: Any, field: str = "protocol") -> tuple[str, Any, Any] | None:
    """The first field that differs, and its values. None in a protocol is not known, which differs from nothing; of
    angles within `NEARLY` is equal."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in (name for name in first if name in second and name not in OF_SYSTEMS):
            if found := _difference(first[name], second[name], name):
                return found
        return None if set(first) & set(second) or first == second else (field, *map(", ".join, (first, second)))
    if first is None or second is None or first == second:
        return None
    if field == REACH and all(abs(a - b) <= NEARLY * max(a, b, NEARLY) for a, b in zip(first, second, strict=True)):
        return None
    return field, first, second
