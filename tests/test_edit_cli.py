"""`gramhd edit` and `gramhd interpolate`: what they print, and wrong input in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SMALL_HIGH, SMALL_LOW

from gramhd_cli import app, edit, interpolate
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs import edit as editing
from gramhd_core.outputs import interpolate as between
from gramhd_core.outputs import trajectories


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    torch.manual_seed(0)
    low = replace(SMALL_HIGH.low, manifolds=replace(SMALL_LOW.manifolds, predictor="spheres"))
    generator = GramHd(replace(SMALL_HIGH, low=low))
    Checkpoint("gram-hd", generator.config, dict(generator.state_dict()), 0, 0, {}).save(path)
    return path


def said(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert app.run(line.split()) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_choices_of_the_program_are_those_of_the_library() -> None:
    assert edit.VIEWS == (*editing.VIEWS, editing.PHOTO)
    assert edit.parse_strengths(edit.STRENGTHS) == editing.EditRequest().strengths
    assert interpolate.WAYS == between.WAYS and interpolate.PATHS == tuple(trajectories.PATHS)


def test_strengths_are_numbers_or_a_range() -> None:
    assert edit.parse_strengths("-3,0,1.5") == (-3, 0, 1.5)
    assert edit.parse_strengths("2") == (2,)
    assert edit.parse_strengths("-1..2") == (-1, 0, 1, 2)
    for text in ("", "a", "3..-3", "1,,2", "0..100", "1..2..3"):
        with pytest.raises(BadArgument, match="-3..3"):
            edit.parse_strengths(text)


@pytest.mark.slow
def test_a_direction_is_found_saved_and_used_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "d.safetensors", tmp_path / "out"
    found = json.loads(said(f"edit --ckpt {model} --find sefa:1 --save {file} --json", capsys))
    assert found["path"] == str(file) and found["direction"] == "sefa:1"
    line = f"edit --ckpt {model} --seeds 3,4 --strengths -3,0,3 --view image --out {out}"
    direct = json.loads(said(f"{line} --direction sefa:1 --json", capsys))
    before = [Path(grid["path"]).read_bytes() for grid in direct["grids"]]
    printed = said(f"{line} --direction {file} --save-latents", capsys).splitlines()
    assert [Path(grid["path"]).read_bytes() for grid in direct["grids"]] == before
    assert len(printed) == 2 * (1 + 3) and all(Path(path).is_file() for path in printed)
    latent = next(path for path in printed if path.endswith("+3.latent.safetensors"))
    again = said(f"edit {latent} --ckpt {model} --direction {file} --strength 0 --view image --out {out}", capsys)
    assert Path(again.strip()).is_file()


def test_a_mix_and_a_strip_are_written(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert said(f"edit --ckpt {model} --seeds 0,1 --mix 2 --size 16 --out {out}", capsys) == f"{out}/mix.png\n"
    line = f"interpolate 3 8 --ckpt {model} --no-film --strip 2 --size 16 --out {out}"
    assert said(line, capsys) == f"{out}/strip.png\n"
    assert json.loads(said(f"{line} --json", capsys))["strip"] == f"{out}/strip.png"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("edit --out x", "one of --direction, --find and --mix"),
        ("edit --direction pca:0 --mix 3 --out x", "several purposes"),
        ("edit --direction pca:0", "--out is missing"),
        ("edit --find pca:0", "without --save"),
        ("edit --direction pca:0 --save d --out x", "without --find"),
        ("edit --find pca:0-1 --save x", "found 2 directions"),
        ("edit --direction pca --out x", "METHOD:WHAT"),
        ("edit --direction pca:0 --strengths a --out x", "--strengths a"),
        ("edit --direction pca:0 --seed 3- --out x", "3-"),
        ("edit --direction pca:0 --view up --out x", "the view is `up`"),
        ("edit --direction pca:0 --trunc 2 --out x", "the truncation is 2"),
        ("edit absent --direction pca:0 --out x", "absent does not exist"),
        ("edit --direction label:a --labels absent --out x", "absent cannot be read"),
        ("interpolate 3 --out x", "at least two"),
        ("interpolate 3 absent --out x", "absent does not exist"),
        ("interpolate 3 4 --way up --out x", "the way is `up`"),
    ],
)
def test_wrong_input_is_a_sentence_and_leaves_nothing(
    line: str,
    words: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run([*line.split(), "--ckpt", str(model)]) == 2
    out, err = capsys.readouterr()
    assert not out and words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
