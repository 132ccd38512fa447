"""Reports as tables: CSV for spreadsheets, LaTeX in the layout of the GRAM-HD paper.

A system is a report, or a row of the literature file (`report_compare.py`), in the same words.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

HIGHER = re.compile(r"PSNR|psnr|SSIM|precision|recall|diversity|per second|percentage|ordered|seen|found")
LOWER = re.compile(r"FID|KID|error|seconds|memory|flicker|residual|drift|depth", re.IGNORECASE)
COLUMNS = ("system", "metric", "name", "value", "low", "high", "ceiling")


def arrow(name: str) -> str:
    """Which way is better: an arrow, or nothing where it is neither."""
    if HIGHER.search(name):
        return "↑"
    return "↓" if LOWER.search(name) else ""


def figure(value: float | None, digits: int = 4) -> str:
    """A number to read; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}".replace("-", "−")


def interval(ends: Sequence[float | None] | None) -> str:
    """`28.1 to 29.4`; nothing without an interval."""
    return "" if ends is None else f"{figure(ends[0])} to {figure(ends[1])}"


def csv_of(documents: Sequence[dict[str, Any]]) -> str:
    """A line per number: system, metric, name, value, the ends of its interval, its ceiling."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for document in documents:
        for metric, part in document["metrics"].items():
            measured = document["times"].get(metric, {}).get("measured", {})
            for name, value in {**part["values"], **measured}.items():
                low, high = part["intervals"].get(name) or ("", "")
                row = (document["system"]["name"], metric, name, value, low, high, part["ceiling"].get(name, ""))
                writer.writerow(["" if cell is None else cell for cell in row])
    return stream.getvalue()


class System(NamedTuple):
    """A row of tables. values: number by name, with the names of reports; published: somebody's paper says so."""

    name: str
    values: dict[str, float | None]
    intervals: dict[str, Sequence[float | None]]
    published: bool = False
    source: str = ""
    setting: bool = False


class Table(NamedTuple):
    """columns: names of values, whose letters begin with one of `starts`."""

    title: str
    label: str
    starts: tuple[str, ...]


TABLES = (
    Table("Image quality", "quality", ("FID", "KID", "precision", "recall")),
    Table("3D consistency", "consistency", ("NeuS", "reprojection", "frontal", "EPI", "identity", "recognised")),
    Table("Ablation", "ablation", ("FID",)),
    Table("Speed and size", "speed", ("parameters", "GFLOP", "first view", "next view", "views per", "peak memory")),
)
ASIDE = ("against itself", "sd of subsets", "percentage", "followed")  # of reports, not of tables


def system_of(document: dict[str, Any]) -> System:
    """The row of a report."""
    values: dict[str, float | None] = {}
    intervals: dict[str, Sequence[float | None]] = {}
    for metric, part in document["metrics"].items():
        values |= part["values"] | document["times"].get(metric, {}).get("measured", {})
        intervals |= part["intervals"]
    name = document["system"]["name"] + (" (preview)" if document["preview"] else "")
    return System(name, values, intervals)


def csv_of_systems(systems: Sequence[System]) -> str:
    """A line per number: system, whether it is published, name, value, the ends of its interval, its source."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("system", "published", "name", "value", "low", "high", "source"))
    for system in systems:
        for name, value in system.values.items():
            low, high = system.intervals.get(name) or ("", "")
            row = (system.name, "yes" if system.published else "no", name, value, low, high, system.source)
            writer.writerow(["" if cell is None else cell for cell in row])
    return stream.getvalue()


def columns_of(systems: Sequence[System], starts: Sequence[str]) -> list[str]:
    """Names that at least one system has a number for, in the order of the reports."""
    names = dict.fromkeys(name for system in systems for name in system.values)
    return [name for name in names if name.startswith(tuple(starts)) and not any(word in name for word in ASIDE)]


class Filled(NamedTuple):
    """A table that has numbers: names of its columns, and the systems that have any of them."""

    table: Table
    names: list[str]
    rows: list[System]


def tables_of(systems: Sequence[System]) -> list[Filled]:
    """Image quality, consistency, ablation and speed, as far as there are numbers. Settings of a published ablation
    stand in its table alone; it has measured systems beside them, and is left out for a single system."""
    found = []
    for table in TABLES:
        ablation = table.label == "ablation"
        rows = [system for system in systems if system.setting or (not system.published if ablation else True)]
        rows = rows if ablation else [system for system in rows if not system.setting]
        names = columns_of(rows, table.starts)
        rows = [system for system in rows if any(system.values.get(name) is not None for name in names)]
        if names and rows and (len(rows) > 1 or not ablation):
            found.append(Filled(table, names, rows))
    return found


def latex_of(systems: Sequence[System]) -> str:
    """The tables of the GRAM-HD paper: image quality (KID times 1000), NeuS and its like, ablation, speed.

    Tables without a number are left out. Published rows are in italics.
    """
    return "\n".join(_latex_table(*filled) for filled in tables_of(systems))


def _latex_table(table: Table, names: Sequence[str], rows: Sequence[System]) -> str:
    head = " & ".join(["Method", *(f"{_tex(_titled(name))}{_tex_arrow(name)}" for name in names)])
    body = "\n".join(f"    {_latex_row(system, names)} \\\\" for system in rows)
    published = " Rows in italics are published, not measured." if any(row.published for row in rows) else ""
    return (
        f"\\begin{{table}}\n  \\centering\n  \\caption{{{table.title}.{published}}}\n  \\label{{tab:{table.label}}}\n"
        f"  \\begin{{tabular}}{{l{'c' * len(names)}}}\n    \\toprule\n    {head} \\\\\n    \\midrule\n{body}\n"
        f"    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_row(system: System, names: Sequence[str]) -> str:
    cells = []
    for name in names:
        value, scale = system.values.get(name), 1000 if name.startswith("KID") else 1
        cells.append("--" if value is None else _tex_number(scale * value))
    title = f"\\textit{{{_tex(system.name)}}}" if system.published else _tex(system.name)
    return " & ".join([title, *cells])


def _tex_number(value: float) -> str:
    """Three digits, zeros at the end among them: 12.0, 0.900."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _titled(name: str) -> str:
    return name.replace("KID", "KID x 1000", 1) if name.startswith("KID") else name


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text).replace(" x 1000", " $\\times 10^3$")


def _tex_arrow(name: str) -> str:
    return {"↑": " $\\uparrow$", "↓": " $\\downarrow$", "": ""}[arrow(name)]
