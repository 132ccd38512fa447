"""Training end to end at the smallest size: it learns, it resumes bit by bit, it refuses what cannot work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import hr, losses, lr

from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.labels import write_eg3d
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.errors import BadCheckpoint, BadConfig, BadDataset
from gramhd_core.geometry.camera import Camera
from gramhd_core.training.gan_step import GanStep, Side, frozen
from gramhd_core.training.presets import run_config
from gramhd_core.training.recipe import initialised_from
from gramhd_core.training.run import Run
from gramhd_core.training.train_hr import recipe_hr, train_hr
from gramhd_core.training.train_lr import recipe_lr, train_lr


def test_run_folder_holds_what_the_plan_says(low_run: Path) -> None:
    names = {p.relative_to(low_run).as_posix() for p in low_run.rglob("*") if p.is_file()}
    assert {"config.json", "stats.jsonl", "samples/images000000064.png"} <= names
    assert "checkpoints/step00000006.safetensors" in names and "checkpoints/step00000006.state.safetensors" in names
    assert any("tfevents" in name for name in names)
    stats = losses(low_run)
    assert [line["step"] for line in stats] == [1, 2, 3, 4, 5, 6]
    assert {"d_fake", "d_real", "d_pose_fake", "d_pose_real", "g_fake", "g_pose", "r1"} <= set(stats[0])
    assert "r1" not in stats[1]  # lazy: every 8th step


def test_checkpoint_is_self_describing(low_run: Path) -> None:
    model = Checkpoint.load(low_run / "checkpoints" / "step00000006.safetensors")
    assert model.family == "gram" and model.images_seen == 96 and model.provenance["preset"] == "tiny"
    assert model.weights["film_centre"].abs().sum() > 0


@pytest.mark.slow
def test_same_seed_same_losses_and_another_seed_others(heads: Path, low_run: Path, tmp_path: Path) -> None:
    train_lr(heads, tmp_path / "same", config=lr())
    train_lr(heads, tmp_path / "other", config=lr("train.seed=1"))
    assert losses(tmp_path / "same") == losses(low_run)
    assert losses(tmp_path / "other") != losses(low_run)


def test_stopping_and_going_on_is_bit_identical_to_not_stopping(heads: Path, low_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_lr(heads, out, config=lr("train.images=48"))
    train_lr(heads, out, config=lr())
    assert losses(out) == losses(low_run)
    name = "checkpoints/step00000006.safetensors"
    a, b = Checkpoint.load(out / name), Checkpoint.load(low_run / name)
    assert all(torch.equal(a.weights[key], b.weights[key]) for key in b.weights)


@pytest.mark.slow
def test_old_checkpoints_are_dropped(heads: Path, tmp_path: Path) -> None:
    train_lr(heads, tmp_path / "run", config=lr("train.save_every=16", "train.keep=2"))
    steps = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert [name for name in steps if "state" not in name] == ["step00000005.safetensors", "step00000006.safetensors"]
    assert len(steps) == 4


@pytest.mark.slow
def test_a_time_limit_ends_with_a_checkpoint(heads: Path, tmp_path: Path) -> None:
    newest = train_lr(heads, tmp_path / "run", config=lr("train.images=1000000", "train.max_minutes=0.02"))
    assert Checkpoint.load(newest).step >= 1


@pytest.mark.slow
def test_stage_two_keeps_the_frozen_weights_and_starts_as_stage_one(heads: Path, low_run: Path, tmp_path: Path) -> None:
    newest = train_hr(heads, tmp_path / "hr", lr_checkpoint=low_run, config=hr())
    model, parent = Checkpoint.load(newest), Checkpoint.load(low_run / "checkpoints" / "step00000006.safetensors")
    assert model.family == "gram-hd" and model.provenance["parent"]["step"] == 6
    for name, tensor in parent.weights.items():
        assert torch.equal(model.weights["low." + name], tensor), name
    assert {"consistency", "consistency_maps", "g_patch", "d_patch"} <= set(losses(tmp_path / "hr")[0])
    fresh = Run(recipe_hr(hr(), low_run), DatasetReader(heads, size=32), tmp_path / "new", device="cpu").generator
    camera, z = fresh.cameras.at(0.0, 0.2, size=32), torch.ones(1, fresh.latent_dim)
    low = load_generator(low_run)
    with torch.no_grad():
        high = fresh.scene(fresh.latent(z)).render(camera).rgb
        base = low.scene(low.latent(z)).render(camera).rgb
    assert (high - base).abs().mean() < 0.1


@pytest.mark.slow
def test_stage_two_resumes_bit_identically(heads: Path, low_run: Path, tmp_path: Path) -> None:
    train_hr(heads, tmp_path / "whole", lr_checkpoint=low_run, config=hr())
    train_hr(heads, tmp_path / "parts", lr_checkpoint=low_run, config=hr("train.images=16"))
    train_hr(heads, tmp_path / "parts", lr_checkpoint=low_run, config=hr())
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize(
    "switch",
    [
        "train.fresh_fakes=false",
        "train.mirror=false",
        "train.precision=bf16",
        "train.r1_every=1",
        "train.clip=0.01",
        "train.pose_fake=0",
        "train.pose_real=0",
        "generator.field.view_dependence=camera",
        "generator.manifolds.predictor=mlp",
    ],
)
def test_every_training_switch_changes_the_losses(switch: str, heads: Path, low_run: Path, tmp_path: Path) -> None:
    train_lr(heads, tmp_path / "run", config=lr("train.images=48", switch))
    assert losses(tmp_path / "run") != losses(low_run)[:3]
    assert all(value == value for line in losses(tmp_path / "run") for value in line.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "switch",
    ["train.consistency_maps=false", "train.r1_patch=true", "train.consistency_weight=0", "train.patch_weight=0.5"],
)
def test_every_switch_of_stage_two_changes_the_losses(switch: str, heads: Path, low_run: Path, tmp_path: Path) -> None:
    more = ["train.images=16", "train.r1_every=1"]
    train_hr(heads, tmp_path / "a", lr_checkpoint=low_run, config=hr(*more))
    train_hr(heads, tmp_path / "b", lr_checkpoint=low_run, config=hr(*more, switch))
    assert losses(tmp_path / "a") != losses(tmp_path / "b")


def halves(camera: Camera, pieces: int) -> list[Camera]:
    share = len(camera) // pieces
    return [camera[i : i + share] for i in range(0, len(camera), share)]


def test_micro_batches_sum_to_the_gradient_of_the_whole_batch() -> None:
    """Same fakes, no minibatch statistics: the norm of D's gradient does not depend on the split."""
    norms = {}
    for pieces in (1, 2):
        config = run_config(
            "tiny", "lr", [f"train.micro_batches={pieces}", "train.r1_every=1", "train.fresh_fakes=false"]
        )
        recipe = recipe_lr(config)
        with initialised_from(3):
            from gramhd_core.networks.discriminators import Discriminator

            d = Discriminator(config.discriminator)
        rng = torch.Generator().manual_seed(0)
        z = torch.randn(16, recipe.generator.latent_dim, generator=rng)
        camera = recipe.generator.cameras.sample(16, rng, size=16)

        def draw(n: int, pieces: int, recipe=recipe, z=z, camera=camera):
            return (recipe.draw(*part) for part in zip(z.chunk(pieces), halves(camera, pieces), strict=True))

        sides = [
            Side(list(net), torch.optim.Adam(list(net), lr=1e-3)) for net in (recipe.trainable, list(d.parameters()))
        ]
        step = GanStep(config.train, d, sides[0], sides[1], torch.amp.GradScaler("cpu", enabled=False))
        reals = torch.rand(16, 3, 16, 16, generator=rng) * 2 - 1
        norms[pieces] = step(draw, reals, torch.zeros(16, 2), step=0)["d_norm"]
    assert norms[1] == pytest.approx(norms[2], rel=1e-3)


