"""What the program knows about the machine: the allocator it sets, and what `gramhd doctor` finds."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gramhd_cli import allocator, app, doctor

Program = Callable[..., subprocess.CompletedProcess[str]]

FAULTS = """
import resource, torch
from gramhd_cli import allocator
torch.set_num_threads(1)

def faults():  # of five rounds of large tensors, made and freed
    def rounds(n):
        for _ in range(n):
            tensors = [torch.ones(size << 20) for size in (1, 12, 4, 4, 4)]
    rounds(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    rounds(5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

system = faults()
state = allocator.install()
print(state, system, faults(), sep=";")
"""


@pytest.mark.slow
@pytest.mark.skipif("glibc" not in allocator.install(), reason="the C library is not glibc")
def test_freed_tensors_are_reused_without_page_faults(gramhd: Program) -> None:
    state, system, tuned = gramhd(code=FAULTS).stdout.strip().split(";")
    assert "keeping its heap" in state
    assert int(system) > 10_000
    assert int(tuned) < int(system) / 10


def test_the_allocator_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMHD_ALLOCATOR", "system")
    assert allocator.install() == "system (GRAMHD_ALLOCATOR=system)"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc_version", lambda: None)
    assert allocator.install() == "system (not glibc)"


@pytest.mark.slow
def test_doctor_speaks_json(gramhd: Program) -> None:
    done = gramhd("doctor", "--json", TORCH_HOME="hub-is-here")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["works"]
    assert "cpu" in report["devices"]
    assert report["libraries"]["torch"]["version"].startswith("2.")
    assert report["weights_folder"].startswith("hub-is-here")
    assert not any(file["found"] for file in report["weights"].values())


def test_doctor_finds_weights_where_torch_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / doctor.INCEPTION).touch()
    report = doctor.examine()
    assert [name for name, file in report["weights"].items() if file["found"]] == [doctor.INCEPTION]


@pytest.mark.parametrize(
    ("module", "package", "code"),
    [("safetensors", "safetensors", 1), ("tensorboard", "tensorboard", 1), ("trimesh", "trimesh", 0)],
)
def test_doctor_names_what_is_missing_and_fails_only_without_the_core(
    module: str, package: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    assert app.run(["doctor"]) == code
    line = next(line for line in capsys.readouterr().out.splitlines() if "pip install" in line)
    assert package in line.split()
