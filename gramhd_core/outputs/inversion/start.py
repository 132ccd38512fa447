"""Where an inversion begins: the best of many heads under many cameras, at low resolution.

N candidates; K coordinates of W (spaces.py); poses [N, 6] (photo_camera.py). The photograph is [1, 3, S, S] in [-1, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.inversion.losses import reduced
from gramhd_core.outputs.inversion.photo_camera import camera_of
from gramhd_core.outputs.inversion.spaces import LatentSpaces
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene

SIDE = 32  # pixels and map cells at which candidates are compared
YAWS, PITCHES = (-1.6, -0.8, 0.0, 0.8, 1.6), (-1.2, 0.0, 1.2)  # standard deviations of the prior


class Candidates(NamedTuple):
    """The best first. w: [N, K]; pose: [N, 6]; error: [N], mean absolute difference from the photograph."""

    w: Tensor
    pose: Tensor
    error: Tensor


def draft_scene(generator: Generator, latent: Latent, *, size: int) -> Scene:
    """A scene with maps of `size` cells, without super-resolution: what GRAM families can make quickly. No more cells
    than `draft_limit` are worth it."""
    low = generator.low if isinstance(generator, GramHd) else generator
    if not isinstance(low, Gram):
        return generator.scene(latent)
    surfaces = generator.surfaces() if isinstance(generator, GramHd) else low.height_fields()
    maps = low.low_maps(latent, low.grid(size))
    return low.manifolds(surfaces, maps.maps[:, :, :4], maps.background)


def draft_limit(generator: Generator) -> int:
    """The side of the pictures that the model makes before super-resolution."""
    return generator.low.image_size if isinstance(generator, GramHd) else generator.image_size


def poses_to_try(generator: Generator, known: Tensor | None, *, like: Tensor) -> Tensor:
    """[P, 6]: the known pose, or a grid over the cameras the model was trained with."""
    if known is not None:
        return known.to(like)
    prior = generator.cameras
    pitch, yaw = torch.meshgrid(like.new_tensor(PITCHES), like.new_tensor(YAWS), indexing="ij")
    poses = like.new_zeros(pitch.numel(), 6)
    poses[:, 0] = prior.pitch_mean + prior.pitch_sd * pitch.flatten()
    poses[:, 1] = prior.yaw_mean + prior.yaw_sd * yaw.flatten()
    return poses


@torch.no_grad()
def search(
    generator: Generator,
    spaces: LatentSpaces,
    photo: Tensor,
    *,
    seeds: int,
    keep: int,
    known: Tensor | None,
    rng: torch.Generator,
) -> Candidates:
    """The mean latent and `seeds` heads drawn with rng under every pose to try -> the `keep` best heads, each under its
    best pose."""
    z = torch.randn(seeds, generator.latent_dim, generator=rng).to(spaces.mean)
    w = torch.cat([spaces.mean.new_zeros(1, spaces.dimensions), spaces.coordinates(spaces.hidden(z))])
    poses, small = poses_to_try(generator, known, like=photo), reduced(photo, SIDE)
    cameras = camera_of(poses, generator.cameras, size=SIDE)
    errors, chosen = [], []
    for head in w:
        scene = draft_scene(generator, spaces.latent(head[None]), size=SIDE)
        seen = scene.render(cameras, twin="readable") if isinstance(scene, RadianceManifolds) else scene.render(cameras)
        error = (seen.rgb - small).abs().mean(dim=(1, 2, 3))
        chosen.append(error.argmin())
        errors.append(error.min())
    error = torch.stack(errors)
    best = error.argsort()[:keep]
    return Candidates(w[best], poses[torch.stack(chosen)[best]], error[best])
