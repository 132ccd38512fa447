"""What the page holds is the scene: meshes close to surfaces, every visible cell, exact opacities; and refusals."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs import viewer_layers
from gramhd_core.outputs.viewer import View, write_viewer
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields

PRIOR = CameraPrior()


def domes(*, side: int = 48, levels: int = 3) -> RadianceManifolds:
    """Nested caps with a soft disc of smooth colour on each."""
    half, a = 0.15, torch.linspace(-0.15, 0.15, 97)
    r2 = a[:, None] ** 2 + a[None] ** 2
    z = torch.stack([(0.25**2 - r2).clamp_min(0).sqrt() - 0.2 - 0.03 * level for level in range(levels)])
    u = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(u, u, indexing="ij")
    rgb = torch.stack([0.5 + 0.4 * x, 0.5 + 0.4 * y, 0.5 - 0.3 * x])
    alpha = (4 * (0.6 - torch.hypot(x, y))).clamp(0, 1)
    maps = torch.cat([rgb, alpha[None]])[None, None].repeat(1, levels, 1, 1, 1)
    background = torch.stack([0.2 + 0.1 * y, 0.3 + 0.1 * x, 0.4 + 0 * x])[None]
    return RadianceManifolds(HeightFields(z, half, 0.12), maps, background, 0.14)


def identity(path: Path, index: int = 0) -> dict[str, Any]:
    """What the page at `path` holds of an identity."""
    found = re.search(rf'id="identity-{index}">(.*?)</script>', path.read_text("utf-8"))
    assert found
    return json.loads(found[1])


def decoded(text: str) -> np.ndarray:
    """A picture of the page, uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., View]:
    def write(scenes: list[Any], **options: Any) -> View:
        names = options.pop("names", [f"Seed {i}" for i in range(len(scenes))])
        return write_viewer(scenes, names, tmp_path / "head.html", cameras=PRIOR, **options)

    return write


def test_opacities_are_exact_and_colours_close(written: Callable[..., View]) -> None:
    scene = domes()
    surface = identity(written([scene]).path)["surfaces"][1]["picture"]
    rows, columns = (slice(surface[k], surface[k] + surface[n]) for k, n in (("y", "height"), ("x", "width")))
    alpha = viewer_layers.levels(scene.maps[0, 1, 3])
    assert np.array_equal(decoded(surface["opacity"])[..., 1], alpha[rows, columns])
    assert alpha.sum() == alpha[rows, columns].sum(), "nothing visible was cut away"
    colour = viewer_layers.levels(scene.maps[0, 1, :3]).transpose(1, 2, 0)[rows, columns]
    seen = alpha[rows, columns] > 0
    assert np.abs(decoded(surface["colour"]).astype(int) - colour)[seen].mean() < 3


def test_the_background_is_exact(written: Callable[..., View]) -> None:
    scene = domes()
    found = decoded(identity(written([scene]).path)["background"])
    assert np.array_equal(found, viewer_layers.levels(scene.background[0]).transpose(1, 2, 0))


def test_a_surface_without_opacity_has_no_picture(written: Callable[..., View]) -> None:
    scene = domes()
    scene.maps[:, 1, 3] = 0.001
    pictures = [surface["picture"] for surface in identity(written([scene]).path)["surfaces"]]
    assert [picture is None for picture in pictures] == [False, True, False]


