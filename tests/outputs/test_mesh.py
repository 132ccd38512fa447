"""Exported meshes look like the scene, load elsewhere, and are refused in one sentence where they cannot be made."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rasteriser import look_up, rasterise

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.errors import BadArgument, GramhdError, MissingDependency
from gramhd_core.generators.gram import Gram
from gramhd_core.geometry.camera import Camera
from gramhd_core.outputs import mesh_request
from gramhd_core.outputs.depth_fusion import FusedSurface
from gramhd_core.outputs.mesh import export_mesh, write_mesh, write_with_trimesh
from gramhd_core.outputs.mesh_request import MeshRequest
from gramhd_core.outputs.triangles import Triangles, decimated
from gramhd_core.scenes.head_manifolds import head_manifolds
from gramhd_core.scenes.manifolds import RadianceManifolds

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = ROOT / ".venv" / "node" / "node_modules" / "gltf-validator"


@pytest.fixture(scope="module")
def scene() -> RadianceManifolds:
    return head_manifolds(HeadIdentity.from_seed(3), size=128)


def document(path: Path) -> dict:
    """The JSON of a GLB file."""
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])


def validate(path: Path) -> dict:
    """What the official glTF validator says."""
    if shutil.which("node") is None or not VALIDATOR.exists():
        pytest.skip(f"no glTF validator: npm install --prefix {VALIDATOR.parents[1]} gltf-validator brings it")
    program = (
        "const v = require(process.argv[1]), fs = require('fs');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))"
        ".then(r => console.log(JSON.stringify(r.issues)))"
    )
    done = subprocess.run(
        ["node", "-e", program, str(VALIDATOR), str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


@pytest.mark.slow
@pytest.mark.parametrize(("pitch", "yaw"), [(0.0, 0.0), (0.15, -0.35)])
def test_layers_drawn_in_file_order_are_the_picture(
    scene: RadianceManifolds, tmp_path: Path, pitch: float, yaw: float
) -> None:
    trimesh = pytest.importorskip("trimesh")
    done = write_mesh(scene, MeshRequest(tmp_path / "head.glb"))
    loaded = trimesh.load(done.path)
    camera = Camera.orbit(pitch, yaw, size=96)
    picture = np.zeros((96, 96, 3))
    for node in document(done.path)["nodes"]:
        transform, name = loaded.graph[node["name"]]
        part = loaded.geometry[name]
        uv = part.visual.uv * [1, -1] + [0, 1]  # trimesh has (0, 0) at the bottom left
        vertices = part.vertices @ transform[:3, :3].T + transform[:3, 3]
        found, hit = rasterise(vertices, part.faces, uv, camera)
        texture = np.asarray(part.visual.material.baseColorTexture)
        rgba = look_up(texture, found)
        alpha = (rgba[..., 3:] if texture.shape[2] == 4 else 1) * hit[..., None]
        picture = picture * (1 - alpha) + rgba[..., :3] * alpha
    with torch.no_grad():
        truth = (scene.render(camera).rgb[0].permute(1, 2, 0).numpy() + 1) / 2
    assert psnr(picture, truth.clip(0, 1)) > 34


@pytest.mark.slow
def test_every_visible_surface_is_a_node_far_to_near(scene: RadianceManifolds, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    done = write_mesh(scene, MeshRequest(tmp_path / "head.glb"), extras={"seed": 3})
    tree = document(done.path)
    visible = [f"layer_{i:02d}" for i in range(24) if (scene.maps[0, i, 3] > 0.01).any()]
    names = [node["name"] for node in tree["nodes"]]
    assert names[0] == "background" and set(visible) <= set(names) and names[1:] == sorted(names[1:], reverse=True)
    assert set(trimesh.load(done.path).graph.nodes_geometry) == set(names)
    heights = [node.get("translation", [0, 0, 0])[2] for node in tree["nodes"]]
    assert heights == sorted(heights)
    assert [node["extras"]["draw_order"] for node in tree["nodes"]] == list(range(len(names)))
    blended = [material.get("alphaMode") for material in tree["materials"]]
    assert blended == ["BLEND", None] and all(material["doubleSided"] for material in tree["materials"])
    assert all("KHR_materials_unlit" in material["extensions"] for material in tree["materials"])
    assert tree["asset"]["extras"] == {"seed": 3}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"background": False, "texture_size": 32}, {"kind": "surface", "views": 4}])
def test_the_validator_finds_no_error(scene: RadianceManifolds, tmp_path: Path, options: dict) -> None:
    if "kind" in options:
        options |= {"resolution": 48}
    issues = validate(write_mesh(scene, MeshRequest(tmp_path / "head.glb", **options)).path)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


@pytest.mark.slow
def test_a_surface_is_coloured_closed_and_turned_outwards_in_every_format(
    scene: RadianceManifolds, tmp_path: Path
) -> None:
    trimesh = pytest.importorskip("trimesh")
    for suffix in ("ply", "obj", "glb"):
        request = MeshRequest(tmp_path / f"head.{suffix}", kind="surface", views=6, resolution=64)
        done = write_mesh(scene, request)
        loaded = trimesh.load(done.path, force="mesh", process=False)
        assert done.watertight and done.depth == "median" and len(loaded.faces) == done.triangles
        assert loaded.is_watertight and loaded.volume > 0
        nose = loaded.vertices[loaded.vertices[:, 2].argmax()]
        assert abs(nose[0]) < 0.01 and 0.06 < nose[2] < 0.09  # metres, the face looks along +z
        if suffix == "ply":
            colours = loaded.visual.vertex_colors[:, :3] / 255
            assert colours.std(axis=0).min() > 0.05
        elif suffix == "obj":
            assert np.abs(loaded.visual.vertex_colors[:, :3] / 255 - colours).max() < 0.01
        else:
            part = trimesh.load(done.path).geometry["head"]
            linear = part.visual.vertex_attributes["color"][:, :3] / 65535
            srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
            assert np.abs(srgb - colours).max() < 0.01


@pytest.mark.slow
def test_a_small_file_shows_a_whole_head(tmp_path: Path) -> None:
    done = write_mesh(head_manifolds(HeadIdentity.from_seed(11), size=256), MeshRequest(tmp_path / "head.glb"))
    assert done.bytes < 1.5e6 and max(map(max, done.textures)) <= 8192


def test_layers_need_maps_and_a_surface_does_not(small_gram: Gram, tmp_path: Path) -> None:
    field = Gram(replace(small_gram.config, scene="field"))
    field.load_state_dict(small_gram.state_dict())
    with pytest.raises(BadArgument, match="ray by ray"):
        export_mesh(field, MeshRequest(tmp_path / "a.glb"))
    done = export_mesh(field, MeshRequest(tmp_path / "a.ply", views=2, resolution=32))
    assert done.depth == "mean" and done.triangles > 0


@pytest.mark.parametrize("name", ["maps", "background"])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(
    scene: RadianceManifolds, tmp_path: Path, name: str
) -> None:
    broken = getattr(scene, name).clone()
    broken.view(-1)[5] = float("nan")
    for file in ("a.glb", "a.ply", "a.html"):
        with pytest.raises(GramhdError, match="not finite"):
            write_mesh(replace(scene, **{name: broken}), MeshRequest(tmp_path / file))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_head_has_no_mesh(scene: RadianceManifolds, tmp_path: Path) -> None:
    nobody = replace(scene, maps=torch.zeros_like(scene.maps))
    with pytest.raises(BadArgument, match="no pixel of this head is solid"):
        write_mesh(nobody, MeshRequest(tmp_path / "a.ply", views=1, resolution=32))
    with pytest.raises(BadArgument, match="nothing of this head can be seen"):
        write_mesh(nobody, MeshRequest(tmp_path / "a.glb", background=False))


@pytest.mark.parametrize(
    ("out", "options", "sentence"),
    [
        ("head.stl", {}, "its suffix says what it is"),
        ("head", {}, "its suffix says what it is"),
        ("head.glb", {"format": "gbl"}, "did you mean `glb`"),
        ("head.glb", {"format": "ply"}, r"\.glb files are glb"),
        ("head.ply", {"kind": "layers"}, "ply was to hold layers"),
        ("head.html", {"kind": "surface"}, "html was to hold a surface"),
        ("head.glb", {"kind": "layer"}, "did you mean `layers`"),
        ("head.ply", {"resolution": 4096}, "between 32 and 512"),
        ("head.glb", {"texture_size": 9000}, "between 16 and 8184"),
        ("head.ply", {"views": 0}, "between 1 and 256"),
        ("head.ply", {"decimate": 3}, "a head needs 100"),
        ("head.glb", {"decimate": 1000}, "add --kind surface"),
        ("head.ply", {"texture_size": 512}, "it does nothing there"),
        ("head.html", {"background": False}, "it does nothing there"),
        ("head.html", {"texture_size": 2049}, "between 16 and 2048"),
        ("head", {"format": "html"}, r"its name ends in \.html"),
    ],
)
def test_impossible_wishes_are_refused_in_one_sentence(out: str, options: dict, sentence: str) -> None:
    with pytest.raises(BadArgument, match=sentence) as error:
        MeshRequest(Path(out), **options)
    assert str(error.value).count("\n") == 0


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "head.glb").mkdir()
    with pytest.raises(BadArgument, match="is a folder"):
        MeshRequest(tmp_path / "head.glb")


def test_missing_libraries_are_named_with_the_line_that_brings_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    monkeypatch.setitem(sys.modules, "trimesh", None)
    scene = head_manifolds(HeadIdentity.from_seed(0), levels=3, size=8)
    monkeypatch.setattr(RadianceManifolds, "render", lambda *_: pytest.fail("minutes of rendering for nothing"))
    for request, library in (
        (MeshRequest(tmp_path / "a.glb", kind="surface", decimate=500), "fast-simplification"),
        (MeshRequest(tmp_path / "a.obj"), "trimesh"),
    ):
        with pytest.raises(MissingDependency, match=library):
            write_mesh(scene, request)
    with pytest.raises(MissingDependency, match=r"gramhd\[mesh\]"):
        decimated(Triangles(np.zeros((3, 3)), np.array([[0, 1, 2]])), 100)
    surface = FusedSurface(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((3, 3)), np.ones(3, bool))
    with pytest.raises(MissingDependency, match="trimesh"):
        write_with_trimesh(tmp_path / "a.ply", surface, kind="ply")


def test_pages_are_refused_where_the_page_itself_would_refuse() -> None:
    from gramhd_core.outputs.viewer import SIZES

    assert mesh_request.PAGE_TEXTURES == SIZES


def test_the_command_line_knows_the_same_names() -> None:
    from gramhd_cli import export_mesh as command

    assert command.FORMATS == mesh_request.FORMATS
    assert set(command.KINDS) == {kind for kinds in mesh_request.KINDS.values() for kind in kinds}
