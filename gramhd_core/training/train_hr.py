"""Stage 2 (GRAM-HD): super-resolution of the maps of a frozen stage-1 network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.progress import Progress
from gramhd_core.training import losses
from gramhd_core.training.config import RunConfig
from gramhd_core.training.gan_step import Fakes
from gramhd_core.training.loop import train
from gramhd_core.training.recipe import Recipe, initialised_from
from gramhd_core.world import ALONE, World


def train_hr(
    data: Path,
    out: Path,
    *,
    lr_checkpoint: Path,
    config: RunConfig,
    device: str = "cpu",
    progress: Progress | None = None,
    world: World = ALONE,
) -> Path:
    """Train (or go on training) stage 2 in `out`, from stage 1's EMA weights. Returns the newest checkpoint."""
    return train(recipe_hr(config, lr_checkpoint), data, out, device=device, progress=progress, world=world)


def recipe_hr(config: RunConfig, lr_checkpoint: Path) -> Recipe:
    """Frozen low-resolution part from `lr_checkpoint`, new super-resolution networks, and how they make fakes."""
    numbers = config.generator
    assert isinstance(numbers, GramHdConfig)
    with initialised_from(config.train.seed):
        generator = GramHd(numbers)
    trainable = generator.trainable()
    for name, p in generator.named_parameters():
        p.requires_grad_(name in trainable)
    t = config.train

    def extra(latent: Latent, camera: Camera, high: Tensor, made) -> dict[str, Tensor]:
        """The HR picture and maps, made small, are those of stage 1 (GRAM-HD: consistency loss)."""
        with torch.no_grad():
            low = generator.low_scene(latent, locked=numbers.low.field.view_dependence != "camera")
            small = low.render(camera.with_size(numbers.low.image_size)).rgb
        parts = {"consistency": t.consistency_weight * losses.consistency(high, small)}
        if t.consistency_maps:
            high_maps = torch.cat([made.scene.maps, _as_map(made.scene.background)], dim=1).flatten(0, 1)
            low_maps = torch.cat([made.low.maps[:, :, :4], _as_map(made.low.background)], dim=1).flatten(0, 1)
            parts["consistency_maps"] = t.consistency_weight * losses.consistency(high_maps, low_maps.detach())
        return parts

    def draw(z: Tensor, camera: Camera) -> Fakes:
        latent = generator.latent(z)
        view_from = camera if numbers.low.field.view_dependence == "camera" else None
        made = generator.high_resolution(latent, view_from=view_from)
        image = made.scene.render(camera).rgb
        wanted = torch.is_grad_enabled() and t.consistency_weight > 0
        angles = torch.stack([camera.pitch, camera.yaw], dim=1)
        return Fakes(image, angles, extra(latent, camera, image, made) if wanted else {})

    return Recipe(config, generator, list(trainable.values()), draw, lr_checkpoint)


def _as_map(background: Tensor) -> Tensor:
    """[N, 3, M, M] -> [N, 1, 4, M, M] with alpha 0: the background counts as one more map in the mean."""
    return torch.cat([background, torch.zeros_like(background[:, :1])], dim=1)[:, None]