def test_what_lies_below_the_slab_is_not_kept(written: Callable[..., View]) -> None:
    scene = domes()
    scene.maps[:, :, 3] = 1.0
    whole = identity(written([scene]).path)["surfaces"][2]["picture"]
    surfaces = replace(scene.surfaces, slab=0.03) if isinstance(scene.surfaces, HeightFields) else scene.surfaces
    part = identity(written([replace(scene, surfaces=surfaces)]).path)["surfaces"][2]["picture"]
    assert whole["width"] == 48 and part["width"] < 44
    alpha = decoded(part["opacity"])[..., 1]
    assert (alpha[0] == 0).all() and alpha[len(alpha) // 2, len(alpha) // 2] == 255


@pytest.mark.parametrize("slope", [0.3, 3.0])
def test_meshes_stay_within_their_tolerance(slope: float) -> None:
    a = torch.linspace(-1, 1, 129)
    z = 0.1 * torch.cos(slope * a[:, None]) * torch.cos(0.7 * slope * a[None]) + 0.02 * a[None]
    mesh = viewer_layers.mesh_of(z, np.ones((32, 32), bool), extents=(0.9, 1.0), lowest=-1.0)
    fine = viewer_layers.FINE
    error = viewer_layers.triangulated(mesh.heights, fine) - viewer_layers.heights_at(z, fine, 0.9)
    assert float(error.abs().max()) < 1.5 * viewer_layers.TOLERANCE
    assert mesh.cells.all()
    if slope < 1:
        assert len(mesh.cells) < max(viewer_layers.SIDES), "a flat surface needs few triangles"


def test_a_plane_is_met_exactly_by_two_triangles_per_cell() -> None:
    heights = torch.arange(4.0)[:, None] * 2 + torch.arange(4.0)[None]
    fine = viewer_layers.triangulated(heights, 12)
    assert torch.allclose(fine, torch.arange(13.0)[:, None] / 2 + torch.arange(13.0)[None] / 4, atol=1e-5)


def test_cells_cover_whatever_a_look_up_can_see() -> None:
    rng = np.random.default_rng(0)
    visible = rng.random((40, 40)) < 0.01
    cells = viewer_layers.visible_cells(visible, 16, 1.05)
    points = rng.uniform(-1.05, 1.05, (4000, 2))
    at = torch.from_numpy(points).float()[None, :, None]
    mask = torch.from_numpy(visible).float()[None, None]
    seen = torch.nn.functional.grid_sample(mask, at, align_corners=False)[0, 0, :, 0].numpy() > 1e-6
    column, row = np.floor((points.T + 1.05) / 2.1 * 16).astype(int)
    assert seen.any() and cells[row, column][seen].all()
    assert not cells.all(), "empty cells are left out"


def test_filling_keeps_what_is_known_and_stays_between_its_values() -> None:
    colour = torch.rand(1, 3, 33, 20)
    known = torch.zeros(1, 1, 33, 20, dtype=torch.bool)
    known[..., 5:9, 3:7] = True
    full = viewer_layers.filled(colour, known)
    inside = colour[known.expand_as(colour)]
    assert torch.equal(full[known.expand_as(full)], inside)
    assert inside.min() - 1e-5 <= full.min() and full.max() <= inside.max() + 1e-5


def test_averaging_down_weighs_colours_by_opacity() -> None:
    maps = torch.zeros(4, 8, 8)
    maps[0] = 1.0  # red that nothing shows
    maps[:, ::2] = torch.tensor([0.0, 1.0, 0.0, 0.8])[:, None, None]
    small = viewer_layers.reduced(maps, 2)
    assert torch.allclose(small[:3], torch.tensor([0.0, 1.0, 0.0])[:, None, None].expand(3, 2, 2), atol=1e-5)
    assert small[3].mean() == pytest.approx(0.4, abs=0.02)


def test_large_maps_become_smaller_and_small_ones_stay(written: Callable[..., View]) -> None:
    assert identity(written([domes(side=64)], size=32).path)["mapSide"] == 32
    assert identity(written([domes(side=64)], size=512).path)["mapSide"] == 64


def test_names_cannot_break_out_of_the_page(written: Callable[..., View]) -> None:
    name = '</script><script>alert("{{style}}")</script>'
    text = written([domes()], names=[name], title=name).path.read_text("utf-8")
    assert "<script>alert" not in text
    found = re.search(r'id="page">(.*?)</script>', text)
    assert found and json.loads(found[1])["names"] == [name]


def test_the_page_refers_to_nothing_outside(written: Callable[..., View]) -> None:
    text = re.sub(r'<script type="[^"]+" id=[^>]*>.*?</script>', "", written([domes()]).path.read_text("utf-8"))
    assert not re.findall(r"https?:|//[a-z]|\bsrc=|\bhref=|@import|url\(", text)
    assert "default-src 'none'" in text


def test_every_identity_is_in_the_page(written: Callable[..., View], small_gram_hd: GramHd) -> None:
    latents = (small_gram_hd.latent(torch.randn(1, 8)) for _ in range(3))
    view = written([small_gram_hd.scene(latent).baked() for latent in latents])
    assert view.identities == 3 and view.size == view.path.stat().st_size
    assert identity(view.path, 0)["surfaces"] != identity(view.path, 2)["surfaces"]


# ---- refusals ------------------------------------------------------------------------------------------------------


def refused(folder: Path, scenes: list[Any], name: str = "head.html", **options: Any) -> str:
    """The sentence; nothing may have been written."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(BadArgument) as caught:
        write_viewer(scenes, [str(i) for i in range(len(scenes))], folder / name, cameras=PRIOR, **options)
    assert sorted(folder.rglob("*")) == before
    return str(caught.value)


def test_bad_requests_are_one_sentence_and_leave_nothing(tmp_path: Path, small_gram_hd: GramHd) -> None:
    (tmp_path / "there.html").mkdir()
    assert "at least one" in refused(tmp_path, [])
    assert ".html" in refused(tmp_path, [domes()], "head.glb")
    assert "is a folder" in refused(tmp_path, [domes()], "there.html")
    assert "16 to 2048" in refused(tmp_path, [domes()], size=4096)
    field = small_gram_hd.low.field_scene(small_gram_hd.latent(torch.zeros(1, 8)))
    assert "no maps" in refused(tmp_path, [field])


@pytest.mark.parametrize("part", ["maps", "background"])
def test_numbers_that_are_not_finite_leave_nothing(tmp_path: Path, part: str) -> None:
    broken = domes()
    getattr(broken, part)[..., 3, 3] = torch.nan
    assert "not finite" in refused(tmp_path, [domes(), broken])


def test_a_page_that_was_there_survives_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "head.html").write_text("old")
    broken = replace(domes(), background=torch.full((1, 3, 8, 8), torch.inf))
    refused(tmp_path, [broken])
    assert (tmp_path / "head.html").read_text() == "old"
