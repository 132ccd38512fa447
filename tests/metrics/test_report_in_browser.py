"""The report's page in a browser: no complaints, no requests, nothing wider than a small screen.

Needs Chromium and playwright; without them these tests are skipped and say what is missing (`make browser`).
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gramhd_core.metrics.report import FORMAT, PICTURES
from gramhd_core.metrics.report_page import write_page
from gramhd_core.outputs.images import save_png

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: make browser, or apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright: pip install playwright"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
LONG = "reprojection PSNR of a name that is longer than others"
WIDER = """() => [...document.querySelectorAll("main *")].filter(e => !e.closest(".wide") &&
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName + e.className)"""
SMALLEST = """() => Math.min(...[...document.querySelectorAll("td, th, p, h1, h2, figcaption, summary")]
  .map(e => parseFloat(getComputedStyle(e).fontSize)))"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, shape in (("wide", (60, 1400, 3)), ("small", (64, 320, 3))):
        save_png(tmp_path / PICTURES / f"{name}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    values = {LONG: 31.234567, "SSIM": 0.98}
    part: dict[str, Any] = {
        "values": values,
        "intervals": {LONG: [30.123, 32.345]},
        "ceiling": {LONG: 40.0},
        "each": {LONG: rng.normal(31, 1, 50).tolist(), "SSIM": [0.97, 0.98, 0.99, 0.98]},
        "protocol": {"identities": 50, "library": "torch-fidelity 0.4.0", "weights": "0" * 64},
        "notes": ["A note."],
        "pictures": {name: {"file": f"{name}.png", "caption": f"a {name} one"} for name in ("wide", "small")},
    }
    document = {
        "format": FORMAT, "preview": True, "left_out": {"epi": "it needs --views in small level steps"},
        "system": {"name": "runs-with-a-long-name/step00001500.safetensors", "facts": ["GramHd, 256 × 256"]},
        "data": {"name": "heads", "images": 12000, "size": 128},
        "request": {"samples": 64, "identities": 2, "truncation": 1.0},
        "gramhd": "0.1.0", "commit": "0" * 12, "versions": {"torch": "2"},
        "metrics": {"reprojection": part}, "times": {"machine": "here"},
    }  # fmt: skip
    return write_page(document, tmp_path)


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (400, "light"), (1200, "light")])
def test_the_page_is_readable_at_any_width_and_asks_for_nothing(page: Path, width: int, scheme: Any) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        shown = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("request", lambda request: requests.append(request.url))
        shown.goto(page.as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate(WIDER) == [] and shown.evaluate(SMALLEST) >= 12
        assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert shown.evaluate("document.querySelectorAll('svg').length") == 2
        paper, ink = (
            shown.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert (lightness(paper) > lightness(ink)) == (scheme == "light")
        shown.locator("summary").click()
        assert shown.get_by_text("torch-fidelity 0.4.0").is_visible()
        browser.close()
    assert complaints == [] and [address for address in requests if not address.startswith("data:")] == [page.as_uri()]


def lightness(colour: str) -> int:
    """`rgb(1, 2, 3)` -> 6"""
    return sum(int(number) for number in colour[4:-1].split(","))
