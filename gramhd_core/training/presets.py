"""Presets: one generator, one discriminator and one schedule per name, published ones with their scores.

Sources: scores are those of the GRAM-HD paper (ICCV 2023); schedules are those of its reference configs; see
docs/papers.md.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Literal

from gramhd_core.configs import override
from gramhd_core.errors import BadConfig
from gramhd_core.generators import PUBLISHED
from gramhd_core.generators.gram import GramConfig
from gramhd_core.generators.gram_hd import GramHdConfig
from gramhd_core.networks.discriminators import DiscriminatorConfig
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.predictors import ManifoldsConfig
from gramhd_core.networks.super_resolution import SuperResolutionConfig
from gramhd_core.training.config import RunConfig, TrainConfig

SOURCE = "GRAM-HD paper, ICCV 2023 (FID and KID x 1000 of 20,000 generated and 20,000 real images)"


def _published_hr(name: str, *, batch: int, r1: float, consistency: float, scores: dict) -> RunConfig:
    generator = PUBLISHED[name]
    train = TrainConfig(
        images=100_000 * batch,
        batch=batch,
        micro_batches=batch,  # one image at a time through the networks, as published
        g_lr=2e-4,
        r1_weight=r1,
        r1_patch=True,
        patch_weight=0.1,
        consistency_weight=consistency,
        sample_every=500 * batch,
        save_every=5_000 * batch,
    )
    discriminator = DiscriminatorConfig(generator.image_size, patch=True)
    return RunConfig(name, "hr", generator, discriminator, train, {**scores, "source": SOURCE})


def _published_lr(name: str) -> RunConfig:
    train = TrainConfig(micro_batches=8, sample_every=500 * 64, save_every=5_000 * 64)
    return RunConfig(name, "lr", PUBLISHED[name], DiscriminatorConfig(64), train)


# ---- small ones ----

_TINY_LOW = GramConfig(
    image_size=16,
    field=FieldConfig(z_dim=16, hidden=16, layers=3, mapping_hidden=16, mapping_layers=2, view_dependence="none"),
    manifolds=ManifoldsConfig(predictor="spheres", count=5),
    map_size=32,
)
_TINY_SR = SuperResolutionConfig(
    z_dim=16,
    features=4,
    width=8,
    growth=4,
    blocks=1,
    up_channels=(8,),
    style_hidden=16,
    background_blocks=1,
    background_up_channels=(8,),
    start="residual",
)
_TINY_TRAIN = TrainConfig(
    images=512, batch=16, g_lr=1e-3, d_lr=1e-3, clip=1.0, r1_every=8, sample_every=256, save_every=256, log_every=1
)
_DEMO_LOW = GramConfig(
    image_size=16,
    field=FieldConfig(
        z_dim=64,
        hidden=64,
        layers=3,
        mapping_hidden=128,
        mapping_layers=2,
        view_dependence="none",
        frequency_gain=5.0,
        frequency_bias=12.0,
        delta=1.0,
        start_density=5.0,
    ),
    # where procedural heads are: 99 % of what is seen of 60 of them lies between the level sets 14.9 and 21.2
    manifolds=ManifoldsConfig(predictor="spheres", count=9, level_near=22.0, level_far=14.5),
    half_width=0.14,
    map_size=128,
)
_DEMO_TRAIN = TrainConfig(
    images=16_000,
    batch=16,
    g_lr=1e-3,
    d_lr=1e-3,
    clip=1.0,
    r1_every=8,
    fresh_fakes=False,
    reconstruction=1.0,
    divergence=5e-5,
    adversary=False,
    cooldown=4_000,
    sample_every=4_000,
    save_every=8_000,
)
_DEMO_SR = SuperResolutionConfig(
    z_dim=64,
    features=16,
    width=24,
    growth=16,
    blocks=0,
    up_channels=(16,),
    style_hidden=64,
    background_blocks=0,
    background_up_channels=(16,),
    start="residual",
    upsampling="bilinear",
)


def _with_features(low: GramConfig, features: int, size: int) -> GramConfig:
    return replace(low, image_size=size, field=replace(low.field, features=features))


_DEMO_HR_DISCRIMINATOR = DiscriminatorConfig(
    128,
    (8, 16, 24, 32, 48, 96, 144),
    coordinates="input",
    minibatch_std=True,
    patch=True,
    patch_width=16,
    patch_layers=3,
)
_DEMO_HR_TRAIN = replace(
    _DEMO_TRAIN,
    images=3_200,
    batch=8,
    g_lr=2e-4,
    reconstruction_lr=3e-4,
    divergence=3e-5,
    cooldown=3_000,
    r1_weight=0.5,
    r1_patch=True,
    patch_weight=0.1,
    sample_every=800,
    save_every=400,
)
_TINY_HR_TRAIN = replace(_TINY_TRAIN, images=256, batch=8, consistency_weight=3.0, patch_weight=0.1)

PRESETS: dict[tuple[str, str], RunConfig] = {
    ("tiny", "lr"): RunConfig(
        "tiny", "lr", _TINY_LOW, DiscriminatorConfig(16, (8, 16, 16, 16), coordinates="input"), _TINY_TRAIN
    ),
    ("tiny", "hr"): RunConfig(
        "tiny",
        "hr",
        GramHdConfig(_with_features(_TINY_LOW, 4, 16), _TINY_SR),
        DiscriminatorConfig(32, (8, 8, 16, 16, 16), coordinates="input", patch=True, patch_width=8, patch_layers=2),
        _TINY_HR_TRAIN,
    ),
    ("demo", "lr"): RunConfig(
        "demo",
        "lr",
        _DEMO_LOW,
        DiscriminatorConfig(16, (32, 48, 96, 144), coordinates="input", minibatch_std=True),
        _DEMO_TRAIN,
    ),
    ("demo32", "lr"): RunConfig(
        "demo32",
        "lr",
        _with_features(_DEMO_LOW, 0, 32),
        DiscriminatorConfig(32, (16, 32, 48, 96, 144), coordinates="input", minibatch_std=True, entries=2),
        replace(_DEMO_TRAIN, images=40_000, batch=8, reconstruction_lr=4e-4, cooldown=10_000),
    ),
    ("demo64", "lr"): RunConfig(
        "demo64",
        "lr",
        _with_features(_DEMO_LOW, 0, 64),
        DiscriminatorConfig(64, (12, 16, 32, 48, 96, 144), coordinates="input", minibatch_std=True),
        replace(
            _DEMO_TRAIN,
            images=17_000,
            batch=8,
            reconstruction_lr=4e-4,
            divergence=3e-5,
            cooldown=6_000,
            sample_every=1_000,
            save_every=1_000,
        ),
    ),
    ("demo", "hr"): RunConfig(
        "demo",
        "hr",
        GramHdConfig(_with_features(_DEMO_LOW, 16, 64), _DEMO_SR),
        _DEMO_HR_DISCRIMINATOR,
        _DEMO_HR_TRAIN,
    ),
    # maps show more than pictures do and have as many cells: the field is asked at 128, whatever it was trained at
    ("demo256", "hr"): RunConfig(
        "demo256",
        "hr",
        GramHdConfig(
            _with_features(_DEMO_LOW, 8, 128),
            replace(_DEMO_SR, features=8, width=16, up_channels=(12,), background_up_channels=(12,)),
        ),
        replace(_DEMO_HR_DISCRIMINATOR, image_size=256, widths=(8, *_DEMO_HR_DISCRIMINATOR.widths)),
        replace(_DEMO_HR_TRAIN, images=2_400, reconstruction_lr=4e-4, cooldown=1_600, save_every=200),
    ),
    ("gram64-ffhq", "lr"): _published_lr("gram64-ffhq"),
    ("gram64-afhq", "lr"): _published_lr("gram64-afhq"),
    **{
        (name, "hr"): _published_hr(name, batch=batch, r1=r1, consistency=weight, scores=scores)
        for name, batch, r1, weight, scores in (
            ("gramhd256-ffhq", 32, 3.0, 1.0, {"fid": 11.8, "kid_x1000": 4.72}),
            ("gramhd256-afhq", 32, 3.0, 1.0, {"fid": 7.05, "kid_x1000": 2.53}),
            ("gramhd512-ffhq", 16, 5.0, 3.0, {"fid": 12.2, "kid_x1000": 5.41}),
            ("gramhd512-afhq", 16, 5.0, 3.0, {"fid": 7.67, "kid_x1000": 3.41}),
            ("gramhd1024-ffhq", 16, 10.0, 10.0, {"fid": 12.0, "kid_x1000": 5.23}),
        )
    },
}


def run_config(preset: str, stage: Literal["lr", "hr"], overrides: list[str]) -> RunConfig:
    """The preset of that name for that stage, with `name=value` overrides applied and checked."""
    config = PRESETS.get((preset, stage))
    if config is None:
        names = [name for name, kind in PRESETS if kind == stage]
        near = difflib.get_close_matches(preset, names, n=1)
        raise BadConfig(
            f"--preset {preset}",
            expected=f"train-{stage} knows {', '.join(names)}",
            remedy=f"did you mean {near[0]}" if near else "choose one of them",
        )
    changed = override(config, overrides)
    if (changed.preset, changed.stage, changed.published) != (config.preset, config.stage, config.published):
        raise BadConfig(
            f"--set {' '.join(overrides)}",
            expected="preset, stage and published scores name the preset and cannot be set",
            remedy="choose another --preset, or the other training command",
        )
    return changed
