"""Checkpoints: what is saved is what is loaded; what is not one is a sentence; a full disk loses nothing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from small import SMALL_HIGH

from gramhd_core import tensor_files as module
from gramhd_core.checkpoints.checkpoint import Checkpoint, find_checkpoint, load_generator
from gramhd_core.checkpoints.training_state import FORMAT, load_state, save_state
from gramhd_core.errors import BadCheckpoint, CannotWrite
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.tensor_files import save_tensors, write_safetensors


def checkpoint_of(generator: Gram | GramHd) -> Checkpoint:
    return Checkpoint(generator.family, generator.config, dict(generator.state_dict()), 7, 56, {"seed": 3})


@torch.no_grad()
def test_a_saved_model_makes_the_same_pictures(small_gram_hd: GramHd, tmp_path: Path) -> None:
    checkpoint_of(small_gram_hd).save(tmp_path / "a.safetensors")
    again = load_generator(tmp_path / "a.safetensors")
    assert again.config == small_gram_hd.config
    camera, z = again.cameras.at(0.1, 0.2, size=16), torch.ones(1, again.latent_dim)
    pictures = [g.eval().scene(g.latent(z)).render(camera).rgb for g in (small_gram_hd, again)]
    assert torch.allclose(*pictures, atol=1e-6)  # sums may be ordered by where memory happens to lie


def test_header_keeps_numbers_and_provenance(small_gram: Gram, tmp_path: Path) -> None:
    checkpoint_of(small_gram).save(tmp_path / "a.safetensors")
    loaded = Checkpoint.load(tmp_path / "a.safetensors")
    assert (loaded.step, loaded.images_seen, loaded.provenance["seed"]) == (7, 56, 3)
    assert loaded.config == small_gram.config and "version" in loaded.provenance


def test_newest_checkpoint_of_a_run_is_found(small_gram: Gram, tmp_path: Path) -> None:
    for step in (5, 40, 12):
        checkpoint_of(small_gram).save(tmp_path / "checkpoints" / f"step{step:08d}.safetensors")
    (tmp_path / "checkpoints" / "step00000099.state.safetensors").write_bytes(b"not a model")
    assert find_checkpoint(tmp_path).name == "step00000040.safetensors"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_other_files_are_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadCheckpoint) as refused:
        load_generator(file)
    assert "\n" not in str(refused.value) and str(file) in str(refused.value)


def test_a_truncated_file_is_refused(small_gram: Gram, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    checkpoint_of(small_gram).save(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        load_generator(file)


def test_missing_files_and_empty_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="does not exist"):
        load_generator(tmp_path / "nothing.safetensors")
    with pytest.raises(BadCheckpoint, match="holds no checkpoints"):
        load_generator(tmp_path)


def test_weights_that_do_not_fit_the_config_are_named(small_gram: Gram, tmp_path: Path) -> None:
    weights = dict(small_gram.state_dict())
    weights["field.output_sigma.0.weight"] = torch.zeros(1, 5)
    Checkpoint("gram", small_gram.config, weights, 0, 0, {}).save(tmp_path / "a.safetensors")
    with pytest.raises(BadCheckpoint, match=r"another shape of field\.output_sigma\.0\.weight \(\[1, 5\]"):
        load_generator(tmp_path / "a.safetensors")


def test_another_family_is_named(small_gram: Gram, tmp_path: Path) -> None:
    Checkpoint("eg4d", small_gram.config, {}, 0, 0, {}).save(tmp_path / "a.safetensors")
    with pytest.raises(BadCheckpoint, match="family 'eg4d'"):
        load_generator(tmp_path / "a.safetensors")
    Checkpoint("gram", SMALL_HIGH, {}, 0, 0, {}).save(tmp_path / "b.safetensors")
    with pytest.raises(BadCheckpoint, match="header this version cannot read"):
        load_generator(tmp_path / "b.safetensors")


def test_a_full_disk_leaves_the_old_checkpoint(
    small_gram: Gram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.safetensors"
    checkpoint_of(small_gram).save(file)
    before = file.read_bytes()

    def full(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CannotWrite, match="disk is full"):
        checkpoint_of(small_gram).save(file)
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('I/O error: No space left on device (os error 28) at path "/x/.tmpAbCd12"', "the disk is full"),
        ("I/O error: No space left on device", "the disk is full"),
        ("I/O error: Permission denied (os error 13)", "this user may not write there"),
        ("I/O error: Read-only file system (os error 30)", "the file system is read-only"),
        ("invalid tensor", "invalid tensor"),
    ],
)
def test_errors_of_the_writer_say_what_the_system_said(
    words: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise SafetensorError(f"Error while serializing: {words}")

    monkeypatch.setattr(module, "save_file", failing)
    with pytest.raises(CannotWrite, match=reason):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
    assert not list(tmp_path.iterdir())


def test_the_real_writer_fails_with_the_number_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        write_safetensors(tmp_path / "nowhere" / "a.safetensors", {"a": torch.zeros(2)})
    assert refused.value.errno == errno.ENOENT


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_checkpoints_can_be_read_by_those_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
        assert os.umask(0o022) == 0o022  # saving leaves it alone
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o644


def test_training_states_of_other_versions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    for numbered in ({}, {"format": FORMAT + 1}):
        save_tensors(file, {}, {"kind": "training state", "state": {"dict": []}, **numbered})
        with pytest.raises(BadCheckpoint, match="written by another version"):
            load_state(file)
    save_tensors(file, {}, {"family": "gram"})
    with pytest.raises(BadCheckpoint, match="not a training state"):
        load_state(file)


@pytest.mark.slow
def test_training_states_come_back_exactly(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(0)))
    optimiser = torch.optim.Adam([parameter], lr=1e-3, betas=(0.0, 0.9))
    parameter.sum().backward()
    optimiser.step()
    state = {"step": 4, "adam": optimiser.state_dict(), "rng": torch.Generator().get_state(), "none": None}
    save_state(tmp_path / "s.safetensors", state)
    loaded = load_state(tmp_path / "s.safetensors")
    assert loaded["step"] == 4 and loaded["none"] is None and torch.equal(loaded["rng"], state["rng"])
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=5.0)
    other.load_state_dict(loaded["adam"])
    assert other.param_groups[0]["lr"] == 1e-3 and list(other.param_groups[0]["betas"]) == [0.0, 0.9]
    assert torch.equal(other.state_dict()["state"][0]["exp_avg_sq"], state["adam"]["state"][0]["exp_avg_sq"])