def test_frozen_weights_get_no_gradient_but_pass_it_on() -> None:
    layer, x = torch.nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(layer.parameters()):
        layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad is not None and layer.weight.requires_grad


def test_a_field_and_its_discriminator_grow_to_larger_images(heads: Path, low_run: Path, tmp_path: Path) -> None:
    larger = ["generator.image_size=32", "discriminator.image_size=32", "discriminator.widths=4,8,16,16,16"]
    config = lr(*larger, "discriminator.entries=2", "train.images=16", "train.grow_discriminator=true")
    grown = Run(recipe_lr(config, low_run), DatasetReader(heads, size=32), tmp_path / "new", device="cpu").generator
    parent = Checkpoint.load(low_run / "checkpoints" / "step00000006.safetensors")
    assert all(torch.equal(grown.state_dict()[name], t) for name, t in parent.weights.items())
    newest = train_lr(heads, tmp_path / "grown", config=config, start=low_run)
    assert Checkpoint.load(newest).provenance["parent"]["step"] == 6
    with pytest.raises(BadConfig, match="without an earlier run"):
        train_lr(heads, tmp_path / "x", config=config)
    alone = tmp_path / "alone.safetensors"
    parent.save(alone)
    with pytest.raises(BadCheckpoint, match="stands alone"):
        train_lr(heads, tmp_path / "y", config=config, start=alone)


