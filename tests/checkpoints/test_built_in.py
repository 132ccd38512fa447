"""The model that comes with the package: there by name, small, and of many heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gramhd_core.checkpoints.checkpoint import BUILT_IN, Checkpoint, find_checkpoint, load_generator, name_of
from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.gram_hd import GramHd


def test_the_bare_name_is_the_model_and_a_path_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_checkpoint("demo") == BUILT_IN["demo"] and name_of("demo") == "demo"
    with pytest.raises(BadCheckpoint, match="holds no checkpoints"):
        find_checkpoint("./demo/")


def test_other_names_are_told_which_models_there_are() -> None:
    with pytest.raises(BadCheckpoint, match=r"built-in model \(demo\)"):
        find_checkpoint("dmeo")


def test_it_is_small_and_knows_where_it_comes_from() -> None:
    assert BUILT_IN["demo"].stat().st_size < 10_000_000
    model = Checkpoint.load(BUILT_IN["demo"])
    assert model.family == "gram-hd" and model.provenance["preset"] == "demo256"
    parent, stages = model.provenance, []
    while parent:
        assert {"seed", "data"} <= set(parent)
        stages.append((parent["stage"], parent["preset"]))
        parent = parent["parent"]
    assert stages[-1] == ("lr", "demo") and {preset for _, preset in stages} == {"demo", "demo32", "demo64", "demo256"}


@pytest.mark.slow
@torch.no_grad()
def test_its_heads_differ_and_are_solid_in_the_middle() -> None:
    model = load_generator("demo")
    assert isinstance(model, GramHd) and model.image_size == 256
    z = torch.randn(8, model.latent_dim, generator=torch.Generator().manual_seed(0))
    seen = model.scene(model.latent(z, 0.7)).render(model.cameras.at(0.0, torch.zeros(8), size=64))
    pairs = torch.pdist(seen.rgb.flatten(1), p=1) / seen.rgb[0].numel()
    assert pairs.min() > 0.03 and pairs.mean() > 0.15
    assert (seen.alpha[:, 0, 24:40, 24:40] > 0.9).all()
