"""The floors of the house: a module imports only from floors below its own, and third parties have their places."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GROUND = {"errors", "files", "tensor_files", "progress", "configs", "world", "__version__"}
FLOORS = {
    **dict.fromkeys(GROUND, 0),
    "geometry": 1,
    **dict.fromkeys(("data", "networks"), 2),
    "scenes": 3,
    "generators": 4,
    "checkpoints": 5,
    "outputs": 6,
    **dict.fromkeys(("training", "metrics"), 7),
}
HOMES = {  # library: the files (or folders) that may import it
    **dict.fromkeys(("cv2", "face_alignment", "mediapipe"), ("gramhd_core/data/",)),
    "safetensors": ("gramhd_core/tensor_files.py", "gramhd_core/checkpoints/"),
    "pickle": ("gramhd_core/checkpoints/importers.py",),
    "trimesh": ("gramhd_core/outputs/mesh.py",),
    "triton": ("gramhd_core/scenes/fast_gpu_kernel.py", "gramhd_core/scenes/fast_gpu_sight.py"),
    "torch_fidelity": ("gramhd_core/metrics/image_quality.py",),
    **dict.fromkeys(("typer", "rich"), ("gramhd_cli/",)),
}
LATE = {
    "av",
    "trimesh",
    "face_alignment",
    "torch_fidelity",
    "torchvision",
    "mediapipe",
}  # may be absent: inside functions


def imported(node: ast.AST) -> list[str]:
    """Full names that an import statement asks for; `from gramhd_core import data` asks for gramhd_core.data."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def violations(path: str, source: str) -> list[str]:
    """What the file at `path` (from the root, with slashes) imports against the rules, inside functions too."""
    tree = ast.parse(source)
    package = path.removesuffix(".py").split("/")[1]
    floor = FLOORS.get(package, 0) if path.startswith("gramhd_core/") else 8
    found = []
    for name in (name for node in ast.walk(tree) for name in imported(node)):
        top, *inside = [*name.split("."), ""]
        if top == "gramhd_cli" and floor < 8:
            found.append(f"{path} imports {name}: the command line is above everything")
        elsewhere = top == "gramhd_core" and inside[0] not in ("", package) and not {inside[0], package} <= GROUND
        if elsewhere and FLOORS[inside[0]] >= floor:
            found.append(f"{path} imports {name}: {inside[0]} is not below {package}")
        if not path.startswith(HOMES.get(top, "")):
            found.append(f"{path} imports {name}: it belongs in {' or '.join(HOMES[top])}")
    for name in (name for node in tree.body for name in imported(node)):
        if name.split(".")[0] in LATE:
            found.append(f"{path} imports {name} at the top: it may be absent, import it inside the function")
    return found


def test_the_floors_hold() -> None:
    paths = [path for package in ("gramhd_core", "gramhd_cli") for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 20
    found = [line for path in paths for line in violations(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("gramhd_core/geometry/rays.py", "from gramhd_core.scenes.scene import Scene"),
        ("gramhd_core/geometry/rays.py", "def late():\n    from gramhd_core import networks"),
        ("gramhd_core/data/crop.py", "import gramhd_core.networks.fields"),
        ("gramhd_core/training/loop.py", "from gramhd_core.metrics import report"),
        ("gramhd_core/errors.py", "from gramhd_core.geometry.camera import Camera"),
        ("gramhd_core/outputs/sample.py", "from gramhd_cli import console"),
        ("gramhd_core/outputs/sample.py", "def late():\n    import typer"),
        ("gramhd_core/networks/fields.py", "import cv2"),
        ("gramhd_core/training/loop.py", "import pickle"),
        ("gramhd_core/outputs/mesh.py", "import trimesh"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


def test_what_the_plan_allows_is_allowed() -> None:
    assert not violations("gramhd_core/files.py", "from gramhd_core.errors import CannotWrite")
    assert not violations("gramhd_core/scenes/surfaces.py", "from gramhd_core.geometry import rays\nimport torch")
    assert not violations("gramhd_core/outputs/mesh.py", "def mesh():\n    import trimesh")
    assert not violations("gramhd_cli/sample.py", "import typer\nfrom gramhd_core.outputs import sample")
