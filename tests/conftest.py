"""What tests share: the program in a fresh process, and property tests that find the same examples every time."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from gramhd_cli.app import main; main()"

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    settings.register_profile("house", deadline=None, derandomize=True)
    settings.load_profile("house")


@pytest.fixture
def gramhd(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`gramhd("train-lr", "--help", ENV="value")`: the program in its own process, in an empty folder."""

    def run(*arguments: str, code: str = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("_GRAMHD", "GRAMHD"))}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**inherited, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
