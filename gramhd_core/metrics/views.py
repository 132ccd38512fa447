"""One head seen from many sides: what every metric of consistency looks at, wherever the pictures came from.

V views of S x S pixels. `ViewSet` is the only thing that neus, epi and reprojection are given: a generator's scene,
an analytic head (the ceiling of every such score) and a folder of somebody else's pictures look the same to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.outputs.shots import joined, render_shots
from gramhd_core.scenes.scene import Scene

COUNT = 30  # views of an identity, as many as the paper takes
PITCHES, YAWS = (0.2, 0.0, -0.2), (-0.4, 0.4)  # radians around the prior's mean: the range of the official sheets


class ViewSet(NamedTuple):
    """V pictures of one still head.

    cameras: [V]. rgb: uint8 [V, 3, S, S]. alpha: float [V, S, S] in [0, 1], what is not background; distance: float
    [V, S, S] along the rays in world units; both None where nobody knows. sweep: others of the same head, in small
    level steps, where somebody took them.
    """

    name: str
    cameras: Camera
    rgb: Tensor
    alpha: Tensor | None = None
    distance: Tensor | None = None
    sweep: ViewSet | None = None


def fingerprint_of_views(sets: Sequence[ViewSet]) -> str:
    """16 digits that change with any pixel, distance or camera."""
    digest = hashlib.sha256()
    for views in (one for known in sets for one in (known, known.sweep) if one is not None):
        poses, fov = views.cameras.world_from_camera, views.cameras.fov_degrees
        for part in (views.rgb, views.alpha, views.distance, poses, fov):
            digest.update(b"none" if part is None else part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def around(prior: CameraPrior, *, size: int) -> Camera:
    """`COUNT` cameras in three rows around the prior's mean pose."""
    columns = COUNT // len(PITCHES)
    pitch, yaw = torch.meshgrid(torch.tensor(PITCHES), torch.linspace(*YAWS, columns), indexing="ij")
    return prior.at(prior.pitch_mean + pitch.flatten(), prior.yaw_mean + yaw.flatten(), size=size)


@torch.no_grad()
def views_of_scene(scene: Scene, cameras: Camera, *, name: str, device: torch.device | str = "cpu") -> ViewSet:
    """A scene of one identity as its cameras see it; tensors on the CPU."""
    shots = joined(list(render_shots(scene, cameras, device=device)))
    distance = None if shots.distance is None else torch.from_numpy(shots.distance)
    rgb = torch.from_numpy(shots.rgb).movedim(-1, 1).contiguous()
    return ViewSet(name, cameras, rgb, torch.from_numpy(shots.alpha).float() / 255, distance)


def views_of_head(identity: HeadIdentity, cameras: Camera, *, name: str, supersample: int = 2) -> ViewSet:
    """An analytic head: consistent by construction, with exact distances."""
    seen = [render_head(identity, cameras[i], supersample=supersample) for i in range(len(cameras))]
    return ViewSet(
        name,
        cameras,
        torch.stack([torch.from_numpy(view.image).permute(2, 0, 1) for view in seen]),
        torch.stack([torch.from_numpy(view.mask).float() for view in seen]),
        torch.stack([torch.from_numpy(view.distance) for view in seen]),
    )
