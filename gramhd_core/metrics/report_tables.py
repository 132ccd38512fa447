"""Reports as tables: CSV for spreadsheets, LaTeX in the layout of the paper's Tables 1 to 4.

A system is a report, or a row of the literature file (`report_compare.py`), in the same words.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

HIGHER = re.compile(r"PSNR|SSIM|precision|recall|diversity|per second|percentage|ordered|seen")
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
