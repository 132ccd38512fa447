"""Losses by hand; presets with the published numbers; overrides that explain themselves."""

from __future__ import annotations

import math

import pytest
import torch

from gramhd_core.configs import from_dict, override, to_dict
from gramhd_core.errors import BadConfig
from gramhd_core.generators.gram_hd import GramHdConfig
from gramhd_core.training import losses
from gramhd_core.training.config import RunConfig
from gramhd_core.training.ema import Ema
from gramhd_core.training.presets import PRESETS, run_config


def test_adversarial_losses_by_hand() -> None:
    assert losses.fake(torch.zeros(3)).item() == pytest.approx(math.log(2))
    assert losses.realistic(torch.tensor([2.0])).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert losses.fake(torch.tensor([2.0])).item() == pytest.approx(losses.realistic(torch.tensor([-2.0])).item())


def test_r1_is_the_squared_gradient_of_each_image() -> None:
    images = torch.zeros(2, 3, 4, 4, requires_grad=True)
    scores = 0.5 * images[0].sum() + 2.0 * images[1].sum()
    assert losses.r1(scores, images).item() == pytest.approx((0.25 * 48 + 4 * 48) / 2)


def test_pose_loss_is_the_mean_over_both_angles() -> None:
    assert losses.pose(torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 0.2]])).item() == pytest.approx(0.025)


def test_consistency_is_zero_for_the_same_smooth_picture_and_grows_with_a_shift() -> None:
    high = torch.full((1, 3, 16, 16), 0.2)
    assert losses.consistency(high, torch.full((1, 3, 4, 4), 0.2)).item() == pytest.approx(0, abs=1e-9)
    assert losses.consistency(high + 0.1, torch.full((1, 3, 4, 4), 0.2)).item() == pytest.approx(0.01, rel=1e-3)


def test_average_warms_up_and_only_follows_what_is_trained() -> None:
    network = torch.nn.Linear(1, 1)
    network.bias.requires_grad_(False)
    ema = Ema(network, decay=0.999)
    start = network.weight.item(), network.bias.item()
    with torch.no_grad():
        network.weight.add_(1.0)
        network.bias.add_(1.0)
    ema.update(network)
    assert ema.average.weight.item() == pytest.approx(start[0] + 1 - 2 / 11)
    assert ema.average.bias.item() == start[1]


@pytest.mark.parametrize(
    ("name", "batch", "r1", "consistency", "g_lr", "fid"),
    [
        ("gramhd256-ffhq", 32, 3, 1, 2e-4, 11.8),
        ("gramhd512-ffhq", 16, 5, 3, 2e-4, 12.2),
        ("gramhd1024-ffhq", 16, 10, 10, 2e-4, 12.0),
        ("gramhd256-afhq", 32, 3, 1, 2e-4, 7.05),
        ("gramhd512-afhq", 16, 5, 3, 2e-4, 7.67),
    ],
)
def test_published_presets_carry_the_published_numbers(
    name: str, batch: int, r1: float, consistency: float, g_lr: float, fid: float
) -> None:
    run = run_config(name, "hr", [])
    t = run.train
    assert (t.batch, t.r1_weight, t.consistency_weight, t.g_lr, t.d_lr) == (batch, r1, consistency, g_lr, 2e-4)
    assert (t.patch_weight, t.r1_patch, t.pose_fake, t.pose_real, t.clip) == (0.1, True, 15, 15, 0.3)
    assert t.r1_every == 1 and t.fresh_fakes and run.published["fid"] == fid and "ICCV 2023" in run.published["source"]
    assert run.discriminator.patch and isinstance(run.generator, GramHdConfig)
    assert run.generator.sr.start == "published" and run.generator.low.field.start_density == 0


def test_gram64_presets_carry_the_published_numbers() -> None:
    for name in ("gram64-ffhq", "gram64-afhq"):
        t = run_config(name, "lr", []).train
        assert (t.batch, t.g_lr, t.d_lr, t.r1_weight, t.clip, t.images) == (64, 2e-5, 2e-4, 1, 0.3, 6_400_000)


@pytest.mark.parametrize("key", PRESETS)
def test_configs_survive_json(key: tuple) -> None:
    config = PRESETS[key]
    assert from_dict(type(config.generator), to_dict(config.generator)) == config.generator
    assert from_dict(type(config.train), to_dict(config.train)) == config.train


def test_overrides_reach_nested_fields_with_their_types() -> None:
    config = run_config(
        "demo", "lr", ["train.batch=16", "generator.field.hidden=32", "discriminator.widths=8,8,16,16", "train.g_lr=1"]
    )
    assert config.train.batch == 16 and config.generator.field.hidden == 32  # type: ignore[union-attr]
    assert config.discriminator.widths == (8, 8, 16, 16) and isinstance(config.train.g_lr, float)
    assert override(config, ["train.mirror=False"]).train.mirror is False


def test_fields_that_must_agree_can_be_changed_together() -> None:
    sizes = ["generator.image_size=32", "discriminator.image_size=32", "discriminator.widths=8,8,8,8,8"]
    assert run_config("demo", "lr", sizes).generator.image_size == 32


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.batchs=3", "did you mean batch"),
        ("train.batch=many", "type int"),
        ("train=3", "is a group"),
        ("train.batch", "name=value"),
        ("generator.manifolds.predictor=cubes", "mlp, spheres"),
        ("train.batch.size=3", "no fields of its own"),
        ("train.micro_batches=3", "multiple"),
        ("discriminator.image_size=32", "32-pixel images need 5"),
        ("generator.image_size=32", "images of 32 pixels"),
        ("train.save_every=0", "at least 1"),
        ("train.log_every=0", "at least 1"),
        ("train.keep=-1", "at least 1"),
        ("train.images=0", "at least 1"),
        ("train.ema=2", "below 1"),
        ("train.g_lr=0", "positive"),
        ("generator.manifolds.count=1", "at least 2"),
        ("generator.field.z_dim=0", "at least 1"),
        ("generator.field.layers=1", "at least 2"),
        ("generator.field.box=0.2", "same box"),
        ("generator.map_size=0", "at least 2"),
        ("generator.cameras.fov_degrees=0", "between 0 and 180"),
        ("train.g_lr=NaN", "positive"),
        ("discriminator.entries=0", "at least 1"),
        ("discriminator.entries=9", "at most 3"),
        ("discriminator.patch=true", "nothing of images that small"),
        ("stage=hr", "cannot be set"),
    ],
)
def test_wrong_overrides_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words) as refused:
        run_config("demo", "lr", [text])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("generator.sr.z_dim=32", "one z drives"),
        ("generator.sr.features=8", "as many features"),
        ("generator.sr.background_up_channels=8,8,8", "same number of times"),
        ("generator.convention.hits=upsampled generator.convention.hit_size=32", "interpolated hits"),
        ("generator.sr.upsampling=cubic", "shuffle, bilinear"),
    ],
)
def test_parts_that_do_not_fit_together_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        run_config("demo", "hr", text.split())


def test_unknown_presets_get_the_nearest() -> None:
    with pytest.raises(BadConfig, match="did you mean gramhd256-ffhq"):
        run_config("gramhd265-ffhq", "hr", [])
    with pytest.raises(BadConfig, match="train-lr knows"):
        run_config("gramhd256-ffhq", "lr", [])


def test_a_run_is_the_same_run_with_another_length() -> None:
    a, b = run_config("demo", "lr", []), run_config("demo", "lr", ["train.images=5", "train.max_minutes=1"])
    assert isinstance(a, RunConfig) and a.identity() == b.identity()
    assert a.identity() != run_config("demo", "lr", ["train.seed=5"]).identity()
