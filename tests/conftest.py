"""What tests share: small generators, the program in a fresh process, property tests that repeat themselves."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SMALL_HIGH, SMALL_LOW, thicken

from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd

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


@pytest.fixture
def small_gram() -> Gram:
    """Stage 1, MLP predictor, five manifolds, 8-pixel images."""
    torch.manual_seed(0)
    generator = Gram(SMALL_LOW)
    thicken(generator)
    return generator


@pytest.fixture
def small_gram_hd() -> GramHd:
    """Stage 2 on top of the same, 32-pixel images."""
    torch.manual_seed(0)
    generator = GramHd(SMALL_HIGH)
    thicken(generator)
    return generator


@pytest.fixture
def small_turning() -> GramHd:
    """The same, but for colours that depend on the camera."""
    field = replace(SMALL_LOW.field, features=4, view_dependence="camera")
    torch.manual_seed(0)
    generator = GramHd(replace(SMALL_HIGH, low=replace(SMALL_LOW, field=field)))
    thicken(generator)
    return generator
