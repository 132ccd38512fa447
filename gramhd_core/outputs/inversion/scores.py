"""How good an inversion is: against the photograph, and against the truth where that is known.

Pictures are [1, 3, S, S] in [-1, 1]; differences are taken of what can be seen, colours cut to that range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.checkpoints.saved_latent import PhotoCamera
from gramhd_core.data.procedural_heads import head_and_camera, render_head
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.outputs.inversion.photo_camera import camera_of, degrees_between, photo_camera

SIDE_YAW = 0.3  # radians: novel views are at this yaw to either side, level
MOST = 99.0  # decibels of equal pictures


@dataclass(frozen=True)
class Truth:
    """A head whose every view is known. photo and views in [-1, 1]; distance, mask [S, S] at the photo's camera."""

    photo: Tensor
    camera: PhotoCamera
    distance: Tensor
    mask: Tensor
    cameras: Camera
    views: Tensor


class Scores(NamedTuple):
    """psnr (decibels) and ssim of the photograph; the rest only where the truth is known: mean psnr of novel views,
    correlation of distances over the head, degrees between cameras."""

    psnr: float
    ssim: float
    novel_psnr: float | None = None
    depth_correlation: float | None = None
    camera_error_degrees: float | None = None


def psnr(made: Tensor, wanted: Tensor) -> float:
    """Decibels of the peak, 2, over the root mean square difference."""
    error = float(((made.clamp(-1, 1) - wanted) / 2).square().mean())
    return min(MOST, -10 * math.log10(error)) if error > 0 else MOST


def ssim(made: Tensor, wanted: Tensor) -> float:
    """Structural similarity with the usual window of 7 pixels."""
    from skimage.metrics import structural_similarity

    a, b = (t.clamp(-1, 1)[0].permute(1, 2, 0).double().cpu().numpy() for t in (made, wanted))
    found: Any = structural_similarity(a, b, channel_axis=2, data_range=2.0)  # a tuple if more is asked for
    return float(found)


def procedural_truth(seed: int, prior: CameraPrior, *, size: int) -> Truth:
    """Item `seed` of the procedural heads: its picture and its level views from `SIDE_YAW` to either side."""
    identity, camera = head_and_camera(seed, prior, size=size)
    view = render_head(identity, camera)
    sides = prior.at(torch.zeros(2), torch.tensor([-SIDE_YAW, SIDE_YAW]), size=size)
    views = [_picture(render_head(identity, sides[i]).image) for i in range(2)]
    return Truth(
        _picture(view.image),
        PhotoCamera(float(camera.pitch[0]), float(camera.yaw[0])),
        torch.from_numpy(view.distance),
        torch.from_numpy(view.mask),
        sides,
        torch.cat(views),
    )


@torch.no_grad()
def scores(generator: Generator, latent: Latent, pose: Tensor, photo: Tensor, *, truth: Truth | None = None) -> Scores:
    """One identity seen by the photograph's camera, and by those of the truth."""
    scene = generator.scene(latent)
    seen = scene.render(camera_of(pose, generator.cameras, size=photo.shape[-1]))
    plain = Scores(psnr(seen.rgb, photo), ssim(seen.rgb, photo))
    if truth is None:
        return plain
    turned = [scene.render(truth.cameras[i]).rgb for i in range(len(truth.cameras))]
    novel = [psnr(made, wanted[None]) for made, wanted in zip(turned, truth.views, strict=True)]
    depth = None
    if seen.distance is not None:
        both = torch.stack([seen.distance[0, 0][truth.mask], truth.distance[truth.mask].to(seen.distance)])
        depth = float(torch.corrcoef(both)[0, 1])
    error = degrees_between(photo_camera(pose), truth.camera)
    return Scores(plain.psnr, plain.ssim, float(np.mean(novel)), depth, error)


def _picture(image: np.ndarray) -> Tensor:
    """uint8 [S, S, 3] -> [1, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
