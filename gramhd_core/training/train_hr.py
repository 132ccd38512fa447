"""Stage 2 (GRAM-HD): super-resolution of the maps of a frozen stage-1 network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit, find_checkpoint
from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.progress import Progress
from gramhd_core.training import losses
from gramhd_core.training.config import RunConfig
from gramhd_core.training.gan_step import Fakes
from gramhd_core.training.loop import Recipe, initialised_from, train

HEADS = "field.output_feature"  # new in stage 2: not in a stage-1 checkpoint


def train_hr(
    data: Path,
    out: Path,
    *,
    lr_checkpoint: Path,
    config: RunConfig,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Train (or go on training) stage 2 in `out`, from stage 1's EMA weights. Returns the newest checkpoint."""
    return train(recipe_hr(config, lr_checkpoint), data, out, device=device, progress=progress)


def recipe_hr(config: RunConfig, lr_checkpoint: Path) -> Recipe:
    """Frozen low-resolution part from `lr_checkpoint`, new super-resolution networks, and how they make fakes."""
    numbers = config.generator
    assert isinstance(numbers, GramHdConfig)
    parent = Checkpoint.load(find_checkpoint(lr_checkpoint))
    if parent.family != "gram":
        raise BadCheckpoint(
            f"{lr_checkpoint} is a {parent.family} model",
            expected="stage 2 starts from a stage-1 (gram) checkpoint",
            remedy="give the run folder of gramhd train-lr to --lr-ckpt",
        )
    with initialised_from(config.train.seed):
        generator = GramHd(numbers)
    _adopt(generator, parent, where=str(lr_checkpoint))
    trainable = generator.trainable()
    for name, p in generator.named_parameters():
        p.requires_grad_(name in trainable)
    t = config.train

    def extra(latent: Latent, camera: Camera, high: Tensor, made) -> dict[str, Tensor]:
        """GRAM-HD eq. 7: the HR picture and maps, made small, are those of stage 1."""
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

    provenance = {"step": parent.step, "images_seen": parent.images_seen, **parent.provenance}
    return Recipe(config, generator, list(trainable.values()), draw, parent=provenance)


def _adopt(generator: GramHd, parent: Checkpoint, *, where: str) -> None:
    """Copy stage 1's weights into `generator.low`; feature heads stay new. BadCheckpoint if they do not fit."""
    wanted = {name: t for name, t in generator.low.state_dict().items() if not name.startswith(HEADS)}
    given = {name: t for name, t in parent.weights.items() if not name.startswith(HEADS)}
    check_fit(wanted, given, where=f"the LR checkpoint {where}")
    shape = replace(generator.config.low, image_size=parent.config.image_size, map_size=parent.config.map_size)
    numbers = replace(shape, field=replace(shape.field, features=parent.config.field.features))
    if numbers.manifolds != parent.config.manifolds or numbers.field != parent.config.field:
        raise BadCheckpoint(
            f"the LR checkpoint {where} was trained with another field or other manifolds",
            expected="stage 2 needs the levels, box and modulation constants of stage 1",
            remedy="choose the HR preset that belongs to the LR preset, or override its low.* fields",
        )
    generator.low.load_state_dict(given, strict=False)
    generator.forget_geometry()


def _as_map(background: Tensor) -> Tensor:
    """[N, 3, M, M] -> [N, 1, 4, M, M] with alpha 0: the background counts as one more map in the mean."""
    return torch.cat([background, torch.zeros_like(background[:, :1])], dim=1)[:, None]
