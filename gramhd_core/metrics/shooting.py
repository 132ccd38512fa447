"""Photographing a model: every head once by a camera of the prior, some of them from the sides as well.

n samples, S x S pixels, V views of T turned heads. Sample i is the head and the camera of
`gramhd sample --seeds i --view rand`: made for that camera, if the model's colours depend on it. Heads that are turned
are made once, for the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.request import EvaluationRequest
from gramhd_core.outputs.shots import Shots as Views
from gramhd_core.outputs.shots import device_of, joined, latent_of_seed, render_shots
from gramhd_core.progress import Progress, Silent

TURNED = 200  # heads that are looked at from several sides
TURNED_YAW = (0.0, -0.3, 0.3)  # radians: frontal, and one standard deviation of the published cameras to both sides
PROBES = (0.2, -0.4), (-0.2, 0.4)  # pitch and yaw of two cameras that a view-dependent head answers differently


class Pictures(NamedTuple):
    """images uint8 [n, 3, S, S]; angles [n, 2]: the pitch and yaw they were taken from, radians."""

    images: Tensor
    angles: Tensor


class Turned(NamedTuple):
    """The same heads from V cameras. rgb uint8 [T, V, 3, S, S]; alpha in [0, 1] and distance [T, V, S, S]."""

    cameras: Camera
    rgb: Tensor
    alpha: Tensor
    distance: Tensor

    @classmethod
    def empty(cls, cameras: Camera, heads: int) -> Turned:
        """Room for that many heads."""
        places = (heads, len(cameras), cameras.height, cameras.width)
        rgb = torch.empty(*places[:2], 3, *places[2:], dtype=torch.uint8)
        return cls(cameras, rgb, torch.empty(places), torch.empty(places))


class Shots(NamedTuple):
    """What is photographed of a model."""

    samples: Pictures
    turned: Turned


def shots_of(generator: Generator, latent: Latent, cameras: Camera, *, made_for: Camera | None = None) -> Views:
    """One head, made for this camera (None: for the front), as all of `cameras` see it."""
    device = device_of(generator)
    scene = generator.scene(latent, None if made_for is None else made_for.to(device))
    return joined(list(render_shots(scene, cameras, device=device)))


@torch.no_grad()
def knows_camera(generator: Generator) -> bool:
    """Whether a head made for another camera looks different: seed 0 is asked."""
    latent, _ = latent_of_seed(generator, 0, truncation=1.0)
    cameras = [generator.cameras.at(*pose, size=32) for pose in PROBES]
    first, second = (shots_of(generator, latent, cameras[0], made_for=camera).rgb for camera in cameras)
    return not np.array_equal(first, second)


@torch.no_grad()
def shoot(
    generator: Generator,
    request: EvaluationRequest,
    *,
    seeds: Sequence[int] | None = None,
    size: int,
    progress: Progress | None = None,
) -> Shots:
    """Photograph heads once each by a camera of the prior, the first 200 from the sides as well.

    seeds: which of the n; all, if not given.
    """
    progress, knows = progress or Silent(), knows_camera(generator)
    seeds = range(request.samples) if seeds is None else seeds
    sides = generator.cameras.at(torch.zeros(len(TURNED_YAW)), torch.tensor(TURNED_YAW), size=size)
    images = torch.empty(len(seeds), 3, size, size, dtype=torch.uint8)
    turned = Turned.empty(sides, sum(seed < TURNED for seed in seeds))
    angles = torch.empty(len(seeds), 2)
    progress.start("Making heads", len(seeds))
    for place, seed in enumerate(seeds):
        latent, rng = latent_of_seed(generator, seed, truncation=request.truncation)
        camera = generator.cameras.sample(1, rng, size=size)
        if knows or seed >= TURNED:
            shots = shots_of(generator, latent, camera, made_for=camera)
            around = shots_of(generator, latent, sides) if seed < TURNED else None
        else:  # one head for all its views
            together = shots_of(generator, latent, _together(camera, sides))
            shots, around = _cut(together, slice(0, 1)), _cut(together, slice(1, None))
        images[place] = torch.from_numpy(shots.rgb[0]).movedim(-1, 0)
        angles[place] = torch.stack([camera.pitch[0], camera.yaw[0]])
        if around:
            assert around.distance is not None, "every family of the house knows distances"
            turned.rgb[place] = torch.from_numpy(around.rgb).movedim(-1, 1)
            turned.alpha[place] = torch.from_numpy(around.alpha).float() / 255
            turned.distance[place] = torch.from_numpy(around.distance)
        progress.advance()
    progress.finish()
    return Shots(Pictures(images, angles), turned)


def interleaved(shares: Sequence[Shots]) -> Shots:
    """The shots of all processes, of which process r of W made those of seeds r, r + W, ..., in order of seeds."""
    if len(shares) == 1:
        return shares[0]

    def zipped(parts: Sequence[Tensor]) -> Tensor:
        whole = parts[0].new_empty(sum(len(part) for part in parts), *parts[0].shape[1:])
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole

    samples = Pictures(*(zipped(parts) for parts in zip(*(share.samples for share in shares), strict=True)))
    cameras, turned = shares[0].turned.cameras, [share.turned[1:] for share in shares]
    return Shots(samples, Turned(cameras, *(zipped(parts) for parts in zip(*turned, strict=True))))


def _cut(shots: Views, places: slice) -> Views:
    return Views(shots.rgb[places], shots.alpha[places], None if shots.distance is None else shots.distance[places])


def _together(first: Camera, second: Camera) -> Camera:
    pose = torch.cat([first.world_from_camera, second.world_from_camera])
    return Camera(pose, torch.cat([first.fov_degrees, second.fov_degrees]), first.height, first.width)
