"""Procedural heads: the built-in data set whose camera, depth, landmarks and identity are known exactly.

A `HeadIdentity` is every number of one head; `render_head` looks at it. Same seed, same bytes. Heads are mirror images of
themselves except for the side parting of the hair (`part`), the lamp (`light_yaw`) and the strands and curls of the hair.
Lengths of a head are in u = 0.0105 world units (the image shows +-10 u); angles in radians; colours sRGB in [0, 1].
H x W is the image size. Landmarks follow iBUG 68: 0 is the jaw at the subject's right ear, the left side of the image.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data import head_shading, head_shapes
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.geometry.camera import Camera, CameraPrior

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
HAIR_TONES = [(0.09, 0.08, 0.09), (0.17, 0.11, 0.08), (0.29, 0.18, 0.11), (0.43, 0.28, 0.16), (0.80, 0.64, 0.38), (0.90, 0.80, 0.58), (0.62, 0.27, 0.12), (0.66, 0.65, 0.64)]  # fmt: skip
IRIS_TONES = [
    (0.30, 0.18, 0.10),
    (0.42, 0.28, 0.14),
    (0.45, 0.47, 0.24),
    (0.30, 0.50, 0.36),
    (0.28, 0.48, 0.68),
    (0.48, 0.55, 0.60),
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
BACKGROUND_TONES = [(0.78, 0.77, 0.75), (0.62, 0.68, 0.74), (0.60, 0.66, 0.58), (0.74, 0.66, 0.56), (0.45, 0.48, 0.53), (0.70, 0.62, 0.62), (0.36, 0.38, 0.38), (0.88, 0.87, 0.86)]  # fmt: skip
GLASSES_TONES = [(0.08, 0.08, 0.09), (0.30, 0.17, 0.10), (0.50, 0.10, 0.12), (0.16, 0.22, 0.36)]


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
    jaw_width: float = _between(0.75, 1.15)
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
    eye_distance: float = _between(1.95, 2.3)
    eye_width: float = _between(1.15, 1.42)
    eye_upper: float = _between(0.5, 0.85)
    eye_lower: float = _between(0.3, 0.5)
    eye_tilt: float = _between(-0.08, 0.16)
    iris_size: float = _between(0.44, 0.54)
    brow_y: float = _between(-0.2, 0.45)
    brow_thickness: float = _between(0.18, 0.42)
    brow_arch: float = _between(0.05, 0.45)
    brow_tilt: float = _between(-0.25, 0.35)
    mouth_width: float = _between(1.45, 2.1)
    lip_upper: float = _between(0.3, 0.6)
    lip_lower: float = _between(0.4, 0.75)
    smile: float = _between(-0.1, 0.45)
    mouth_open: float = _between(-0.9, 0.6)
    blush: float = _between(0.2, 1.0)
    beard: float = 0.0
    beard_width: float = 9.0
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
            drawn |= {"beard": float(rng.choice([0.35, 0.85, 0.95])), "beard_width": float(rng.choice([1.7, 9.0, 9.0]))}
        if rng.random() < 0.25:
            drawn["stripes"] = float(rng.uniform(-0.35, 0.35))
        skin = np.array(drawn["skin"])
        if skin.mean() < 0.5 and np.mean(drawn["hair"]) > 0.3:  # dark skin rarely goes with fair hair
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


class HeadView(NamedTuple):
    """One look at one head, with everything that is true about it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    distance: NDArray[np.float32]  # [H, W] along the ray of the pixel's centre to head or background plane, world units
    mask: NDArray[np.bool_]  # [H, W] the pixel's centre shows the head, neck or shirt
    landmarks_2d: NDArray[np.float32]  # [68, 2] pixels, x right, y down, the first pixel's centre is 0.5, 0.5
    landmarks_3d: NDArray[np.float32]  # [68, 3] world
    visible: NDArray[np.bool_]  # [68] inside the image and hidden by nothing


class HeadItem(NamedTuple):
    """Item number `seed` of the data set."""

    view: HeadView
    identity: HeadIdentity
    camera: Camera
    pitch: float
    yaw: float


def head_and_camera(seed: int, prior: CameraPrior | None = None, *, size: int) -> tuple[HeadIdentity, Camera]:
    """Who item number `seed` is and where it is seen from; the camera is drawn from `prior` (default: the FFHQ prior)."""
    rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 12]).generate_state(1, np.uint64)[0] >> 1))
    return HeadIdentity.from_seed(seed), (prior or CameraPrior()).sample(1, rng, size=size)


