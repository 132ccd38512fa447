"""The page beside sampled pictures shows every file once, links nothing that is not there, and says who is who."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.gallery import angles, cards
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampledFile, SampleRequest

pytestmark = pytest.mark.slow


def linked(page: Path) -> list[str]:
    """Names that a page shows or links, each once."""
    found = re.findall(r'(?:src|href)="([^"]*)"', page.read_text("utf-8"))
    return sorted({unquote(html.unescape(name)) for name in found})


@pytest.mark.parametrize(
    "request_",
    [
        SampleRequest((0, 3), html=True, size=16),
        SampleRequest((4,), html=True, size=16, depth=True, alpha=True, save_scene=True),
        SampleRequest((1, 2), html=True, view="multiview1x3", size=16, depth=True),
        SampleRequest((1, 2), html=True, view="grid", size=16, save_scene=True),
        SampleRequest((5,), html=True, view="epi", size=16, frames=3),
        SampleRequest((5,), html=True, view="video", size=16, frames=2, depth=True),
        SampleRequest((5, 6), html=True, view="interpolation", size=16, frames=2),
    ],
    ids=lambda request: request.view,
)
def test_every_file_is_on_the_page_and_no_other(request_: SampleRequest, small_gram_hd: GramHd, tmp_path: Path) -> None:
    done = sample(small_gram_hd, request_, tmp_path)
    assert [file.kind for file in done.files].count("gallery") == 1
    page = tmp_path / "index.html"
    assert linked(page) == sorted(path.name for path in tmp_path.iterdir() if path != page)
    text = page.read_text("utf-8")
    assert all(f"{seed}" in text for seed in request_.seeds) and "truncation 0.7" in text
    assert "http" not in text and "<script" not in text
    assert ("<video" in text) == (request_.view in ("video", "interpolation"))
    json.dumps(done.document())


def test_without_html_there_is_no_page(small_gram_hd: GramHd, tmp_path: Path) -> None:
    done = sample(small_gram_hd, SampleRequest((0,), size=16), tmp_path)
    assert not (tmp_path / "index.html").exists() and done.files[-1].kind == "image"


def test_a_folder_in_place_of_the_page_is_refused_before_anything_is_made(
    small_gram_hd: GramHd, tmp_path: Path
) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(BadArgument, match="is a folder"):
        sample(small_gram_hd, SampleRequest((0,), html=True, size=16), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def made(kind: str, *seeds: int, pitch: tuple[float, ...] = (0.0,), yaw: tuple[float, ...] = (0.0,)) -> SampledFile:
    return SampledFile(Path(f"{kind}{seeds}.png"), kind, seeds, pitch, yaw)


def test_files_of_the_same_seed_stand_together() -> None:
    files = [made("scene", 1), made("image", 1), made("depth", 1), made("image", 2), made("contact_sheet", 1, 2)]
    one, two = cards(files)
    assert [one.main, *one.others] == [files[1], files[0], files[2]]
    assert [two.main, *two.others] == [files[3]]


def test_angles_are_said_in_degrees() -> None:
    assert angles(made("image", 1, pitch=(-0.1,), yaw=(0.3,))) == "pitch −6°, yaw 17°"
    three = made("image", 1, pitch=(0.0,) * 3, yaw=(-0.3, 0.0, 0.3))
    assert angles(three) == "3 views, pitch 0°, yaw −17° to 17°"
