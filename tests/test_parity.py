"""With the reference's weights our compatible mode makes the reference's tensors to the stated tolerances."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gramhd_core.checkpoints.importers import our_name
from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.predictors import ManifoldsConfig
from gramhd_core.networks.super_resolution import SuperResolutionConfig

FOLDER = Path(os.environ.get("GRAMHD_PARITY_DIR", Path(__file__).parents[2] / "shared" / "parity"))
CASES = ("tilted", "frontal", "steep")
# max and mean absolute error allowed; None: not tested
TOLERANCES = {
    "hit_points": (1e-6, None),
    "hit_valid": (0.0, None),
    "grid_points": (1e-6, None),
    "grid_valid": (0.0, None),
    "sr_fg_input": (1e-4, None),
    "lr_maps": (1e-4, None),
    "hr_maps": (1e-4, None),
    "image": (1e-3, 3e-5),
    "lr_image": (1e-3, 3e-5),
    "depth": (1e-3, 3e-5),
    "lr_depth": (1e-3, 3e-5),
}


def reference(name: str) -> dict[str, np.ndarray]:
    file = FOLDER / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"reference tensors are absent: {file} (set GRAMHD_PARITY_DIR)")
    with np.load(file) as archive:
        return {key: archive[key] for key in archive.files}


def common(config: dict) -> tuple[FieldConfig, ManifoldsConfig]:
    part, renderer = config["representation"]["kwargs"], config["renderer"]["kwargs"]
    field = FieldConfig(z_dim=config["kwargs"]["z_dim"], hidden=part["hidden_dim"])
    manifolds = ManifoldsConfig(
        hidden=part["hidden_dim_sample"],
        layers=part["layer_num_sample"],
        centre=tuple(part["center"]),
        count=renderer["num_manifolds"],
        level_near=renderer["levels_start"],
        level_far=renderer["levels_end"],
        samples=renderer["num_samples"],
    )
    return field, manifolds


def gram_config(config: dict) -> GramConfig:
    field, manifolds = common(config)
    return GramConfig(config["kwargs"]["img_size"], field, manifolds).compatible()


def gram_hd_config(config: dict) -> GramHdConfig:
    field, manifolds = common(config)
    kwargs, fg, bg = (
        config["kwargs"],
        config["super_resolution"]["kwargs"]["fg"],
        config["super_resolution"]["kwargs"]["bg"],
    )
    features = kwargs["feature_dim"]
    low = GramConfig(kwargs["lr_img_size"], FieldConfig(field.z_dim, field.hidden, features=features), manifolds)
    sr = SuperResolutionConfig(
        z_dim=kwargs["z_dim"],
        features=features,
        width=fg["nf"],
        growth=fg["gc"],
        blocks=fg["nb"],
        up_channels=tuple(fg["up_channels"]),
        background_blocks=bg["nb"],
        background_up_channels=tuple(bg["up_channels"]),
    )
    return GramHdConfig(low, sr).compatible()


def load_weights(generator: Gram | GramHd, data: dict[str, np.ndarray]) -> None:
    weights = {
        our_name(key.removeprefix("weights/"), family=generator.family): torch.from_numpy(value.astype(np.float32))
        for key, value in data.items()
        if key.startswith("weights/")
    }
    missing, unexpected = generator.load_state_dict(weights, strict=False)
    assert not unexpected and all("centre" in name for name in missing)
    low = generator.low if isinstance(generator, GramHd) else generator
    raw = [
        torch.from_numpy(data[f"avg/{name}"]).reshape(low.film_centre[:, 0].shape)
        for name in ("frequencies", "phase_shifts")
    ]
    low.film_centre.copy_(torch.stack(raw, dim=1))
    if isinstance(generator, GramHd):
        generator.style_centre.copy_(torch.from_numpy(data["avg/style"])[0])


def with_empty_alpha(background: torch.Tensor) -> torch.Tensor:
    return torch.cat([background, torch.zeros_like(background[:, :1])], dim=1)


def gram_tensors(generator: Gram, latent, camera: Camera, *, locked: bool) -> dict[str, torch.Tensor]:
    picture = generator.scene(latent, None if locked else camera).render(camera)
    hits = generator.predictor.hits(camera_rays(camera, sampling="endpoints"))
    return {"image": picture.rgb, "depth": picture.distance, "hit_points": hits.points, "hit_valid": hits.valid}


def gram_hd_tensors(generator: GramHd, latent, camera: Camera, *, locked: bool) -> dict[str, torch.Tensor]:
    made = generator.high_resolution(latent, view_from=None if locked else camera)
    picture = made.scene.render(camera)
    small = camera.with_size(generator.config.low.image_size)
    low = generator.low_scene(latent, locked=locked).render(small)
    hits = generator.low.predictor.hits(camera_rays(small, sampling="endpoints"))
    grid = generator.grid()
    return {
        "image": picture.rgb,
        "depth": picture.distance,
        "lr_image": low.rgb,
        "lr_depth": low.distance,
        "hit_points": hits.points,
        "hit_valid": hits.valid,
        "grid_points": grid.hits.points,
        "grid_valid": grid.hits.valid,
        "sr_fg_input": made.low.maps[0],
        "lr_maps": torch.cat([made.low.maps[0, :, :4], with_empty_alpha(made.low.background)]),
        "hr_maps": torch.cat([made.scene.maps[0], with_empty_alpha(made.scene.background)]),
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["tiny-gram", "tiny-gramhd"])
@torch.no_grad()
def test_reference_weights_make_the_reference_tensors(name: str, case: str, record_property) -> None:
    data = reference(name)
    config = json.loads(str(data["config"]))
    high = name == "tiny-gramhd"
    generator = GramHd(gram_hd_config(config)) if high else Gram(gram_config(config))
    load_weights(generator, data)
    phi, theta, locked, truncation = (float(v) for v in data[f"in/{case}"])
    camera = Camera.orbit(math.pi / 2 - phi, math.pi / 2 - theta, size=generator.image_size)
    latent = generator.latent(torch.from_numpy(data["in/z"]), truncation)
    tensors = (gram_hd_tensors if high else gram_tensors)(generator, latent, camera, locked=bool(locked))
    stored = {key.split("/")[1] for key in data if key.startswith(f"{case}/")}
    assert stored == set(tensors), "every stored tensor is compared"
    for key, ours in tensors.items():
        theirs = torch.from_numpy(data[f"{case}/{key}"]).float()
        error = (ours.reshape(theirs.shape).float() - theirs).abs()
        record_property(f"{key} max", f"{error.max():.2e}")
        most, mean = TOLERANCES[key]
        assert error.max() <= most, f"{key}: max error {error.max():.2e} > {most}"
        assert mean is None or error.mean() <= mean, f"{key}: mean error {error.mean():.2e} > {mean}"