@pytest.mark.slow
def test_wrong_runs_are_refused(heads: Path, low_run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"train.g_lr was 0.001, now 0.5"):
        train_lr(heads, low_run, config=lr("train.g_lr=0.5"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(BadConfig, match="holds no run"):
        train_lr(heads, tmp_path / "full", config=lr())
    with pytest.raises(BadCheckpoint, match="gram-hd model"):
        train_hr(heads, tmp_path / "hr", lr_checkpoint=low_run, config=hr())
        train_hr(heads, tmp_path / "hr2", lr_checkpoint=tmp_path / "hr", config=hr())
    with pytest.raises(BadCheckpoint, match="shape"):
        train_hr(heads, tmp_path / "x", lr_checkpoint=low_run, config=hr("generator.low.field.hidden=8"))
    with pytest.raises(BadCheckpoint, match="another field or other manifolds"):
        train_hr(heads, tmp_path / "y", lr_checkpoint=low_run, config=hr("generator.low.field.delta=0.5"))


@pytest.mark.slow
def test_latents_do_not_depend_on_the_number_of_pieces(heads: Path, low_run: Path, tmp_path: Path) -> None:
    train_lr(heads, tmp_path / "run", config=lr("train.micro_batches=4"))
    for ours, theirs in zip(losses(tmp_path / "run"), losses(low_run), strict=True):
        assert ours["d_fake"] == pytest.approx(theirs["d_fake"], rel=1e-3)


@pytest.mark.slow
def test_a_run_goes_on_when_what_it_started_from_is_gone(heads: Path, low_run: Path, tmp_path: Path) -> None:
    low = tmp_path / "low"
    shutil.copytree(low_run, low)
    train_hr(heads, tmp_path / "hr", lr_checkpoint=low, config=hr("train.images=16"))
    shutil.rmtree(low)
    assert Checkpoint.load(train_hr(heads, tmp_path / "hr", lr_checkpoint=low, config=hr())).step == 4


@pytest.mark.slow
def test_half_precision_trains_and_resumes(heads: Path, tmp_path: Path) -> None:
    half = ["train.precision=fp16", "train.r1_every=1"]
    train_lr(heads, tmp_path / "whole", config=lr(*half))
    train_lr(heads, tmp_path / "parts", config=lr(*half, "train.images=48"))
    train_lr(heads, tmp_path / "parts", config=lr(*half))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_images_smaller_than_the_preset_are_refused_and_nothing_is_left(heads: Path, tmp_path: Path) -> None:
    config = run_config("gram64-ffhq", "lr", [])
    with pytest.raises(BadDataset, match="images of 32 pixels"):
        train_lr(heads, tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_averaging_decay_changes_the_model_and_not_the_losses(heads: Path, low_run: Path, tmp_path: Path) -> None:
    newest = train_lr(heads, tmp_path / "run", config=lr("train.ema=0.0"))
    assert losses(tmp_path / "run") == losses(low_run)
    a, b = Checkpoint.load(newest), Checkpoint.load(low_run / "checkpoints" / newest.name)
    assert not all(torch.equal(a.weights[name], b.weights[name]) for name in b.weights)


@pytest.mark.slow
def test_provenance_is_that_of_the_weights_even_after_a_resume(heads: Path, tmp_path: Path) -> None:
    low = tmp_path / "low"
    train_lr(heads, low, config=lr("train.images=48"))
    train_hr(heads, tmp_path / "hr", lr_checkpoint=low, config=hr("train.images=8"))
    train_lr(heads, low, config=lr())  # stage 1 goes on meanwhile
    newest = train_hr(heads, tmp_path / "hr", lr_checkpoint=low, config=hr())
    assert Checkpoint.load(newest).provenance["parent"]["step"] == 3


def test_another_data_set_is_refused_on_resume(heads: Path, low_run: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    Image.new("RGB", (32, 32)).save(fewer / "a.png")
    write_eg3d(fewer / "dataset.json", {"a.png": Pose(pitch=0.0, yaw=0.0)})
    with pytest.raises(BadDataset, match="not the data set"):
        train_lr(fewer, low_run, config=lr())


def test_samples_are_fixed_seeds_from_three_yaws(low_run: Path) -> None:
    with Image.open(low_run / "samples" / "images000000064.png") as picture:
        assert picture.size == (6 * 64, 4 * 64)


def test_run_resumes_position_and_random_state(heads: Path, low_run: Path) -> None:
    run = Run(recipe_lr(lr()), DatasetReader(heads, size=16, mirror=True), low_run, device="cpu")
    run.resume()
    assert (run.step, run.images, run.stream.position, run.ema.updates) == (6, 96, 96, 6)
