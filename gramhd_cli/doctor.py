"""`gramhd doctor`: what this machine can do, what is missing, and the line that installs it.

Sizes are in GiB (2^30 bytes). Libraries are looked up, not imported, except torch, which alone knows the devices.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import typer

from gramhd_cli import allocator, console, options
from gramhd_core import __version__

GIB = 2**30


class Library(NamedTuple):
    """One third-party library; `packages` are the names it may be installed under, the recommended one first."""

    module: str
    packages: tuple[str, ...]
    use: str
    core: bool = False


class WeightsFile(NamedTuple):
    """One downloaded model in torch's hub folder."""

    name: str
    use: str
    address: str


LIBRARIES = (
    Library("torch", ("torch",), "everything", core=True),
    Library("numpy", ("numpy",), "everything", core=True),
    Library("PIL", ("pillow",), "reading and writing images", core=True),
    Library("safetensors", ("safetensors",), "checkpoints", core=True),
    Library("numba", ("numba",), "procedural heads, pictures on CPUs", core=True),
    Library("scipy", ("scipy",), "GRAM's .mat labels"),
    Library("av", ("av",), "videos"),
    Library("tensorboard", ("tensorboard",), "training curves", core=True),
    Library("cv2", ("opencv-python", "opencv-python-headless"), "aligning photos"),
    Library("face_alignment", ("face-alignment",), "landmarks of photos"),
    Library("skimage", ("scikit-image",), "fused surfaces, image measures"),
    Library("imageio", ("imageio",), "reading videos"),
    Library("trimesh", ("trimesh",), "meshes"),
    Library("fast_simplification", ("fast-simplification",), "smaller meshes"),
    Library("torch_fidelity", ("torch-fidelity",), "FID and KID"),
    Library("torchvision", ("torchvision",), "torch-fidelity"),
)
GPU_LIBRARIES = (Library("triton", ("triton",), "fused kernels"),)  # asked for only where there is an NVIDIA GPU
FAN = "https://www.adrianbulat.com/downloads/python-fan/"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS = (
    WeightsFile("s3fd-619a316812.pth", "finding faces in photos", f"{FAN}s3fd-619a316812.pth"),
    WeightsFile("2DFAN4-11f355bf06.pth.tar", "landmarks of photos", f"{FAN}2DFAN4-11f355bf06.pth.tar"),
    WeightsFile("3DFAN4-7835d9f11d.pth.tar", "3D landmarks of photos", f"{FAN}3DFAN4-7835d9f11d.pth.tar"),
    WeightsFile("depth-2a464da4ea.pth.tar", "3D landmarks of photos", f"{FAN}depth-2a464da4ea.pth.tar"),
    WeightsFile(INCEPTION, "FID and KID", f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"),
)  # fmt: skip


def doctor(json: options.Json = False) -> None:
    """Say what this machine can do and what is missing.

    Exits with 0 when gramhd can train and render here, with 1 when something it cannot do without is missing.

    Examples:
      gramhd doctor
      gramhd doctor --json
    """
    report = examine()
    console.result(report if json else describe(report), json=json)
    raise typer.Exit(0 if report["works"] else 1)


def examine() -> dict[str, Any]:
    """Everything there is to say, as a JSON-able document."""
    devices, trouble = _devices()
    wanted = LIBRARIES + (GPU_LIBRARIES if any(name.startswith("cuda") for name in devices) else ())
    libraries = {library.packages[0]: _look_up(library) for library in wanted}
    missing_core = [name for name, found in libraries.items() if found["core"] and found["version"] is None]
    return {
        "works": not missing_core and trouble is None,
        "gramhd": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / GIB, 1),
        "allocator": allocator.install(),
        "devices": devices,
        "torch_trouble": trouble,
        "libraries": libraries,
        "weights_folder": str(hub_folder()),
        "weights": {w.name: {**w._asdict(), "found": (hub_folder() / w.name).is_file()} for w in WEIGHTS},
    }


def describe(report: dict[str, Any]) -> list[str]:
    """The document as lines to read."""
    memory = f"{report['memory_gib']} GiB memory, " if report["memory_gib"] else ""
    lines = [
        f"gramhd {report['gramhd']}, Python {report['python']}, {report['system']}",
        f"{report['cpu_cores']} CPU cores, {memory}{report['free_disk_gib']} GiB free on this disk",
        f"Devices: {', '.join(report['devices']) or 'none'}",
        f"Allocator: {report['allocator']}",
        "",
        "Libraries",
    ]
    for name, found in report["libraries"].items():
        state = found["version"] or ("MISSING" if found["core"] else "missing")
        lines.append(f"  {name:20} {state:16} {found['use']}")
    lines += ["", f"Model weights in {report['weights_folder']}"]
    for name, file in report["weights"].items():
        lines.append(f"  {name:44} {'found' if file['found'] else 'missing':8} {file['use']}")
    absent = [name for name, found in report["libraries"].items() if found["version"] is None]
    if absent:
        lines += ["", f"To install what is missing: pip install {' '.join(absent)}"]
    addresses = [file["address"] for file in report["weights"].values() if not file["found"]]
    if addresses:
        lines += [
            "",
            "Only prep-data --landmarks face-alignment needs some of these (the first two); put the files there:",
        ]
        lines += [f"  {address}" for address in addresses]
    if report["torch_trouble"]:
        lines += ["", f"torch does not load: {report['torch_trouble']}"]
    verdict = "gramhd can train and render here." if report["works"] else "gramhd cannot work here yet: see above."
    return [*lines, "", verdict]


def hub_folder() -> Path:
    """Where torch keeps downloaded models (the rule of torch.hub, without importing it)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    return home.expanduser() / "hub" / "checkpoints"


def _look_up(library: Library) -> dict[str, Any]:
    version = None
    if importlib.util.find_spec(library.module) is not None:
        version = "unknown version"
        for package in library.packages:
            try:
                version = importlib.metadata.version(package)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return {"version": version, "use": library.use, "core": library.core}


def _devices() -> tuple[list[str], str | None]:
    """Names of the devices torch can use here, and why torch does not load, if it does not."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing or damaged
        return [], str(error)
    devices = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"], None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (AttributeError, ValueError, OSError):  # not on this system
        return None
