"""Planted damage: views of a consistent head made inconsistent on purpose, to calibrate what measures consistency.

V views of S x S pixels; levels are those of 8 bits. Cameras, alpha and distance stay those of the clean head, so that
only the colours lie. Three kinds, as the generators of the field have them:

    sticking    a texture of about a pixel that sits at the same pixels in every view: it sticks to the screen while
                the head turns. Its strength is its root mean square in levels.
    flicker     the same texture, drawn anew for every view. Strength as above: the two differ in nothing else.
    upsampled   the scene rendered at size S / strength with one ray per pixel, brought back to S in every view by
                itself (bicubic) and sharpened towards gradients as strong as those of the clean views, without
                colours that are not around: what networks for super-resolution in the picture plane do.

Textures are smoothed with a Gaussian of `GRAIN` pixels, equal in red, green and blue, and seen on the head only. What
was planted is measured by `planted_rms`; within a kind, more of it must score worse. Of the energy of upsampling a part
is only missing detail, which is no inconsistency: across kinds energies order nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.views import ViewSet, views_of_head, views_of_scene
from gramhd_core.scenes.scene import Scene

KINDS = ("sticking", "flicker", "upsampled")
GRAIN = 0.6  # pixels: standard deviation of the Gaussian that smooths a texture
SHARPEST = 4.0  # most of the unsharp mask that is added
SMALLEST = 64  # pixels a side: analytic heads are never rendered smaller, but averaged

Look = Callable[[Camera], ViewSet]


class Damage(NamedTuple):
    """One row of the table of planted damage."""

    kind: str
    strength: float


TABLE = tuple(
    Damage(kind, strength)
    for kind, strengths in (("sticking", (4.0, 8.0)), ("flicker", (4.0, 8.0)), ("upsampled", (4 / 3, 2.0)))
    for strength in strengths
)


def look_at_head(identity: HeadIdentity, *, name: str = "head") -> Look:
    """Looks at an analytic head with one ray per pixel."""
    return partial(views_of_head, identity, name=name, supersample=1)


def look_at_scene(scene: Scene, *, name: str = "scene", device: torch.device | str = "cpu") -> Look:
    """Looks at a scene of one identity."""
    return partial(views_of_scene, scene, name=name, device=device)


def damaged(clean: ViewSet, damage: Damage, *, look: Look, rng: torch.Generator) -> ViewSet:
    """The same views with damage planted in their colours.

    look: sees the head of `clean` from any camera (only upsampling needs it). rng: on the CPU, draws the textures.
    """
    kind, strength = damage
    assert kind in KINDS and strength > 0, damage
    if kind == "upsampled":
        size = round(clean.cameras.width / strength)
        rgb = _upsampled(aliased(look, clean.cameras.with_size(size)), clean.rgb.float())
    else:
        rgb = clean.rgb + strength * _textures(clean, kind, rng) * _head(clean)
    return clean._replace(name=f"{clean.name}, {kind} {strength:.3g}", rgb=_bytes(rgb))


def planted_rms(views: ViewSet, clean: ViewSet) -> float:
    """Root mean square of what differs, in levels, over the head (everything where alpha is unknown)."""
    difference = (views.rgb.float() - clean.rgb.float()).square().mean(dim=1, keepdim=True)
    head = (_head(clean) > 0.5).expand_as(difference)
    return math.sqrt(float(difference[head].mean()))


def aliased(look: Look, cameras: Camera) -> Tensor:
    """float [V, 3, s, s] in levels: what one ray through the middle of every pixel sees, however small the picture."""
    times = math.ceil(SMALLEST / cameras.width)
    times += 1 - times % 2  # of an odd number of pixels one has the same centre
    seen = look(cameras.with_size(times * cameras.width))
    return seen.rgb[..., times // 2 :: times, times // 2 :: times].float()


def _textures(clean: ViewSet, kind: str, rng: torch.Generator) -> Tensor:
    """[V or 1, 1, S, S] of root mean square 1."""
    count, size = (1 if kind == "sticking" else len(clean.cameras)), clean.cameras.width
    drawn = torch.stack([torch.randn(1, size, size, generator=rng) for _ in range(count)])
    smooth = _blurred(drawn, GRAIN)
    return smooth / smooth.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def _upsampled(small: Tensor, wanted: Tensor) -> Tensor:
    """[V, 3, s, s] at the size of [V, 3, S, S], with gradients as strong as there on average over all views."""
    size, factor = wanted.shape[-1], wanted.shape[-1] / small.shape[-1]
    large = F.interpolate(small, size=(size, size), mode="bicubic", align_corners=False)
    mask = large - _blurred(large, factor)
    # |grad(large + a mask)|^2 is a quadratic in a
    one, two, both, goal = (_energy(a, b) for a, b in ((large, large), (mask, mask), (large, mask), (wanted, wanted)))
    amount = (-both + math.sqrt(max(both * both + two * (goal - one), 0.0))) / max(two, 1e-12)
    sharp, reach = large + min(max(amount, 0.0), SHARPEST) * mask, math.ceil(factor)
    highest, lowest = (sign * F.max_pool2d(sign * large, 2 * reach + 1, 1, reach) for sign in (1, -1))
    return sharp.clamp(lowest, highest)


def _energy(a: Tensor, b: Tensor) -> float:
    """Mean product of the gradients."""
    across, down = a.diff(dim=-1) * b.diff(dim=-1), a.diff(dim=-2) * b.diff(dim=-2)
    return float(across.mean() + down.mean())


def _blurred(image: Tensor, sd: float) -> Tensor:
    """Gaussian of so many pixels, borders repeated; [V, C, S, S]."""
    reach = math.ceil(3 * sd)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sd) ** 2)
    weights = (weights / weights.sum()).to(image)
    padded = F.pad(image, (reach,) * 4, mode="replicate").flatten(0, 1)[:, None]
    smooth = F.conv2d(F.conv2d(padded, weights.reshape(1, 1, 1, -1)), weights.reshape(1, 1, -1, 1))
    return smooth[:, 0].unflatten(0, image.shape[:2])


def _head(views: ViewSet) -> Tensor:
    """[V, 1, S, S] in [0, 1], ones where alpha is unknown."""
    return torch.ones_like(views.rgb[:, :1], dtype=torch.float32) if views.alpha is None else views.alpha[:, None]


def _bytes(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255).byte()