def render_item(seed: int, *, size: int, prior: CameraPrior | None = None, supersample: int = 2) -> HeadItem:
    """Item number `seed` of the data set: same seed, same bytes."""
    identity, camera = head_and_camera(seed, prior, size=size)
    view = render_head(identity, camera, supersample=supersample)
    return HeadItem(view, identity, camera, float(camera.pitch[0]), float(camera.yaw[0]))


def render_head(identity: HeadIdentity, camera: Camera, *, supersample: int = 2) -> HeadView:
    """Look at a head with one camera (N = 1, square); supersample^2 rays per pixel make the colours."""
    assert len(camera) == 1 and camera.height == camera.width, "one square camera at a time"
    size, shape = camera.width, _shape(identity)
    pose = camera.world_from_camera[0].double().cpu().numpy()
    frame = np.zeros((3, 5))
    frame[:, :4] = pose[:3]
    frame[:, 3] /= WORLD_PER_U
    frame[0, 4] = math.tan(math.radians(float(camera.fov_degrees[0])) / 2)
    rays = size * supersample
    points, surfaces = np.empty((rays, rays, 3)), np.zeros((rays, rays, 5))
    distances, parts = np.empty((size, size)), np.empty((size, size), np.int64)
    head_shapes.trace(shape, frame, supersample, points, surfaces, distances, parts)
    image = np.empty((size, size, 3), np.uint8)
    head_shading.shade(_paint(identity, shape), points, surfaces, image)
    landmarks = _landmarks(identity, shape)
    pixels = (
        camera.project(torch.from_numpy(landmarks * WORLD_PER_U).float()[None].to(camera.fov_degrees.device))[0]
        .cpu()
        .numpy()
    )
    reached = np.empty(68)
    origins = np.repeat(frame[None, :, 3], 68, axis=0)
    head_shapes.cast(shape, origins, landmarks, False, reached)
    seen = reached > np.linalg.norm(landmarks - origins, axis=1) - 0.1
    inside = ((pixels > 0) & (pixels < size)).all(axis=1)
    return HeadView(
        image,
        (distances * WORLD_PER_U).astype(np.float32),
        parts != head_shapes.BACKGROUND,
        pixels.astype(np.float32),
        (landmarks * WORLD_PER_U).astype(np.float32),
        seen & inside,
    )


def _eye_centre(h: HeadIdentity) -> tuple[float, float, float]:
    return h.eye_distance * h.head_width, 0.3, 4.15 * h.head_depth


def _row(
    x: float, y: float, z: float, rx: float, ry: float, rz: float, shear: float, blend: float
) -> tuple[float, ...]:
    """A row of `blobs`: centre, radii, shear and blend width of an ellipsoid."""
    return x, y, z, 1 / rx, 1 / ry, 1 / rz, shear, blend, 0.25 / blend, max(rx, ry, rz) * (1 + abs(shear)) + blend


