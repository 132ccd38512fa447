"""Small charts of one number per identity, as SVG that takes its colours from the page.

n values. Lengths are in the chart's own units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT, FLOOR = 300, 92, 72  # FLOOR: y of the axis
LEFT, RIGHT = 6, 294
BARS = 12
FEW = 12  # up to so many are dots


def chart(values: Sequence[float | None], *, title: str, ceiling: float | None = None) -> str:
    """How n numbers are spread: dots, or a histogram of many; a line at their mean, a dashed one at the ceiling's.
    Empty for fewer than two numbers."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return ""
    marks = [*known, ceiling] if ceiling is not None else known
    low, high = min(marks), max(marks)
    if low == high:
        low, high = low - 0.5, high + 0.5

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    body = _dots(known, x) if len(known) <= FEW else _bars(known, low, high)
    mean = sum(known) / len(known)
    lines = [f'<line x1="{LEFT}" y1="{FLOOR}" x2="{RIGHT}" y2="{FLOOR}"/>', _mark(x(mean), "mean")]
    lines += [_mark(x(ceiling), "ceiling")] if ceiling is not None else []
    words = [
        f'<text x="{LEFT}" y="{HEIGHT - 4}">{low:.4g}</text>',
        f'<text x="{RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{high:.4g}</text>',
    ]
    label = f"{title}: {len(known)} values from {min(known):.4g} to {max(known):.4g}, mean {mean:.4g}"
    parts = "".join([*body, *lines, *words])
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{parts}</svg>'


def counts(values: Sequence[float], low: float, high: float) -> list[int]:
    """How many of n values fall into each of `BARS` equal parts of [low, high]; they add up to n."""
    found = [0] * BARS
    for value in values:
        found[min(BARS - 1, int(BARS * (value - low) / (high - low)))] += 1
    return found


def _dots(values: Sequence[float], x) -> list[str]:
    return [f'<circle cx="{x(value):.1f}" cy="{FLOOR - 18}" r="5"/>' for value in values]


def _bars(values: Sequence[float], low: float, high: float) -> list[str]:
    found, step = counts(values, low, high), (RIGHT - LEFT) / BARS
    tallest = max(found)
    return [
        f'<rect class="bar" x="{LEFT + i * step + 1:.1f}" y="{FLOOR - 60 * n / tallest:.1f}" width="{step - 2:.1f}" '
        f'height="{60 * n / tallest:.1f}"/>'
        for i, n in enumerate(found)
        if n
    ]


def _mark(x: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="6" x2="{x:.1f}" y2="{FLOOR}"/>'
