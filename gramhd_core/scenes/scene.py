"""What every scene can do, whatever it is made of: be looked at from a camera.

N batch, H x W image. A scene with one identity (N = 1) may be looked at by any number of cameras at once;
a scene of N identities is looked at by N cameras, item by item.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from gramhd_core.geometry.camera import Camera


class Rendering(NamedTuple):
    """One picture per camera.

    rgb: [N, 3, H, W], nominally in [-1, 1] (networks may overshoot; writers clip).
    alpha: [N, 1, H, W] in [0, 1], opacity of everything except the background.
    distance: [N, 1, H, W] expected Euclidean distance along the ray in world units, or None.
    """

    rgb: Tensor
    alpha: Tensor
    distance: Tensor | None


class Scene(Protocol):
    """A value: made once per identity, rendered any number of times."""

    def render(self, camera: Camera) -> Rendering:
        """Render every camera; image size is the camera's."""
        ...


class SolidScene(Scene, Protocol):
    """A scene that also knows its density in space."""

    def density(self, points: Tensor) -> Tensor:
        """Points [N, P, 3] in world units -> density [N, P, 1], non-negative, per world unit."""
        ...
