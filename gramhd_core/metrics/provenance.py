"""Which code, libraries and machine numbers come from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

LIBRARIES = ("torch", "torch-fidelity", "numpy", "scipy", "pillow", "scikit-image")
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "gramhd_core"  # the folder of all code that numbers come from


@cache
def commit(root: Path = ROOT) -> str | None:
    """The commit of the code, where it is a git checkout, with a plus and 8 digits of what was changed since; None
    elsewhere."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout

    try:
        head, changes = git("rev-parse", "--short=12", "HEAD"), git("diff", "HEAD", "--", PACKAGE)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.decode().strip() + (f"+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else "")


def versions() -> dict[str, str]:
    """Of Python and the libraries that decide numbers."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(device: torch.device | str) -> str:
    """What figures of time belong to: the GPU by its name, or the kind of processor and the threads."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"
