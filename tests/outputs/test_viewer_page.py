"""The page in a browser: it shows what the renderer shows, turns the way it is dragged, and asks nobody for anything.

Needs Chromium and playwright; without them these tests are skipped and say what is missing (`make browser`).
"""

from __future__ import annotations

import base64
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from small import SMALL_HIGH, thicken

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs.images import rgb8
from gramhd_core.outputs.viewer import write_viewer
from gramhd_core.scenes.head_manifolds import head_manifolds
from gramhd_core.scenes.manifolds import RadianceManifolds

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: make browser, or apt-get install chromium"),
    pytest.mark.skipif(not PLAYWRIGHT, reason="no playwright here: pip install playwright"),
]
FLAGS = [
    *("--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
]
PRIOR = CameraPrior()
SIZE = 256
READ = """(size) => {
  const bytes = gramhd.pixels(size).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}"""


class Shown(NamedTuple):
    """A page in a browser, and what it said and asked for since it was opened."""

    page: Any
    complaints: list[str]
    requests: list[str]

    def state(self) -> dict[str, Any]:
        return self.page.evaluate("gramhd.state")

    def pixels(self, size: int = SIZE) -> np.ndarray:
        """uint8 [size, size, 4], the top row first."""
        data = base64.b64decode(self.page.evaluate(READ, size))
        return np.frombuffer(data, np.uint8).reshape(size, size, 4)

    def at_rest(self) -> None:
        """Wait until what was asked for has begun (a frame may take long) and has ended."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.until("!gramhd.state.moving")

    def until(self, condition: str) -> None:
        """Wait for an expression to become true (the page's own rules keep playwright from waiting inside it)."""
        end = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"{condition} never came true: {self.state()}"
            self.page.wait_for_timeout(30)

    def drag(self, dx: float, dy: float, *, held: bool = False) -> None:
        """From the middle of the picture, slowly enough at the end that nothing is thrown."""
        box = self.page.locator("#picture").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=5)
        if not held:
            self.page.wait_for_timeout(120)
            self.page.mouse.up()


@pytest.fixture(scope="module")
def scenes() -> list[RadianceManifolds]:
    """An analytic head, a generator's scene with colours that screens can show, another head."""
    torch.manual_seed(0)
    generator = GramHd(SMALL_HIGH).eval()
    thicken(generator)
    with torch.no_grad():
        small = generator.scene(generator.latent(torch.randn(1, 8, generator=torch.Generator().manual_seed(1))))
    small.maps[:, :, :3].clamp_(0, 1)
    small.background.clamp_(0, 1)
    heads = [head_manifolds(HeadIdentity.from_seed(seed), levels=12, size=128) for seed in (3, 5)]
    return [heads[0], small, heads[1]]


@pytest.fixture(scope="module")
def html(scenes: list[RadianceManifolds], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "heads.html"
    return write_viewer(scenes, ["Head 3", "Noise", "Head 5"], path, cameras=PRIOR).path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, html: Path) -> Iterator[Callable[..., Shown]]:
    """`opened(width=400)`: the page, ready; afterwards it must have complained of nothing and asked for nothing."""
    contexts, all_shown = [], []

    def open_page(path: Path = html, *, width: int = 720, height: int = 420, **options: Any) -> Shown:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        shown = Shown(contexts[-1].new_page(), [], [])
        shown.page.on("console", lambda message: shown.complaints.append(message.text))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.goto(path.as_uri())
        shown.page.evaluate("gramhd.ready")
        all_shown.append(shown)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    for shown in all_shown:
        assert shown.complaints == []
        assert [url for url in shown.requests if not url.startswith(("file:", "blob:", "data:"))] == []
        assert len([url for url in shown.requests if url.startswith("file:")]) == 1, "only the page itself"


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels between uint8 pictures."""
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9)))


def rendered(scene: RadianceManifolds, pitch: float, yaw: float) -> np.ndarray:
    with torch.no_grad():
        return rgb8(scene.render(PRIOR.at(pitch, yaw, size=SIZE)).rgb)[0]


VIEWS = [(0.0, 0.0), (0.0, 0.4), (0.2, -0.3), (-0.2, -0.2)]


@pytest.mark.parametrize("index", [0, 1])
def test_the_page_shows_what_the_renderer_shows(
    opened: Callable[..., Shown], scenes: list[RadianceManifolds], index: int
) -> None:
    shown = opened()
    shown.page.evaluate("(index) => gramhd.show(index)", index)
    for pitch, yaw in VIEWS:
        shown.page.evaluate("([pitch, yaw]) => gramhd.setView(pitch, yaw)", [pitch, yaw])
        picture = shown.pixels()
        assert (picture[..., 3] == 255).all()
        assert psnr(picture[..., :3], rendered(scenes[index], pitch, yaw)) >= 30, (pitch, yaw)


def test_maps_that_end_at_a_hard_border_do_so_in_the_page(
    opened: Callable[..., Shown], scenes: list[RadianceManifolds], tmp_path: Path
) -> None:
    scene = replace(scenes[1], half_width=0.07, convention=replace(scenes[1].convention, edge="cut"))
    shown = opened(write_viewer([scene], ["cut"], tmp_path / "cut.html", cameras=PRIOR).path)
    shown.page.evaluate("gramhd.setView(0.1, 0.4)")
    picture = shown.pixels()[..., :3]
    assert psnr(picture, rendered(scene, 0.1, 0.4)) >= 30
    assert psnr(picture, rendered(replace(scene, convention=scenes[1].convention), 0.1, 0.4)) < 30, "it is seen"


def test_dragging_to_the_right_turns_the_head_to_the_right(opened: Callable[..., Shown]) -> None:
    shown = opened()
    for dx, dy, axis, sign in ((80, 0, "yaw", -1), (-80, 0, "yaw", 1), (0, 60, "pitch", 1), (0, -60, "pitch", -1)):
        shown.page.evaluate("gramhd.setView(0, 0)")
        shown.drag(dx, dy)
        shown.at_rest()
        state = shown.state()
        assert 0.05 < sign * state[axis] < 0.6
        assert abs(state["pitch" if axis == "yaw" else "yaw"]) < 0.02


def test_a_point_of_the_head_follows_the_pointer(opened: Callable[..., Shown]) -> None:
    """The nose (in front of the axis) moves to the side it is dragged to."""
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0); gramhd.setMode('depth')")
    near = [float(np.argmax(shown.pixels()[..., :3].sum(axis=-1).max(axis=0)))]
    shown.drag(90, 0)
    shown.at_rest()
    near.append(float(np.argmax(shown.pixels()[..., :3].sum(axis=-1).max(axis=0))))
    assert near[1] > near[0] + 5


def test_beyond_its_range_the_head_gives_way_and_comes_back(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0)")
    shown.drag(-2500, 0, held=True)
    low, high = shown.state()["yawRange"]
    held = shown.state()["yaw"]
    assert high + 0.02 < held < high + 0.2, "a soft end, but an end"
    shown.page.mouse.up()
    shown.at_rest()
    assert low <= shown.state()["yaw"] <= high + 1e-6
    assert high == pytest.approx(PRIOR.yaw_mean + 2 * PRIOR.yaw_sd)


def test_a_thrown_head_turns_on_and_stays_in_its_range(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0)")
    shown.drag(-60, 0, held=True)
    shown.page.mouse.move(100, 200, steps=3)
    shown.page.mouse.up()
    released = shown.state()["yaw"]
    shown.at_rest()
    low, high = shown.state()["yawRange"]
    assert low - 1e-6 <= shown.state()["yaw"] <= high + 1e-6
    assert shown.state()["yaw"] != released


def test_the_wheel_zooms_towards_the_pointer(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0)")
    box = shown.page.locator("#picture").bounding_box()
    shown.page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    for _ in range(4):
        shown.page.mouse.wheel(0, -120)
    shown.until("gramhd.state.zoom > 1.5")  # wheels are not waited for
    shown.at_rest()
    state = shown.state()
    assert state["zoom"] > 1.5 and state["pan"][0] < -0.1 and abs(state["pan"][1]) < 0.02
    shown.page.keyboard.press("0")
    shown.at_rest()
    assert shown.state()["zoom"] == 1 and shown.state()["pan"] == [0, 0]


def test_modes_surfaces_and_background_change_the_picture(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0.2)")
    colour = shown.pixels()
    pictures = [colour]
    for mode in ("depth", "opacity"):
        shown.page.locator(f"#modes [value={mode}]").check(force=True)
        pictures.append(shown.pixels())
    shown.page.locator("#modes [value=colour]").check(force=True)
    assert np.array_equal(shown.pixels(), colour)
    shown.page.locator("#background").uncheck()
    bare = shown.pixels()
    assert bare[..., 3].min() == 0 and bare[128, 128, 3] > 250, "a head before nothing"
    shown.page.locator("#background").check()
    shown.page.evaluate("gramhd.setApart(0.8)")
    pictures.append(shown.pixels())
    shown.page.evaluate("gramhd.setApart(0); gramhd.setView(0, 0.2)")
    chips = shown.page.locator("#surfaces button")
    count = chips.count()
    assert count == len(shown.state()["surfaces"])
    first, last = chips.nth(count // 4).bounding_box(), chips.nth(count - 1).bounding_box()
    shown.page.mouse.move(first["x"] + 2, first["y"] + 10)
    shown.page.mouse.down()
    shown.page.mouse.move(last["x"] + 2, last["y"] + 10, steps=60)
    shown.page.mouse.up()
    assert shown.state()["surfaces"] == [i < count // 4 for i in range(count)], "painted over"
    pictures.append(shown.pixels())
    for i, one in enumerate(pictures):
        assert all(psnr(one, other) < 35 for other in pictures[:i])
    shown.page.locator("#all").click()
    assert all(shown.state()["surfaces"]) and np.array_equal(shown.pixels(), colour)


def test_depth_is_pale_in_front_and_opacity_is_the_renderers(
    opened: Callable[..., Shown], scenes: list[RadianceManifolds]
) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0.3); gramhd.setMode('opacity')")
    with torch.no_grad():
        alpha = scenes[0].render(PRIOR.at(0.0, 0.3, size=SIZE)).alpha[0, 0].numpy()
    assert np.abs(shown.pixels()[..., 0] / 255 - alpha).mean() < 0.01
    shown.page.evaluate("gramhd.setMode('depth')")
    depth = shown.pixels()[..., :3].sum(axis=-1).astype(int)
    assert depth[100:160, 90:170].mean() > 2 * depth[:20, :20].mean()


@pytest.mark.parametrize("index", [0, 1])
def test_surfaces_pulled_apart_stay_in_the_picture(opened: Callable[..., Shown], index: int) -> None:
    shown = opened()
    shown.page.evaluate("(index) => gramhd.show(index)", index)
    for pitch, yaw in ((0.0, 0.0), (0.16, -0.62), (-0.3, 1.1)):
        shown.page.evaluate("([pitch, yaw]) => gramhd.setView(pitch, yaw)", [pitch, yaw])
        shown.page.evaluate("gramhd.setApart(1)")
        opacity = shown.pixels()[..., 3]
        assert opacity.any()
        assert not (opacity[[0, -1]].any() or opacity[:, [0, -1]].any())


def test_the_filmstrip_changes_the_identity_and_keeps_the_view(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0.1, 0.3)")
    before = shown.pixels()
    frames = shown.page.locator("#film button")
    assert frames.count() == 3
    frames.nth(2).click()
    shown.until("!document.querySelector('.waiting')")
    state = shown.state()
    assert (state["identity"], state["name"], state["pitch"], state["yaw"]) == (2, "Head 5", 0.1, 0.3)
    assert shown.page.locator("h1").inner_text() == "Head 5"
    assert psnr(shown.pixels(), before) < 30
    shown.page.keyboard.press("[")
    shown.page.keyboard.press("[")
    shown.until("gramhd.state.identity === 0 && !document.querySelector('.waiting')")
    assert np.array_equal(shown.pixels(), before)


def test_the_page_turns_by_itself_until_it_is_touched(opened: Callable[..., Shown]) -> None:
    shown = opened()
    assert shown.state()["auto"]
    shown.until("Math.abs(gramhd.state.yaw) > 0.02")
    shown.drag(10, 0)
    assert not shown.state()["auto"]
    shown.page.locator("#auto").click()
    assert shown.state()["auto"]
    calm = opened(reduced_motion="reduce")
    assert not calm.state()["auto"]


def test_the_keyboard_does_what_the_pointer_does(opened: Callable[..., Shown]) -> None:
    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0)")
    shown.page.locator("#picture").focus()
    shown.page.keyboard.press("ArrowRight")
    shown.at_rest()
    assert shown.state()["yaw"] == pytest.approx(-0.1, abs=0.01)
    for key, wanted in (("d", "depth"), ("o", "opacity"), ("c", "colour")):
        shown.page.keyboard.press(key)
        assert shown.state()["mode"] == wanted
    shown.page.keyboard.press("e")
    shown.until("gramhd.state.apart === 1")
    shown.page.keyboard.press("Space")
    assert shown.state()["auto"]


def test_the_screenshot_is_a_png_of_the_picture(opened: Callable[..., Shown], tmp_path: Path) -> None:
    from PIL import Image

    shown = opened()
    shown.page.evaluate("gramhd.setView(0, 0)")
    with shown.page.expect_download() as download:
        shown.page.locator("#save").click()
    assert download.value.suggested_filename == "head-3.png"
    download.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        assert image.format == "PNG" and image.width == image.height
        picture = np.asarray(image.convert("RGB"))
    assert psnr(picture, shown.pixels(len(picture))[..., :3]) > 45


def test_touch_turns_and_pinches_on_a_phone(opened: Callable[..., Shown]) -> None:
    shown = opened(width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    shown.page.evaluate("gramhd.setView(0, 0)")
    box = shown.page.locator("#picture").bounding_box()
    assert box["width"] > 330 and box["width"] == pytest.approx(box["height"], abs=1)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = shown.page.context.new_cdp_session(shown.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    send("touchStart", (x, y))
    send("touchMove", (x + 40, y))
    send("touchMove", (x + 80, y))
    shown.page.wait_for_timeout(120)
    send("touchEnd")
    shown.at_rest()
    assert shown.state()["yaw"] < -0.1 and shown.state()["zoom"] == 1
    send("touchStart", (x - 20, y), (x + 20, y))
    send("touchMove", (x - 50, y), (x + 50, y))
    send("touchEnd")
    assert shown.state()["zoom"] > 1.6
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing hangs over the side"


def test_the_page_fits_windows_of_every_shape(opened: Callable[..., Shown]) -> None:
    shown = opened()
    for width, height in ((1600, 900), (800, 600), (1000, 500), (600, 900), (320, 600)):
        shown.page.set_viewport_size({"width": width, "height": height})
        box = shown.page.locator("#picture").bounding_box()
        assert box["width"] == pytest.approx(box["height"], abs=1) and box["width"] > 200
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_graphics_card_that_was_lost_comes_back(opened: Callable[..., Shown]) -> None:
    shown = opened(reduced_motion="reduce")
    before = shown.pixels()
    lose = "document.querySelector('#picture').getContext('webgl2').getExtension('WEBGL_lose_context')"
    shown.page.evaluate(f"window.card = {lose}; card.loseContext()")
    shown.page.wait_for_timeout(100)
    shown.page.evaluate("card.restoreContext()")
    shown.page.wait_for_timeout(100)
    shown.until("!document.querySelector('.waiting')")
    assert np.array_equal(shown.pixels(), before)
    shown.complaints[:] = [line for line in shown.complaints if "CONTEXT_LOST" not in line]


def test_a_browser_without_webgl2_gets_a_sentence(browser: Any, html: Path) -> None:
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(html.as_uri())
    assert "WebGL2" in page.locator("#sorry").inner_text()
    page.close()
