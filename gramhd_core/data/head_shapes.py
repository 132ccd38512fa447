"""Where the surface of a procedural head is: a signed distance function, the rays that meet it, and what they met.

Everything here is compiled (numba) and knows nothing of colour. Lengths are in u = 0.01 world units, axes are the
world's (x right, y up, face towards +z). A *blob* is an ellipsoid sheared along z, one row of 8 numbers: centre x, y, z;
radii x, y, z; shear dz/dy; width of the smooth union with what came before it. Blobs are mirrored in x.
The background is the plane z = BACKGROUND_Z. This file calls no compiled code of another file, because numba's cache on
disk notices changes of one file only.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BACKGROUND_Z = -12.0  # u
SKIN_BLOBS, HAIR_BLOBS = 17, 6
BACKGROUND, SKIN, LASH, EYE, HAIR, SHIRT, GLASSES = range(7)  # parts

SHAPE = np.dtype(
    [
        ("skin", "f8", (SKIN_BLOBS, 8)),
        ("hair", "f8", (HAIR_BLOBS, 8)),
        ("shirt", "f8", (2, 8)),
        ("socket", "f8", (8,)),
        ("eye", "f8", (3,)),  # centre of the right eyeball (x > 0)
        ("eye_radius", "f8"),
        ("eye_half_width", "f8"),
        ("eye_upper", "f8"),  # height of the opening above and below the line between its corners
        ("eye_lower", "f8"),
        ("eye_tilt", "f8"),  # outer corner up, slope
        ("hair_on", "f8"),
        ("hairline", "f8"),  # y of the top of the face window, its half width, its slope, and how far back it goes
        ("window_width", "f8"),
        ("window_round", "f8"),
        ("window_slope", "f8"),
        ("window_back", "f8"),
        ("rim", "f8"),  # hair ends below y = rim + rim_slope * z
        ("rim_slope", "f8"),
        ("crown_cut", "f8"),  # hair ends above this y (bald crown)
        ("curl", "f8"),  # amplitude and frequency of the curls
        ("curl_frequency", "f8"),
        ("glasses_on", "f8"),
        ("glasses_radius", "f8"),
        ("glasses_square", "f8"),
        ("neckline", "f8"),  # y of the lowest bare skin at x = 0 and slope of the collar
        ("collar_slope", "f8"),
    ],
    align=True,
)


@njit(cache=True, nogil=True, inline="always")
def _smooth_min(a, b, k):
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@njit(cache=True, nogil=True, inline="always")
def _smooth_max(a, b, k):
    h = max(k - abs(a - b), 0.0) / k
    return max(a, b) + h * h * k * 0.25


@njit(cache=True, nogil=True)
def _blob(b, x, y, z):
    """First-order distance to the ellipsoid of row `b`."""
    dy = y - b[1]
    x, y, z = (x - b[0]) / b[3], dy / b[4], (z - b[2] - b[6] * dy) / b[5]
    k0 = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / b[3], y / b[4], z / b[5]
    return k0 * (k0 - 1.0) / (math.sqrt(x * x + y * y + z * z) + 1e-9)


@njit(cache=True, nogil=True)
def _blobs(rows, x, y, z):
    """Smooth union of all rows; rows too far away to matter are skipped."""
    d = 1e3
    for i in range(rows.shape[0]):
        b = rows[i]
        reach = max(b[3], b[4], b[5]) * (1.0 + abs(b[6])) + b[7] + d
        if reach > 0.0:
            dx, dy, dz = x - b[0], y - b[1], z - b[2]
            if dx * dx + dy * dy + dz * dz < reach * reach:
                d = _smooth_min(d, _blob(b, x, y, z), b[7])
    return d


@njit(cache=True, nogil=True)
def _eye_opening(s, x, y):
    """Negative inside the opening between the lids; x >= 0."""
    u, v = x - s.eye[0], y - s.eye[1]
    v -= s.eye_tilt * u
    arch = 1.0 - (u / s.eye_half_width) ** 2
    return max(v - s.eye_upper * arch, -v - s.eye_lower * arch) * 0.65


@njit(cache=True, nogil=True)
def _skin(s, x, y, z):
    d = _blobs(s.skin, x, y, z)
    dx, dy, dz = x - s.eye[0], y - s.eye[1], z - s.eye[2]
    r = math.sqrt(dx * dx + dy * dy + dz * dz) - s.eye_radius
    if r < 1.6:
        d = _smooth_max(d, -_blob(s.socket, x, y, z), 0.6)
        d = _smooth_min(d, r - 0.13, 0.3)
        d = max(d, -max(_eye_opening(s, x, y), r - 0.7))
    return d


@njit(cache=True, nogil=True)
def _eye(s, x, y, z):
    dx, dy, dz = x - s.eye[0], y - s.eye[1], z - s.eye[2]
    return math.sqrt(dx * dx + dy * dy + dz * dz) - s.eye_radius


@njit(cache=True, nogil=True)
def _hair(s, x, y, z):
    if s.hair_on == 0.0:
        return 1e3
    d = _blobs(s.hair, abs(x), y, z)
    if d > 1.5:
        return d
    u = x / s.window_width
    v = max((y - s.hairline - s.window_slope * x) / s.window_round + 1.0, 0.0)
    u, v = u * u, v * v
    window = (math.sqrt(math.sqrt(u * u + v * v)) - 1.0) * min(s.window_width, s.window_round)
    window = max(window, s.window_back - z)
    d = _smooth_max(d, -window, 0.5)
    d = _smooth_max(d, (s.rim + s.rim_slope * z - y) / math.sqrt(1.0 + s.rim_slope * s.rim_slope), 0.5)
    d = _smooth_max(d, y - s.crown_cut, 0.4)
    if s.curl > 0.0 and d < 1.0:
        f = s.curl_frequency
        d = (d + s.curl * math.sin(f * x + math.sin(1.3 * y)) * math.sin(f * y) * math.sin(f * z + 0.7 * x)) * 0.7
    return d


@njit(cache=True, nogil=True)
def _shirt(s, x, y, z):
    d = _blobs(s.shirt, x, y, z)
    if d > 1.5:
        return d
    collar = y - s.neckline - s.collar_slope * x - 0.35 * min(-z, 2.0)
    return _smooth_max(_smooth_max(d, collar, 0.25), x - 12.5, 0.5)


@njit(cache=True, nogil=True)
def _glasses(s, x, y, z):
    if s.glasses_on == 0.0:
        return 1e3
    ex, ey, ez = s.eye[0], s.eye[1], s.eye[2] + s.eye_radius + 0.25
    u, v, w = x - ex, y - ey, z - ez + 0.12 * (x - ex)
    q, t = u * u, v * v * 1.25
    ring = math.sqrt(q + t)
    if s.glasses_square > 0.0:
        ring = math.sqrt(math.sqrt(q * q + t * t))
    ring -= s.glasses_radius
    d = math.sqrt(ring * ring + w * w) - 0.15
    u = max(abs(x) - (ex - s.glasses_radius), 0.0)  # the bridge
    d = min(d, math.sqrt(u * u + (v - 0.35) ** 2 + (z - ez - 0.2) ** 2) - 0.13)
    side = ex + s.glasses_radius  # the temples run back to the ears
    back = min(max((ez - z) / (ez + 0.5), 0.0), 1.0)
    u = x - side - (5.15 - side) * back
    w = max(z - ez + 0.2, -z - 0.5, 0.0)
    return min(d, math.sqrt(u * u + (v - 0.35) ** 2 + w * w) - 0.13) * 0.9


@njit(cache=True, nogil=True)
def _distance(s, x, y, z, bare):
    """Distance to the nearest surface; `bare` leaves hair and glasses away."""
    ax = abs(x)
    d = min(_skin(s, ax, y, z), _eye(s, ax, y, z), _shirt(s, ax, y, z))
    if not bare:
        d = min(d, _hair(s, x, y, z), _glasses(s, ax, y, z))
    return d


@njit(cache=True, nogil=True)
def _part(s, x, y, z):
    """Which part is nearest."""
    ax = abs(x)
    part, d = SKIN, _skin(s, ax, y, z)
    other = _eye(s, ax, y, z)
    if other < d:
        part, d = EYE, other
    elif _eye_opening(s, ax, y) < 0.12 and other < 0.8 and y > s.eye[1] + s.eye_tilt * (ax - s.eye[0]) - 0.1:
        part = LASH
    other = _hair(s, x, y, z)
    if other < d:
        part, d = HAIR, other
    other = _shirt(s, ax, y, z)
    if other < d:
        part, d = SHIRT, other
    return GLASSES if _glasses(s, ax, y, z) < d else part


@njit(cache=True, nogil=True)
def _march(s, o, v, start, end, spread, bare):
    """Distance along the ray o + t v to the first surface, or `end`. With `spread` > 0 the ray is a cone of that slope
    and the answer is where it first touches something."""
    t = start
    for _ in range(128):
        d = _distance(s, o[0] + t * v[0], o[1] + t * v[1], o[2] + t * v[2], bare) - spread * t
        if d < 0.004:
            return t
        t += 0.9 * d
        if t >= end:
            return end
    return t


@njit(cache=True, nogil=True)
def _ray(camera, x, y, size, v):
    """Unit direction v of the ray through pixel coordinates (x, y). camera [3, 5]: right, up, back, centre, tan(fov / 2)."""
    a, b = (2.0 * x / size - 1.0) * camera[0, 4], (1.0 - 2.0 * y / size) * camera[0, 4]
    n = 1.0 / math.sqrt(1.0 + a * a + b * b)
    for i in range(3):
        v[i] = (a * camera[i, 0] + b * camera[i, 1] - camera[i, 2]) * n


@njit(cache=True, nogil=True)
def _plane(o, v):
    """Distance along the ray to the background plane; infinity for rays that never meet it."""
    t = (BACKGROUND_Z - o[2]) / v[2] if v[2] != 0.0 else math.inf
    return t if t > 0.0 else math.inf


@njit(cache=True, nogil=True)
def _surface(s, p, surface):
    """Writes part, normal (3) and openness (1 = nothing near) at the surface point p into surface [5]."""
    x, y, z = p[0], p[1], p[2]
    e = 0.02
    a, b = _distance(s, x + e, y - e, z - e, False), _distance(s, x - e, y - e, z + e, False)
    c, d = _distance(s, x - e, y + e, z - e, False), _distance(s, x + e, y + e, z + e, False)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    n = 1.0 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * n, ny * n, nz * n
    near = _distance(s, x + 0.35 * nx, y + 0.35 * ny, z + 0.35 * nz, False) / 0.35
    far = _distance(s, x + 1.3 * nx, y + 1.3 * ny, z + 1.3 * nz, False) / 1.3
    surface[0], surface[1], surface[2], surface[3] = _part(s, x, y, z), nx, ny, nz
    surface[4] = min(max(0.4 * near + 0.6 * far, 0.0), 1.0)


@njit(cache=True, nogil=True)
def trace(s, camera, size, supersample, points, surfaces, distances):
    """Fills points [R, R, 3] and surfaces [R, R, 5] (part, normal, openness) for the R = size * supersample rays per
    side, and distances [size, size] of the rays through pixel centres (positive: a part, negative: the background)."""
    o, v = camera[:, 3].copy(), np.empty(3)
    block = 4
    for top in range(0, size, block):
        for left in range(0, size, block):
            _ray(camera, left + 0.5 * block, top + 0.5 * block, size, v)
            spread = 1.5 * block * camera[0, 4] / size
            limit = 140.0
            start = max(_march(s, o, v, 70.0, limit, spread, False) - 0.5, 0.0)
            for row in range(top, min(top + block, size)):
                for column in range(left, min(left + block, size)):
                    _ray(camera, column + 0.5, row + 0.5, size, v)
                    end = _plane(o, v)
                    t = end if start > 139.0 else _march(s, o, v, start, min(end, limit), 0.0, False)
                    distances[row, column] = t if t < min(end, limit) else -end
            for row in range(top * supersample, min(top + block, size) * supersample):
                for column in range(left * supersample, min(left + block, size) * supersample):
                    _ray(camera, (column + 0.5) / supersample, (row + 0.5) / supersample, size, v)
                    end = _plane(o, v)
                    t = end if start > 139.0 else _march(s, o, v, start, min(end, limit), 0.0, False)
                    p = points[row, column]
                    reach = t if t < math.inf else 200.0
                    p[0], p[1], p[2] = o[0] + reach * v[0], o[1] + reach * v[1], o[2] + reach * v[2]
                    if t < min(end, limit):
                        _surface(s, p, surfaces[row, column])
                    else:
                        surfaces[row, column, 0] = BACKGROUND


@njit(cache=True, nogil=True)
def cast(s, origins, targets, bare, distances):
    """Distances [P] along the rays from origins [P, 3] towards targets [P, 3] to the first surface, at most 200 u."""
    v = np.empty(3)
    for i in range(len(origins)):
        v[:] = targets[i] - origins[i]
        v /= math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        distances[i] = _march(s, origins[i], v, 0.0, 200.0, 0.0, bare)
