"""Who a procedural head is: every number of one head, drawn from a seed.

Lengths of a head are in u = 0.0105 world units (the published camera sees +-10 u), angles in radians, colours sRGB in
[0, 1]. Palettes are natural and backgrounds muted: random neon colours do not train a GAN.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]

SKIN_TONES = [
    (0.96, 0.82, 0.74),
    (0.93, 0.76, 0.66),
    (0.88, 0.69, 0.56),
    (0.79, 0.59, 0.45),
    (0.66, 0.47, 0.34),
    (0.51, 0.35, 0.25),
    (0.38, 0.26, 0.19),
]
HAIR_TONES = [
    (0.09, 0.08, 0.09),
    (0.17, 0.11, 0.08),
    (0.29, 0.18, 0.11),
    (0.43, 0.28, 0.16),
    (0.80, 0.64, 0.38),
    (0.90, 0.80, 0.58),
    (0.62, 0.27, 0.12),
    (0.66, 0.65, 0.64),
]
IRIS_TONES = [
    (0.16, 0.09, 0.05),
    (0.26, 0.15, 0.07),
    (0.34, 0.23, 0.10),
    (0.34, 0.37, 0.16),
    (0.20, 0.40, 0.28),
    (0.18, 0.38, 0.60),
    (0.36, 0.44, 0.50),
]
SHIRT_TONES = [
    (0.85, 0.84, 0.82),
    (0.20, 0.22, 0.26),
    (0.26, 0.34, 0.50),
    (0.50, 0.24, 0.24),
    (0.32, 0.44, 0.36),
    (0.58, 0.50, 0.40),
    (0.46, 0.40, 0.52),
]
BACKGROUND_TONES = [
    (0.78, 0.77, 0.75),
    (0.62, 0.68, 0.74),
    (0.60, 0.66, 0.58),
    (0.74, 0.66, 0.56),
    (0.45, 0.48, 0.53),
    (0.70, 0.62, 0.62),
    (0.36, 0.38, 0.38),
    (0.88, 0.87, 0.86),
]
GLASSES_TONES = [(0.08, 0.08, 0.09), (0.30, 0.17, 0.10), (0.50, 0.10, 0.12), (0.16, 0.22, 0.36)]


BROW_Y, BROW_INNER, BROW_LENGTH, MOUTH_Y = 1.75, 0.75, 2.7, -4.2  # of the average head


class HairStyle(NamedTuple):
    """A haircut; lengths in u. Thicknesses are over the skull; the window is the opening for the face."""

    top: float
    side: float
    back: float
    hairline: float
    window_width: float
    window_round: float
    window_back: float
    rim: float
    rim_slope: float
    curtain: float = 0.0  # y of the lowest end of long hair; 0: none
    bun: float = 0.0  # radius
    curl: float = 0.0
    crown_cut: float = 99.0
    weight: float = 1.0


HAIR_STYLES = {
    "short": HairStyle(0.9, 0.35, 0.4, 5.2, 4.5, 2.6, 0.2, 1.4, 0.8, weight=1.6),
    "quiff": HairStyle(1.8, 0.3, 0.4, 5.6, 4.4, 1.8, 0.2, 1.4, 0.8),
    "fringe": HairStyle(1.0, 0.7, 0.8, 2.9, 4.3, 0.9, 0.6, 0.4, 0.7),
    "bob": HairStyle(1.1, 1.2, 1.2, 4.9, 4.0, 3.6, 1.2, -5.6, 0.0, curtain=-6.2, weight=1.2),
    "fringed bob": HairStyle(1.1, 1.2, 1.2, 2.8, 3.9, 0.9, 1.2, -5.0, 0.0, curtain=-5.6),
    "long": HairStyle(1.0, 0.9, 1.0, 5.1, 4.1, 3.8, 0.8, -12.0, 0.0, curtain=-11.5, weight=1.5),
    "tied back": HairStyle(0.6, 0.2, 0.5, 5.2, 4.5, 2.8, -0.6, 0.6, 0.7, bun=2.0),
    "afro": HairStyle(2.0, 2.3, 2.2, 4.9, 4.3, 2.2, 0.4, -1.2, 0.5, curl=0.16),
    "curls": HairStyle(1.5, 1.6, 1.6, 4.2, 4.0, 2.6, 0.8, -5.4, 0.0, curtain=-6.0, curl=0.22),
    "crop": HairStyle(0.45, 0.25, 0.25, 5.0, 4.5, 2.2, 0.0, 1.2, 0.8, curl=0.06),
    "half bald": HairStyle(0.6, 0.5, 0.5, 9.0, 4.9, 3.0, -0.5, 1.0, 0.7, crown_cut=4.2, weight=0.5),
    "buzz": HairStyle(0.0, 0.0, 0.0, 5.0, 4.5, 2.6, 0.0, 0.0, 0.0, weight=0.7),
    "bald": HairStyle(0.0, 0.0, 0.0, 5.0, 4.5, 2.6, 0.0, 0.0, 0.0, weight=0.5),
}


def _between(low: float, high: float) -> float:
    """A number of the head drawn uniformly; the default is the middle."""
    return dataclasses.field(default=(low + high) / 2, metadata={"range": (low, high)})


def _tone(palette: list[Colour], spread: float = 0.03) -> Colour:
    """A colour drawn between two neighbours of a palette; the default is its first."""
    return dataclasses.field(default=palette[0], metadata={"palette": palette, "spread": spread})


@dataclass(frozen=True)
class HeadIdentity:
    """Every number of one head. Factors multiply the average head; the others are in u, radians or [0, 1]."""

    head_width: float = _between(0.92, 1.07)
    head_height: float = _between(0.95, 1.04)
    head_depth: float = _between(0.95, 1.05)
    jaw_width: float = _between(0.75, 1.2)
    chin: float = _between(0.8, 1.25)
    chin_drop: float = _between(-0.5, 0.35)
    cheeks: float = _between(0.85, 1.2)
    brow_ridge: float = _between(-0.2, 0.35)
    nose_length: float = _between(-0.35, 0.35)
    nose_width: float = _between(0.8, 1.35)
    nose_height: float = _between(-0.35, 0.35)
    ear_size: float = _between(0.85, 1.25)
    ear_angle: float = _between(-0.15, 0.35)
    neck_width: float = _between(0.85, 1.2)
    shoulder_y: float = _between(-0.6, 0.5)
    eye_distance: float = _between(2.0, 2.35)
    eye_width: float = _between(1.22, 1.5)
    eye_upper: float = _between(0.55, 0.9)
    eye_lower: float = _between(0.35, 0.55)
    eye_tilt: float = _between(-0.08, 0.16)
    iris_size: float = _between(0.5, 0.6)
    brow_y: float = _between(0.0, 0.55)
    brow_thickness: float = _between(0.25, 0.5)
    brow_arch: float = _between(0.05, 0.45)
    brow_tilt: float = _between(-0.25, 0.35)
    mouth_width: float = _between(1.5, 2.15)
    lip_upper: float = _between(0.35, 0.65)
    lip_lower: float = _between(0.45, 0.85)
    smile: float = _between(-0.1, 0.45)
    mouth_open: float = _between(-0.9, 0.6)
    blush: float = _between(0.1, 0.7)
    beard: float = 0.0
    beard_width: float = 4.4
    hair_top: float = 0.9
    hair_side: float = 0.35
    hair_back: float = 0.4
    hairline: float = 5.2
    window_width: float = 4.5
    window_round: float = 2.6
    window_back: float = 0.2
    rim: float = 1.4
    rim_slope: float = 0.8
    curtain: float = 0.0
    bun: float = 0.0
    curl: float = 0.0
    crown_cut: float = 99.0
    stubble: float = 0.0
    part: float = 0.0
    glasses: float = 0.0
    glasses_square: float = 0.0
    glasses_size: float = _between(1.65, 1.95)
    stripes: float = 0.0
    neckline: float = _between(-9.6, -8.6)
    collar_slope: float = _between(0.15, 0.7)
    light_yaw: float = _between(-0.7, 0.7)
    light_pitch: float = _between(0.35, 0.8)
    light_key: float = _between(0.5, 0.75)
    background_gradient: float = _between(-0.006, 0.012)
    skin: Colour = _tone(SKIN_TONES)
    hair: Colour = _tone(HAIR_TONES)
    iris: Colour = _tone(IRIS_TONES)
    shirt: Colour = _tone(SHIRT_TONES, 0.06)
    glasses_colour: Colour = _tone(GLASSES_TONES)
    background: Colour = _tone(BACKGROUND_TONES, 0.05)
    lip_red: float = _between(0.0, 1.0)

    @staticmethod
    def from_seed(seed: int) -> HeadIdentity:
        """Head number `seed` of the data set, any integer >= 0."""
        rng = np.random.default_rng([seed, 68])
        drawn: dict[str, float | Colour] = {}
        for field in dataclasses.fields(HeadIdentity):
            if "range" in field.metadata:
                drawn[field.name] = float(rng.uniform(*field.metadata["range"]))
            elif "palette" in field.metadata:
                drawn[field.name] = _draw_tone(rng, field.metadata["palette"], field.metadata["spread"])
        drawn |= _draw_hair(rng)
        if rng.random() < 0.22:
            drawn |= {"glasses": 1.0, "glasses_square": float(rng.random() < 0.5)}
        if rng.random() < 0.3 and drawn["curtain"] == 0.0 and drawn["bun"] == 0.0:
            drawn |= {"beard": float(rng.choice([0.35, 0.85, 0.95])), "beard_width": float(rng.choice([1.7, 4.4, 4.4]))}
        if rng.random() < 0.25:
            drawn["stripes"] = float(rng.uniform(-0.35, 0.35))
        skin = np.array(drawn["skin"])
        if skin.mean() < 0.5 and np.mean(drawn["hair"]) > 0.22:  # dark skin rarely goes with fair hair
            drawn["hair"] = _draw_tone(rng, HAIR_TONES[:3], 0.02)
        return HeadIdentity(**drawn)  # type: ignore[arg-type]

    def attributes(self) -> dict[str, float]:
        """Every number by name; colours as name_r, name_g, name_b."""
        flat: dict[str, float] = {}
        for name, value in dataclasses.asdict(self).items():
            flat |= (
                {f"{name}_{c}": v for c, v in zip("rgb", value, strict=True)}
                if isinstance(value, tuple)
                else {name: value}
            )
        return flat

    def mirrored(self) -> HeadIdentity:
        """The same head with parting and lamp on the other side."""
        return dataclasses.replace(self, part=-self.part, light_yaw=-self.light_yaw)


def _draw_tone(rng: np.random.Generator, palette: list[Colour], spread: float) -> Colour:
    first = int(rng.integers(len(palette)))
    near = max(0, min(len(palette) - 1, first + int(rng.integers(-1, 2))))
    base = np.array(palette[first]) + rng.uniform(0, 0.4) * (np.array(palette[near]) - palette[first])
    red, green, blue = np.clip(
        base * (1 + spread * rng.standard_normal()) + 0.25 * spread * rng.standard_normal(3), 0.03, 0.98
    )
    return float(red), float(green), float(blue)


def _draw_hair(rng: np.random.Generator) -> dict[str, float]:
    names = list(HAIR_STYLES)
    weights = np.array([HAIR_STYLES[name].weight for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    style = HAIR_STYLES[name]
    volume = float(rng.uniform(0.8, 1.25))
    drawn = {
        "hair_top": style.top * volume,
        "hair_side": style.side * volume,
        "hair_back": style.back * volume,
        "hairline": style.hairline + float(rng.uniform(-0.3, 0.4)),
        "window_width": style.window_width + float(rng.uniform(-0.2, 0.15)),
        "window_round": style.window_round * float(rng.uniform(0.8, 1.25)),
        "window_back": style.window_back,
        "rim": style.rim + float(rng.uniform(-0.5, 0.4)),
        "rim_slope": style.rim_slope,
        "curtain": style.curtain + (float(rng.uniform(-0.6, 1.0)) if style.curtain else 0.0),
        "bun": style.bun * float(rng.uniform(0.8, 1.2)),
        "curl": style.curl * float(rng.uniform(0.8, 1.2)),
        "crown_cut": style.crown_cut,
        "stubble": 0.75 if name == "buzz" else 0.0,
    }
    drawn["part"] = float(rng.uniform(-0.45, 0.45)) if name in ("short", "quiff", "bob", "long", "fringe") else 0.0
    return drawn
