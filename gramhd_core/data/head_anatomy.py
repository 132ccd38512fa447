"""From an identity to the numbers of its surface, and the landmarks on it. Lengths in u (see `head_shapes`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data import head_shapes
from gramhd_core.data.head_identity import BROW_INNER, BROW_LENGTH, BROW_Y, MOUTH_Y, HeadIdentity


def _eye_centre(h: HeadIdentity) -> tuple[float, float, float]:
    return h.eye_distance * h.head_width, 0.3, 4.15 * h.head_depth


def _row(blob: tuple[float, ...]) -> tuple[float, ...]:
    """A row of `blobs`: centre, radii, shear and blend width of an ellipsoid."""
    x, y, z, rx, ry, rz, shear, blend = blob
    return x, y, z, 1 / rx, 1 / ry, 1 / rz, shear, blend, 0.25 / blend, max(rx, ry, rz) * (1 + abs(shear)) + blend


def _ball(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and radius of a ball that holds the reach of every row."""
    centre = np.array([0.0, -2.0, 4.0])
    return np.append(centre, (np.linalg.norm(rows[:, :3] - centre, axis=1) + rows[:, 9]).max())


def shape_of(h: HeadIdentity) -> np.record:
    """The numbers of the signed distance function."""
    w, t, d = h.head_width, h.head_height, h.head_depth
    chin = -6.1 * t - h.chin_drop
    nose, nose_z = -2.1 - h.nose_length, h.nose_height
    jaw = w * h.jaw_width
    s = np.zeros((), head_shapes.SHAPE)
    head = [
        (0, 2.2 * t, -0.6, 5.1 * w, 5.7 * t, 5.9 * d, 0, 0.5),  # skull
        (0, -1.5, 0.6, 4.5 * w, 5.7 * t, 5.1 * d, 0, 1.0),
        (0, 4.5 * t, 0.8, 3.4, 1.9, 3.9 * d, 0, 0.8),  # forehead
        (2.15 * jaw, -4.3 * t, 1.6, 1.9, 2.3, 2.6, 0.2, 2.0),
        (5.0 * w + h.ear_angle, -0.2, -0.7, 0.5, 1.6 * h.ear_size, 0.95 * h.ear_size, -0.2, 0.3),
        (4.95 * w, -0.4, -0.1, 0.6, 1.0, 0.6, 0, 0.4),  # where the ear begins
        (0, -8.5, -1.8, 2.75 * h.neck_width, 8.0, 2.9 * h.neck_width, 0.1, 0.8),  # neck
        (0, -13.6 + h.shoulder_y, -1.9, 9.5, 4.0, 3.9, 0, 2.0),  # chest
    ]
    face = [
        (0, chin, 4.0, 1.6 * h.chin, 1.1, 1.2, 0, 1.2),
        (2.45 * w, -1.5, 3.4, 1.75 * h.cheeks, 1.6, 1.7 * h.cheeks, 0, 1.8),
        (1.6 * w, 1.85, 4.0, 1.9, 0.65, 1.1 + h.brow_ridge, 0, 1.4),  # brow ridge
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
        (0, -4.15 + 0.5 * h.lip_upper, 5.35, 0.85 * h.mouth_width, 0.75 * h.lip_upper + 0.1, 0.6, 0, 0.4),
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
        (0, 7.8 * t, -3.8, h.bun, 0.9 * h.bun, h.bun, 0, 0.4) if h.bun else nothing,
        (0, 6.0 * t, 2.6, 3.6, 2.0 + 0.8 * h.hair_top, 2.6, 0, 1.0) if h.hair_top > 1.2 and not h.curl else nothing,
    ]
    shirt = [
        (0, -13.3 + h.shoulder_y, -1.9, 11.5, 4.2, 4.3, 0, 0.5),
        (0, -11.5 + h.shoulder_y, -2.0, 6.5, 3.4, 3.7, 0, 2.0),
    ]
    socket = (h.eye_distance * w, 0.3, 6.2 * d, 1.7, 1.15, 0.9, 0, 0.5)
    s["blobs"] = [_row(blob) for blob in (*head, *face, *hair, *shirt, socket)]
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


def landmarks_of(h: HeadIdentity, shape: np.record) -> NDArray[np.float64]:
    """[68, 3] iBUG landmarks on the skin, u."""
    frontal = _frontal_landmarks(h)  # x, y of landmarks 17..67: met by rays along -z
    angles = np.linspace(0.0, math.pi, 17)  # jaw: rays towards an axis inside the head, from ear to chin to ear
    outward = np.stack([-np.cos(angles), -np.sin(angles), np.zeros(17)], axis=1)
    axis = np.stack([np.zeros(17), np.full(17, -1.2), 0.9 + 3.5 * np.sin(angles) ** 3], axis=1)
    origins = np.concatenate([axis + 14 * outward, np.column_stack([frontal, np.full(51, 12.0)])])
    targets = np.concatenate([axis, np.column_stack([frontal, np.zeros(51)])])
    distances = np.empty(68)
    head_shapes.cast(shape, origins, targets, True, distances)
    direction = targets - origins
    return origins + distances[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def _frontal_landmarks(h: HeadIdentity) -> NDArray[np.float64]:
    """x, y [51, 2] of brows, nose, eyes and mouth."""
    along = np.linspace(1.0, 0.0, 5)
    brow_x = BROW_INNER + BROW_LENGTH * h.head_width * along
    brow_y = BROW_Y + h.brow_y + h.brow_tilt * (along - 0.5) + h.brow_arch * (1 - (2 * along - 1.1) ** 2)
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
    mouth = np.stack([m * h.mouth_width, MOUTH_Y + h.smile * m**2 + y], axis=1)
    return np.concatenate([brow, (brow * flip)[::-1], bridge, base, eye, (eye * flip)[[3, 2, 1, 0, 5, 4]], mouth])