def _ball(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and radius of a ball that holds the reach of every row."""
    centre = np.array([0.0, -2.0, 4.0])
    return np.append(centre, (np.linalg.norm(rows[:, :3] - centre, axis=1) + rows[:, 9]).max())


def _shape(h: HeadIdentity) -> np.record:
    """The numbers of the signed distance function."""
    w, t, d = h.head_width, h.head_height, h.head_depth
    chin = -6.1 * t - h.chin_drop
    nose, nose_z = -2.1 - h.nose_length, h.nose_height
    jaw = w * h.jaw_width
    s = np.zeros((), head_shapes.SHAPE)
    head = [
        (0, 2.2 * t, -0.6, 5.1 * w, 5.7 * t, 5.9 * d, 0, 0.5),  # skull
        (0, -1.5, 0.6, 4.5 * w, 5.7 * t, 5.1 * d, 0, 1.0),
        (0, 5.0 * t, 1.0, 3.6, 2.0, 3.9 * d, 0, 1.0),  # forehead
        (2.5 * jaw, -4.4 * t, 1.4, 1.7, 2.2, 2.6, 0, 1.5),
        (5.0 * w + h.ear_angle, -0.2, -0.7, 0.5, 1.6 * h.ear_size, 0.95 * h.ear_size, -0.2, 0.3),
        (4.95 * w, -0.4, -0.1, 0.6, 1.0, 0.6, 0, 0.4),  # where the ear begins
        (0, -8.5, -1.8, 3.0 * h.neck_width, 8.0, 3.1 * h.neck_width, 0.1, 0.8),  # neck
        (0, -13.6 + h.shoulder_y, -1.9, 9.5, 4.0, 3.9, 0, 2.0),  # chest
    ]
    face = [
        (0, chin, 4.0, 1.6 * h.chin, 1.1, 1.2, 0, 1.2),
        (2.6 * w, -1.7, 3.6, 1.7 * h.cheeks, 1.7, 1.6 * h.cheeks, 0, 1.0),
        (1.9 * w, 1.85, 4.2, 2.0, 0.6, 1.0 + h.brow_ridge, 0, 0.8),  # brow ridge
        (0, -4.0, 4.2, 2.2, 1.9, 1.5, 0, 1.0),  # muzzle
        (
            0,
            -0.6 - 0.5 * h.nose_length,
            5.7 + 0.5 * nose_z,
            0.62,
            2.3 + 0.5 * h.nose_length,
            0.85,
            -0.42,
            0.7,
        ),  # bridge
        (0, nose, 6.65 + nose_z, 0.75 * h.nose_width, 0.68, 0.85, 0, 0.4),  # tip
        (0.78 * h.nose_width, nose - 0.2, 5.95 + 0.5 * nose_z, 0.5 * h.nose_width, 0.5, 0.65, 0, 0.3),  # wings
        (0, -4.15 + 0.5 * h.lip_upper, 5.35, 0.85 * h.mouth_width, 0.75 * h.lip_upper + 0.1, 0.6, 0, 0.25),
        (
            0,
            -4.25 - 0.6 * h.lip_lower - max(h.mouth_open, 0),
            5.3,
            0.75 * h.mouth_width,
            0.6 * h.lip_lower + 0.1,
            0.62,
            0,
            0.25,
        ),
    ]
    thick = (5.1 * w + h.hair_side, 5.7 * t + h.hair_top, 5.9 * d + h.hair_back)
    drop = -h.curtain
    nothing = (0, 0, -60, 0.1, 0.1, 0.1, 0, 0.1)
    hair = [
        (0, 2.2 * t, -0.8, *thick, 0, 0.5),
        (thick[0] - 1.5, 1.5 - drop / 2, -0.6, 1.7 + 0.4 * h.hair_side, 2.5 + drop / 2, 2.9, 0, 1.5)
        if drop
        else nothing,
        (0, 1.5 - drop / 2, -3.0, thick[0] - 0.4, 2.5 + drop / 2, 3.4, 0, 1.5) if drop else nothing,
        (0, 8.6 * t, -3.4, h.bun, 0.9 * h.bun, h.bun, 0, 0.4) if h.bun else nothing,
        (0, 6.0 * t, 2.6, 3.6, 2.0 + 0.8 * h.hair_top, 2.6, 0, 1.0) if h.hair_top > 1.2 and not h.curl else nothing,
    ]
    shirt = [
        (0, -13.3 + h.shoulder_y, -1.9, 11.5, 4.2, 4.3, 0, 0.5),
        (0, -11.5 + h.shoulder_y, -2.0, 6.5, 3.4, 3.7, 0, 2.0),
    ]
    socket = (h.eye_distance * w, 0.3, 6.2 * d, 1.7, 1.15, 0.9, 0, 0.5)
    s["blobs"] = [_row(*blob) for blob in (*head, *face, *hair, *shirt, socket)]
    s["face_ball"] = _ball(s["blobs"][head_shapes.FACE_ROWS[0] : head_shapes.FACE_ROWS[1]])
    s["eye"] = _eye_centre(h)
    s["eye_radius"] = 1.42
    s["eye_half_width"], s["eye_upper"], s["eye_lower"], s["eye_tilt"] = (
        h.eye_width,
        h.eye_upper,
        h.eye_lower,
        h.eye_tilt,
    )
    s["hair_on"] = float(h.hair_top > 0)
    for name in ("hairline", "window_width", "window_round", "window_back", "rim", "rim_slope", "crown_cut", "curl"):
        s[name] = getattr(h, name)
    s["window_slope"] = h.part
    s["curl_frequency"] = 2.4
    s["glasses_on"], s["glasses_radius"], s["glasses_square"] = h.glasses, h.glasses_size, h.glasses_square
    s["neckline"], s["collar_slope"] = h.neckline + h.shoulder_y, h.collar_slope
    return s.reshape(1)[0]


def _paint(h: HeadIdentity, shape: np.record) -> np.record:
    """The numbers of the painter."""
    p = np.zeros((), head_shading.PAINT)
    skin = np.array(h.skin)
    p["skin"], p["hair"], p["iris"], p["shirt"], p["glasses"], p["background"] = (
        h.skin,
        h.hair,
        h.iris,
        h.shirt,
        h.glasses_colour,
        h.background,
    )
    p["brow"] = 0.75 * np.minimum(np.array(h.hair), 0.6) + 0.02
    rose = np.array([0.72, 0.26, 0.28])
    p["lips"] = skin * np.array([0.86, 0.62, 0.62]) * (1 - 0.45 * h.lip_red) + 0.45 * h.lip_red * rose * (
        0.5 + 0.5 * skin.mean()
    )
    p["light"] = (
        math.sin(h.light_yaw) * math.cos(h.light_pitch),
        math.sin(h.light_pitch),
        math.cos(h.light_yaw) * math.cos(h.light_pitch),
    )
    p["key"], p["gradient"] = h.light_key, h.background_gradient
    p["eye"], p["iris_radius"] = shape["eye"], h.iris_size
    p["brow_y"], p["brow_inner"], p["brow_length"] = 1.75 + h.brow_y, 0.75, 2.9 * h.head_width
    p["brow_thickness"], p["brow_arch"], p["brow_tilt"] = h.brow_thickness, h.brow_arch, h.brow_tilt
    p["mouth_y"], p["mouth_half_width"], p["smile"], p["mouth_open"] = (
        _MOUTH_Y,
        h.mouth_width,
        h.smile,
        max(h.mouth_open, 0),
    )
    p["lip_upper"], p["lip_lower"] = h.lip_upper, h.lip_lower
    p["nose_tip_y"], p["nose_half_width"], p["blush"] = -2.1 - h.nose_length, h.nose_width, h.blush
    p["beard"], p["beard_width"], p["stubble"], p["hairline"], p["stripes"] = (
        h.beard,
        h.beard_width,
        h.stubble,
        h.hairline,
        h.stripes,
    )
    return p.reshape(1)[0]


_MOUTH_Y = -4.2


def _landmarks(h: HeadIdentity, shape: np.record) -> NDArray[np.float64]:
    """[68, 3] iBUG landmarks on the skin, u."""
    frontal = _frontal_landmarks(h)  # x, y of landmarks 17..67: met by rays along -z
    angles = np.linspace(0.0, math.pi, 17)  # jaw: rays towards an axis inside the head, from ear to chin to ear
    outward = np.stack([-np.cos(angles), -np.sin(angles), np.zeros(17)], axis=1)
    axis = np.stack([np.zeros(17), np.full(17, -1.0), -0.2 + 4.4 * np.sin(angles) ** 1.5], axis=1)
    origins = np.concatenate([axis + 14 * outward, np.column_stack([frontal, np.full(51, 12.0)])])
    targets = np.concatenate([axis, np.column_stack([frontal, np.zeros(51)])])
    distances = np.empty(68)
    head_shapes.cast(shape, origins, targets, True, distances)
    direction = targets - origins
    return origins + distances[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def _frontal_landmarks(h: HeadIdentity) -> NDArray[np.float64]:
    """x, y [51, 2] of brows, nose, eyes and mouth."""
    along = np.linspace(1.0, 0.0, 5)
    brow_x = 0.75 + 2.9 * h.head_width * along
    brow_y = 1.75 + h.brow_y + h.brow_tilt * (along - 0.5) + h.brow_arch * (1 - (2 * along - 1.1) ** 2)
    brow = np.stack([-brow_x, brow_y], axis=1)
    tip = -2.1 - h.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(0.7, tip, 4)], axis=1)
    across = np.array([-0.95, -0.5, 0.0, 0.5, 0.95])
    base = np.stack([h.nose_width * across, tip - np.array([0.55, 0.7, 0.8, 0.7, 0.55])], axis=1)
    centre = _eye_centre(h)
    u = np.array([1.0, 0.4, -0.4, -1.0, -0.4, 0.4]) * h.eye_width
    arch = 1 - (u / h.eye_width) ** 2
    v = (
        h.eye_tilt * u
        + arch * np.array([0, 1, 1, 0, 0, 0]) * h.eye_upper
        - arch * np.array([0, 0, 0, 0, 1, 1]) * h.eye_lower
    )
    eye = np.stack([-centre[0] - u, centre[1] + v], axis=1)
    flip = np.array([-1.0, 1.0])
    m = np.array(
        [-1, -0.65, -0.25, 0, 0.25, 0.65, 1, 0.65, 0.3, 0, -0.3, -0.65, -0.85, -0.3, 0, 0.3, 0.85, 0.3, 0, -0.3]
    )
    arch = 1 - m**2
    opening = max(h.mouth_open, 0)
    outer = h.lip_upper * arch * (1 - 0.28 * np.exp(-((m * h.mouth_width / 0.35) ** 2)))
    lower = -opening * arch - h.lip_lower * np.sqrt(arch)
    which = np.array([0] * 7 + [1] * 5 + [2] * 5 + [3] * 3)
    y = np.choose(which, [outer, lower, np.zeros(20), -opening * arch])
    mouth = np.stack([m * h.mouth_width, _MOUTH_Y + h.smile * m**2 + y], axis=1)
    return np.concatenate([brow, (brow * flip)[::-1], bridge, base, eye, (eye * flip)[[3, 2, 1, 0, 5, 4]], mouth])
