"""What colour a procedural head is: paint in the head's own coordinates, lit by a lamp that is fixed to the head.

Everything here is compiled (numba) and takes what `head_shapes.trace` found. Nothing depends on the camera: no specular
term, so a surface point has one colour from everywhere. Lengths in u = 0.0105 world units; colours are sRGB in [0, 1],
lit in (approximately) linear light. This file calls no compiled code of another file (see `head_shapes`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gramhd_core.data.head_identity import BROW_INNER, BROW_LENGTH, BROW_Y, MOUTH_Y, HeadIdentity
from gramhd_core.data.head_shapes import BACKGROUND, EYE, GLASSES, HAIR, LASH, SHIRT

_COLOURS = ("skin", "hair", "brow", "lips", "iris", "shirt", "glasses", "background")
_VECTORS = ("light", "eye")  # direction to the lamp; centre of the eyeball at x > 0
_BROW = ("brow_y", "brow_inner", "brow_length", "brow_thickness", "brow_arch", "brow_tilt")
_MOUTH = ("mouth_y", "mouth_half_width", "smile", "lip_upper", "lip_lower", "mouth_open")
_FACE = ("iris_radius", "nose_tip_y", "nose_half_width", "blush")  # iris: radians seen from the eyeball's centre
# Strength of the beard and half width of it below the mouth; hair painted on the scalp down to the hairline (buzz cut).
_SHORT_HAIR = ("beard", "beard_width", "stubble", "hairline")
_REST = (
    "key",
    "gradient",
    "stripes",
)  # strength of the lamp; background's brightening per u of height; shirt's contrast
PAINT = np.dtype(
    [(name, "f8", (3,)) for name in (*_COLOURS, *_VECTORS)]
    + [(name, "f8") for name in (*_BROW, *_MOUTH, *_FACE, *_SHORT_HAIR, *_REST)],
    align=True,
)


@njit(cache=True, nogil=True, inline="always")
def _step(edge, width, value):
    """0 below edge - width, 1 above edge + width, smooth between."""
    t = min(max((value - edge + width) / (2.0 * width), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True, inline="always")
def _mix(colour, other, amount):
    for i in range(3):
        colour[i] += amount * (other[i] - colour[i])


@njit(cache=True, nogil=True, inline="always")
def _scale(colour, factor):
    for i in range(3):
        colour[i] *= factor


@njit(cache=True, nogil=True)
def _paint_skin(h, x, y, z, colour):
    """Skin with blush, lips, brows, beard and nostrils at (x, y, z)."""
    ax = abs(x)
    colour[:] = h.skin
    if h.stubble > 0.0 and z < 5.5:
        edge = h.hairline - 0.35 * max(ax - 2.6, 0.0) ** 2
        scalp = _step(edge, 0.25, y) if z > 1.0 else _step(0.6 + 0.8 * z, 0.4, y)
        _mix(colour, h.hair, h.stubble * scalp)
    if z < 2.0 and h.beard == 0.0:
        return
    cheek = math.exp(-((ax - 2.8) ** 2 + (y + 2.0) ** 2) * 0.35) + 0.8 * math.exp(
        -(ax * ax + (y - h.nose_tip_y) ** 2) * 1.2
    )
    colour[0] *= 1.0 + 0.06 * h.blush * cheek
    colour[1] *= 1.0 - 0.16 * h.blush * cheek
    colour[2] *= 1.0 - 0.14 * h.blush * cheek
    if h.beard > 0.0 and z > -0.5:
        line = h.mouth_y + (0.95 - 0.9 * _step(2.2, 0.6, ax) + 1.6 * max(ax - 2.9, 0.0))
        beard = _step(-line, 0.25, -y) * _step(-h.beard_width, 0.3, -ax)
        beard *= _step(1.2 - 0.9 * (y + 6.5), 0.4, z + 2.0 * max(y + 6.5, 0.0))  # not on the neck
        _mix(colour, h.hair, h.beard * beard)
    if z < 2.0:
        return
    _paint_mouth(h, x, y, colour)
    u = (ax - h.brow_inner) / h.brow_length
    if -0.2 < u < 1.2:
        middle = h.brow_y + h.brow_tilt * (u - 0.5) + h.brow_arch * (1.0 - (2.0 * u - 1.1) ** 2)
        half = h.brow_thickness * (1.0 - 0.55 * u * u)
        brow = _step(-half, 0.1, -abs(y - middle)) * _step(0.0, 0.06, u) * _step(-1.0, 0.06, -u)
        _mix(colour, h.brow, 0.95 * brow)
    nostril = ((ax - 0.52 * h.nose_half_width) / 0.28) ** 2 + ((y - h.nose_tip_y + 0.62) / 0.17) ** 2
    if z > 5.0:
        _scale(colour, 1.0 - 0.7 * _step(-1.0, 0.5, -nostril))


@njit(cache=True, nogil=True)
def _paint_mouth(h, x, y, colour):
    u = x / h.mouth_half_width
    arch = 1.0 - u * u
    if arch <= 0.0 or abs(y - h.mouth_y) > 2.5:
        return
    m = y - h.mouth_y - h.smile * u * u
    top = h.lip_upper * arch * (1.0 - 0.28 * math.exp(-((x / 0.35) ** 2)))
    lower = -h.mouth_open * arch
    lips = _step(-top, 0.07, -m) * _step(lower - h.lip_lower * math.sqrt(arch), 0.07, m)
    _mix(colour, h.lips, lips)
    inside = _step(lower, 0.06, m) * _step(0.0, 0.06, -m)
    if h.mouth_open > 0.15:
        teeth = _step(lower * 0.8, 0.05, m)
        for i in range(3):
            colour[i] += inside * ((0.16 + teeth * (0.74 - 0.04 * i)) - colour[i])
    else:
        inside = _step(-0.09, 0.06, -abs(m))
    _scale(colour, 1.0 - (0.6 * inside if h.mouth_open <= 0.15 else 0.0))


@njit(cache=True, nogil=True)
def _paint_eye(h, x, y, z, colour):
    """White, iris, dark rim, pupil and a painted glint. The gaze is straight ahead of the head."""
    dx, dy, dz = abs(x) - h.eye[0], y - h.eye[1], z - h.eye[2]
    angle = math.atan2(math.sqrt(dx * dx + dy * dy), dz)
    colour[0], colour[1], colour[2] = 0.95, 0.94, 0.92
    iris = _step(-h.iris_radius, 0.03, -angle)
    _mix(colour, h.iris, iris)
    _scale(colour, 1.0 - 0.55 * iris * _step(h.iris_radius * 0.85, 0.06, angle))
    _scale(colour, 1.0 - 0.95 * _step(-0.45 * h.iris_radius, 0.04, -angle))
    glint = _step(
        -0.16,
        0.05,
        -math.sqrt((x - math.copysign(h.eye[0], x) - math.copysign(0.2, h.light[0])) ** 2 + (dy - 0.22) ** 2),
    )
    for i in range(3):
        colour[i] += 0.9 * glint * (1.0 - colour[i])


@njit(cache=True, nogil=True)
def _albedo(h, part, x, y, z, colour):
    if part == HAIR:
        colour[:] = h.hair
        around = math.atan2(abs(x), z + 1.0)
        strand = math.sin(29.0 * around + 1.5 * math.sin(0.6 * y)) + math.sin(
            47.0 * around + 2.0 * math.sin(0.9 * y + 1.0)
        )
        _scale(colour, 1.0 + 0.07 * strand)
    elif part == EYE:
        _paint_eye(h, x, y, z, colour)
    elif part == LASH:
        for i in range(3):
            colour[i] = 0.45 * h.brow[i] * h.brow[i] + 0.04
    elif part == SHIRT:
        colour[:] = h.shirt
        _scale(colour, 1.0 + h.stripes * _step(0.0, 0.3, math.sin(5.0 * y + 0.8 * z)))
    elif part == GLASSES:
        colour[:] = h.glasses
    else:
        _paint_skin(h, x, y, z, colour)


@njit(cache=True, nogil=True)
def _lit(h, p, surface, colour):
    """The colour of the surface point p, written into colour [3]."""
    part = int(surface[0])
    if part == BACKGROUND:
        for i in range(3):
            colour[i] = h.background[i] * (1.0 + h.gradient * min(max(p[1], -30.0), 30.0))
        return
    _albedo(h, part, p[0], p[1], p[2], colour)
    nx, ny, nz, openness = surface[1], surface[2], surface[3], surface[4]
    lamp = max((nx * h.light[0] + ny * h.light[1] + nz * h.light[2] + 0.25) / 1.25, 0.0)
    sky = 0.75 + 0.25 * ny
    power = (1.05 - h.key) * sky * (0.3 + 0.7 * openness) + h.key * 1.25 * lamp * (0.35 + 0.65 * openness)
    if part == EYE:
        power = 0.35 + 0.65 * power
    sheen = 0.0
    if part == HAIR:
        sheen = 0.10 * max(0.35 * h.light[0] * nx + 0.8 * ny + 0.5 * nz, 0.0) ** 6 * openness
    for i in range(3):
        c = max(colour[i], 0.0)
        colour[i] = math.sqrt(max(c * c * power + sheen * (0.3 + 0.7 * c), 0.0))


@njit(cache=True, nogil=True)
def shade(h, points, surfaces, image):
    """Colours the rays (points [R, R, 3], surfaces [R, R, 5]) and averages them into image uint8 [size, size, 3]."""
    size = image.shape[0]
    n = points.shape[0] // size
    colour, total = np.empty(3), np.empty(3)
    for row in range(size):
        for column in range(size):
            total[:] = 0.0
            for j in range(row * n, row * n + n):
                for i in range(column * n, column * n + n):
                    _lit(h, points[j, i], surfaces[j, i], colour)
                    for k in range(3):
                        total[k] += min(max(colour[k], 0.0), 1.0)
            for k in range(3):
                image[row, column, k] = np.uint8(255.0 * total[k] / (n * n) + 0.5)


def paint_of(h: HeadIdentity, shape: np.record) -> np.record:
    """The numbers of the painter."""
    p = np.zeros((), PAINT)
    skin = np.array(h.skin)
    p["skin"], p["hair"], p["iris"], p["shirt"], p["glasses"], p["background"] = (
        h.skin,
        h.hair,
        h.iris,
        h.shirt,
        h.glasses_colour,
        h.background,
    )
    p["brow"] = 0.5 * np.minimum(np.array(h.hair), 0.5) + 0.2 * skin * np.array([0.7, 0.55, 0.45])
    rose = np.array([0.70, 0.18, 0.22])
    p["lips"] = skin * np.array([0.81, 0.53, 0.52]) * (1 - 0.4 * h.lip_red) + 0.4 * h.lip_red * rose * (
        0.5 + 0.5 * skin.mean()
    )
    p["light"] = (
        math.sin(h.light_yaw) * math.cos(h.light_pitch),
        math.sin(h.light_pitch),
        math.cos(h.light_yaw) * math.cos(h.light_pitch),
    )
    p["key"], p["gradient"] = h.light_key, h.background_gradient
    p["eye"], p["iris_radius"] = shape["eye"], h.iris_size
    p["brow_y"], p["brow_inner"], p["brow_length"] = BROW_Y + h.brow_y, BROW_INNER, BROW_LENGTH * h.head_width
    p["brow_thickness"], p["brow_arch"], p["brow_tilt"] = h.brow_thickness, h.brow_arch, h.brow_tilt
    p["mouth_y"], p["mouth_half_width"], p["smile"], p["mouth_open"] = (
        MOUTH_Y,
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
