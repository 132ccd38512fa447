"""Depth as pictures: a 16-bit PNG that measures, and a colour-mapped preview to look at.

"Depth" in file names and options is the Euclidean distance from the camera centre along the ray, in world units
(one unit = the distance of the camera from the head). N views of H x W pixels.
"""

from __future__ import annotations

import numpy as np

UNITS_PER_LEVEL = 1 / 32768  # world units per 16-bit level: 0 to 2 units, the camera's radius in the middle
NOTES = {"Description": "distance along the ray = level / 32768 world units; level 0 = unknown"}

# Far to near, in equal steps: dark blue, purple, red, orange, yellow, pale. Lightness only ever rises.
_RAMP = np.array(
    [(13, 12, 58), (84, 24, 120), (166, 42, 112), (229, 92, 70), (251, 165, 58), (250, 250, 190)], dtype=np.float32
)


def depth16(distance: np.ndarray) -> np.ndarray:
    """float [N, H, W] world units => uint16: level = round(distance * 32768), saturated; not finite => 0."""
    known = np.nan_to_num(distance, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(np.round(known / UNITS_PER_LEVEL), 0, 65535).astype(np.uint16)


def depth_range(distance: np.ndarray, alpha: np.ndarray) -> tuple[float, float]:
    """(near, far) of a good preview: the 1st and 99th percentile over the head, at least 1e-3 apart.

    distance: float [N, H, W]; alpha: uint8 of the same shape. The head is where alpha is above one half; a picture
    with nothing in front of its background takes everything.
    """
    known = np.isfinite(distance)
    head = known & (alpha > 127)
    chosen = distance[head] if head.any() else distance[known]
    near, far = np.percentile(chosen, [1, 99]) if chosen.size else (0.0, 0.0)
    return float(near), float(max(far, near + 1e-3))


def depth_preview(distance: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """float [N, H, W] => uint8 [N, H, W, 3]: `near` is pale, `far` and beyond (or unknown) dark blue."""
    near, far = limits
    nearness = np.clip((far - np.nan_to_num(distance, nan=far)) / (far - near), 0, 1)
    stops = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(nearness, stops, _RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
