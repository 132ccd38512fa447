"""Every benchmark explains itself and prints one JSON line that says how and where it was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))
HEADER = {"command", "commit", "machine", "python", "torch", "threads", "benchmark", "seconds", "ratio"}
SMALLEST = {
    "bench_consistency": ["--heads", "1", "--steps", "17", "--supersample", "2"],
    "bench_first_view": ["tiny", "--repeats", "1", "--variants", "plain,fp32,bf16"],
    "bench_heads": ["--heads", "4", "--size", "16", "--workers", "1"],
    "bench_inversion": [
        "--heads=1",
        "--set",
        *(f"{stage}_steps=1" for stage in ("draft", "w", "plus_draft", "plus", "tune", "map")),
        "seeds=1",
    ],
    "bench_neus": [
        *("--preset", "paper", "--iterations", "2", "--heads", "1", "--size", "8", "--views", "clean"),
        *("--set", "rays=64", "coarse=8", "fine=4", "outside=4"),
    ],
    "bench_pose": ["--heads", "24", "--pictures", "1", "--size", "32", "--workers", "1"],
    "bench_render": ["--levels", "3", "--maps", "32", "--sizes", "16", "--repeats", "1"],
    "bench_surfaces": ["tiny", "--size", "6", "--grid", "96"],
    "bench_training": ["tiny", "--steps", "1"],
    "bench_training_step": ["tiny", "--stages", "hr"],
    "bench_views": ["tiny", "--repeats", "1"],
}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_every_benchmark_is_run_here() -> None:
    assert {path.stem for path in SCRIPTS} == set(SMALLEST)
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        assert f"python benchmarks/{path.name} " in text and "JSON line" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_a_benchmark_prints_one_line_with_where_and_how(name: str) -> None:
    done = run(name, *SMALLEST[name])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    line = json.loads(done.stdout)
    assert set(line) >= HEADER
    assert line["command"].startswith("python ") and name.removeprefix("bench_") == line["benchmark"]
    assert line["ratio"]
    if name == "bench_consistency":
        assert line["wrong"] == []
    if name == "bench_training":
        assert {stage: set(rates) for stage, rates in line["images_per_s"].items()} == {
            "lr": {"with", "without"},
            "hr": {"with", "without"},
        }


def test_agreement_is_told_over_all_views_and_within_heads(tmp_path: Path) -> None:
    """Two heads that one preset finds much easier than the other, and the same order of views in both."""
    psnr = {"fast": {"a": [40.0, 38.0], "b": [38.0, 36.0]}, "paper": {"a": [20.0, 30.0], "b": [19.0, 29.0]}}
    file = tmp_path / "results.md"
    file.write_text("Results:\n\n    " + json.dumps({"benchmark": "neus", "psnr": psnr}) + "\n", "utf-8")
    done = run("bench_neus", "--again", str(file))
    found = json.loads(done.stdout)["fast paper"]
    assert found["correlation_within_heads"] == found["rank_correlation_within_heads"] == 1
    assert found["correlation"] < 0 and found["rank_correlation"] < 0.5
