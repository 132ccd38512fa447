"""Where the surface of a procedural head is: a signed distance function, the rays that meet it, and what they met.

Everything here is compiled (numba) and knows nothing of colour. Lengths are in u = 0.0105 world units, axes are the
world's (x right, y up, face towards +z). A *blob* is an ellipsoid sheared along z, one row of 10 numbers: centre x, y,
z; 1 / radii x, y, z; shear dz/dy; width k of the smooth union with the rows before it, and 0.25 / k; how far from its
centre it can matter. Blobs are mirrored in x. The background is the plane z = BACKGROUND_Z. This file calls no compiled
code of another file, because numba's cache on disk notices changes of one file only.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

WORLD_PER_U = 0.0105
BACKGROUND_Z = -0.12 / WORLD_PER_U  # u
FAR = 160.0  # u, beyond everything a camera on its orbit may meet
# Rows of `blobs`: head, face, hair, shirt, socket of the eye.
HEAD_ROWS, FACE_ROWS, HAIR_ROWS, SHIRT_ROWS, SOCKET_ROW = (0, 8), (8, 17), (17, 22), (22, 24), 24
BACKGROUND, SKIN, LASH, EYE, HAIR, SHIRT, GLASSES = range(7)  # parts

# Half extents of the opening between the lids above and below the line between its corners, and that line's slope.
_EYE = ("eye_radius", "eye_half_width", "eye_upper", "eye_lower", "eye_tilt")
# The window that is cut out for the face: y of its top, half width, how far below its top it has that width, slope of
# the top, smallest z. Hair ends below y = rim + rim_slope * z and above crown_cut. Curls: amplitude u, radians per u.
_WINDOW = ("hairline", "window_width", "window_round", "window_slope", "window_back")
_HAIR = ("hair_on", *_WINDOW, "rim", "rim_slope", "crown_cut", "curl", "curl_frequency")
_REST = ("glasses_on", "glasses_radius", "glasses_square", "neckline", "collar_slope")  # neckline: y at x = 0
SHAPE = np.dtype(
    [("blobs", "f8", (SOCKET_ROW + 1, 10)), ("face_ball", "f8", (4,)), ("eye", "f8", (3,))]
    + [(name, "f8") for name in (*_EYE, *_HAIR, *_REST)],
    align=True,
)
"""The numbers of one head. face_ball: centre and radius of a ball outside of which the face rows do not matter;
eye: centre of the eyeball at x > 0."""


@njit(cache=True, nogil=True, inline="always")
def _smooth_max(a, b, k):
    h = max(k - abs(a - b), 0.0)
    return max(a, b) + h * h * (0.25 / k)


@njit(cache=True, nogil=True)
def _blob(s, i, x, y, z):
    """First-order distance to the ellipsoid of row i."""
    y -= s.blobs[i, 1]
    ix, iy, iz = s.blobs[i, 3], s.blobs[i, 4], s.blobs[i, 5]
    x, y, z = (x - s.blobs[i, 0]) * ix, y * iy, (z - s.blobs[i, 2] - s.blobs[i, 6] * y) * iz
    k0 = math.sqrt(x * x + y * y + z * z)
    x, y, z = x * ix, y * iy, z * iz
    return k0 * (k0 - 1.0) / (math.sqrt(x * x + y * y + z * z) + 1e-9)


@njit(cache=True, nogil=True)
def _blobs(s, rows, x, y, z, d, bound):
    """Smooth union of d and some rows. Rows too far away to matter are skipped, and so are those that could not come
    nearer than `bound`: a result above `bound` only says that."""
    for i in range(rows[0], rows[1]):
        dx, dy, dz = x - s.blobs[i, 0], y - s.blobs[i, 1], z - s.blobs[i, 2]
        reach = s.blobs[i, 9] + min(d, bound)
        if reach > 0.0 and dx * dx + dy * dy + dz * dz < reach * reach:
            blob = _blob(s, i, x, y, z)
            h = max(s.blobs[i, 7] - abs(d - blob), 0.0)
            d = min(d, blob) - h * h * s.blobs[i, 8]
    return d


@njit(cache=True, nogil=True)
def _eye_opening(s, x, y):
    """Negative inside the opening between the lids; x >= 0."""
    u, v = x - s.eye[0], y - s.eye[1]
    v -= s.eye_tilt * u
    arch = 1.0 - (u / s.eye_half_width) ** 2
    return max(v - s.eye_upper * arch, -v - s.eye_lower * arch) * 0.65


@njit(cache=True, nogil=True)
def _eye(s, x, y, z):
    dx, dy, dz = x - s.eye[0], y - s.eye[1], z - s.eye[2]
    return math.sqrt(dx * dx + dy * dy + dz * dz) - s.eye_radius


@njit(cache=True, nogil=True)
def _skin(s, x, y, z, bound):
    d = _blobs(s, HEAD_ROWS, x, y, z, 1e3, bound)
    dx, dy, dz = x - s.face_ball[0], y - s.face_ball[1], z - s.face_ball[2]
    reach = s.face_ball[3] + min(d, bound)
    if reach > 0.0 and dx * dx + dy * dy + dz * dz < reach * reach:
        d = _blobs(s, FACE_ROWS, x, y, z, d, bound)
    r = _eye(s, x, y, z)
    if r < 1.6:
        d = _smooth_max(d, -_blob(s, SOCKET_ROW, x, y, z), 0.6)
        d = -_smooth_max(-d, 0.13 - r, 0.3)
        d = max(d, -max(_eye_opening(s, x, y), r - 0.7))
    return d


@njit(cache=True, nogil=True)
def _hair(s, x, y, z, bound):
    """Blobs, minus a window for the face (x, y under a fourth-power arch, in front of window_back), minus the rim."""
    d = _blobs(s, HAIR_ROWS, abs(x), y, z, 1e3, bound + 0.3)
    if d > bound + 0.3:
        return d
    u = x / s.window_width
    v = max((y - s.hairline - s.window_slope * x) / s.window_round + 1.0, 0.0)
    u, v = u * u, v * v
    window = (math.sqrt(math.sqrt(u * u + v * v)) - 1.0) * min(s.window_width, s.window_round)
    d = _smooth_max(d, -max(window, s.window_back - z), 0.5)
    d = _smooth_max(d, (s.rim + s.rim_slope * z - y) / math.sqrt(1.0 + s.rim_slope * s.rim_slope), 0.5)
    d = _smooth_max(d, y - s.crown_cut, 0.4)
    if s.curl > 0.0 and d < 1.0:
        f, w = s.curl_frequency, min((1.0 - d) / 0.7, 1.0)
        curls = math.cos(f * x) * math.sin(f * y + math.sin(0.9 * z)) * math.sin(f * z + math.cos(1.3 * x))
        d = (d + w * s.curl * curls) * (1.0 - 0.3 * w)
    return d


@njit(cache=True, nogil=True)
def _shirt(s, x, y, z, bound):
    if y + 7.0 > bound:
        return 1e3
    d = _blobs(s, SHIRT_ROWS, x, y, z, 1e3, bound)
    if d > bound:
        return d
    collar = y - s.neckline - s.collar_slope * x - 0.35 * min(-z, 2.0)
    return _smooth_max(_smooth_max(d, collar, 0.25), x - 12.0, 0.5)


@njit(cache=True, nogil=True)
def _glasses(s, x, y, z, bound):
    if s.glasses_on == 0.0 or abs(y - s.eye[1]) - 2.3 > bound:
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
    d = _eye(s, ax, y, z)
    d = min(d, _skin(s, ax, y, z, d))
    d = min(d, _shirt(s, ax, y, z, d))
    if not bare:
        d = min(d, _glasses(s, ax, y, z, d))
        d = min(d, _hair(s, x, y, z, d))
    return d


@njit(cache=True, nogil=True)
def _part_distance(s, part, x, y, z):
    """Distance to one part, whose gradient is the normal."""
    if part == HAIR:
        return _hair(s, x, y, z, 1.0)
    if part == EYE:
        return _eye(s, abs(x), y, z)
    if part == SHIRT:
        return _shirt(s, abs(x), y, z, 1.0)
    if part == GLASSES:
        return _glasses(s, abs(x), y, z, 1.0)
    return _skin(s, abs(x), y, z, 1.0)


@njit(cache=True, nogil=True)
def _part(s, x, y, z):
    """Which part is nearest; the skin along the edge of the upper lid is LASH."""
    nearest, d = SKIN, 1e3
    for part in (SKIN, EYE, SHIRT, GLASSES, HAIR):
        other = _part_distance(s, part, x, y, z)
        if other < d:
            nearest, d = part, other
    if nearest != SKIN or _eye(s, abs(x), y, z) > 0.8:
        return nearest
    above = y - s.eye[1] - s.eye_tilt * (abs(x) - s.eye[0])
    return LASH if above > -0.1 and _eye_opening(s, abs(x), y) < 0.17 else SKIN


@njit(cache=True, nogil=True)
def _march(s, o, v, start, end, bare):
    """Distance along the ray o + t v to the first surface, or `end`: sphere tracing, with secant strides near its end.
    Along a line the distance to something convex is convex, so they rarely overstep; if they do they are taken back."""
    t, before, step = start, -1e3, 1.0
    for _ in range(96):
        if t >= end:
            return end
        d = _distance(s, o[0] + t * v[0], o[1] + t * v[1], o[2] + t * v[2], bare)
        if d < -0.01 and before > 0.0:
            t, before, step = t - step + before, -1e3, 1.0
            continue
        slope = (before - d) / step
        stride = d / max(slope, 0.25) if slope > 0.0 and d < 0.2 else d
        if d < 0.002 or (d < 0.02 and stride < 0.04 and before > 0.0):
            return t + stride
        t, before, step = t + stride, d, stride
    return t


@njit(cache=True, nogil=True)
def _march_cone(s, o, v, start, slope):
    """A distance before which the cone of radius slope * t around the ray touches nothing, or FAR."""
    t = start
    for _ in range(48):
        d, radius = _distance(s, o[0] + t * v[0], o[1] + t * v[1], o[2] + t * v[2], False), slope * t
        if d < 1.8 * radius:
            return t
        t += d - radius
        if t > FAR or (v[2] < 0.0 and t * v[2] + o[2] < BACKGROUND_Z):
            return FAR
    return t


@njit(cache=True, nogil=True)
def _ray(camera, x, y, size, v):
    """Unit direction v of the ray through pixel coordinates (x, y); `camera` as in `trace`."""
    a, b = (2.0 * x / size - 1.0) * camera[0, 4], (1.0 - 2.0 * y / size) * camera[0, 4]
    n = 1.0 / math.sqrt(1.0 + a * a + b * b)
    for i in range(3):
        v[i] = (a * camera[i, 0] + b * camera[i, 1] - camera[i, 2]) * n


@njit(cache=True, nogil=True)
def _plane(o, v):
    """Distance along the ray to the background plane, which is there only from its front; or infinity."""
    return (BACKGROUND_Z - o[2]) / v[2] if v[2] < 0.0 and o[2] > BACKGROUND_Z else math.inf


@njit(cache=True, nogil=True)
def _surface(s, p, part, surface):
    """Writes part, normal (3) and openness (1 = nothing near) at the point p of `part` into surface [5]."""
    x, y, z = p[0], p[1], p[2]
    e = 0.02
    a, b = _part_distance(s, part, x + e, y - e, z - e), _part_distance(s, part, x - e, y - e, z + e)
    c, d = _part_distance(s, part, x - e, y + e, z - e), _part_distance(s, part, x + e, y + e, z + e)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    n = 1.0 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * n, ny * n, nz * n
    near = _distance(s, x + 0.35 * nx, y + 0.35 * ny, z + 0.35 * nz, False) / 0.35
    far = _distance(s, x + 1.3 * nx, y + 1.3 * ny, z + 1.3 * nz, False) / 1.3
    surface[0], surface[1], surface[2], surface[3] = part, nx, ny, nz
    surface[4] = min(max(0.4 * near + 0.6 * far, 0.0), 1.0)


@njit(cache=True, nogil=True)
def _hit(s, o, v, start, p):
    """Distance to the first surface or the background plane (infinity when neither is met), the point p there (or at
    FAR), and the part."""
    plane = _plane(o, v)
    end = min(plane, FAR)
    t = _march(s, o, v, start, end, False)
    for i in range(3):
        p[i] = o[i] + t * v[i]
    if t < end:
        return t, _part(s, p[0], p[1], p[2])
    return plane, BACKGROUND


@njit(cache=True, nogil=True)
def _starts(s, camera, o, size, block, coarse, ratio):
    """Safe distances to start from for squares of `block` pixels, found from those of squares `ratio` times as wide."""
    n, v = (size + block - 1) // block, np.empty(3)
    starts = np.empty((n, n))
    slope = 1.5 * block * camera[0, 4] / size
    for row in range(n):
        for column in range(n):
            _ray(camera, (column + 0.5) * block, (row + 0.5) * block, size, v)
            starts[row, column] = _march_cone(s, o, v, coarse[row // ratio, column // ratio], slope)
    return starts


@njit(cache=True, nogil=True)
def _plain(parts, distances, row, column, tolerance):
    """Whether the 3 x 3 pixels around this one show one part without a jump in depth."""
    size, part, t = len(parts), parts[row, column], distances[row, column]
    for j in range(max(row - 1, 0), min(row + 2, size)):
        for i in range(max(column - 1, 0), min(column + 2, size)):
            if parts[j, i] != part or (part != BACKGROUND and abs(distances[j, i] - t) > tolerance):
                return False
    return True


@njit(cache=True, nogil=True)
def _slide(s, o, v, p, surface, q):
    """Where the ray meets the tangent plane at p, corrected by one step: q, and whether that is on the surface."""
    nx, ny, nz = surface[1], surface[2], surface[3]
    along = nx * v[0] + ny * v[1] + nz * v[2]
    t = (nx * (p[0] - o[0]) + ny * (p[1] - o[1]) + nz * (p[2] - o[2])) / along
    d = _distance(s, o[0] + t * v[0], o[1] + t * v[1], o[2] + t * v[2], False)
    t -= d / along
    for i in range(3):
        q[i] = o[i] + t * v[i]
    return along < -0.2 and abs(d) < 0.03


@njit(cache=True, nogil=True)
def trace(s, camera, size, supersample):
    """Follows the ray of each pixel's centre and the supersample^2 rays of each pixel's colour; R = size * supersample.

    camera [3, 5]: right, up, back, centre (u), tan(fov / 2). Returns points [R, R, 3] and surfaces [R, R, 5] (part,
    normal, openness) of the colour rays; distances (u) and parts, both [size, size], of the centre rays.
    Where a pixel and its neighbours show one smooth part, the colour rays slide along the tangent plane of the centre
    ray and share its normal and openness; elsewhere (and in images too coarse for that) they are followed one by one.
    """
    rays = size * supersample
    points, surfaces = np.empty((rays, rays, 3)), np.zeros((rays, rays, 5))
    distances, parts = np.empty((size, size)), np.empty((size, size), np.int64)
    o, v = camera[:, 3].copy(), np.empty(3)
    pixel = 2.0 * camera[0, 4] / size * math.sqrt(o[0] ** 2 + o[1] ** 2 + o[2] ** 2)  # its width at the head, u
    starts = _starts(s, camera, o, size, 2, _starts(s, camera, o, size, 8, np.zeros((size, size)), 1), 4)
    middles = np.empty((size, size, 3))
    for row in range(size):
        for column in range(size):
            _ray(camera, column + 0.5, row + 0.5, size, v)
            start = starts[row // 2, column // 2]
            distances[row, column], parts[row, column] = _hit(s, o, v, start, middles[row, column])
    middle = np.empty(5)
    for row in range(size):
        for column in range(size):
            p, part, start = middles[row, column], parts[row, column], starts[row // 2, column // 2]
            plain = pixel < 0.4 and _plain(parts, distances, row, column, 3.0 * pixel)
            if part != BACKGROUND and rays > 0:
                _surface(s, p, part, middle)
            for j in range(row * supersample, (row + 1) * supersample):
                for i in range(column * supersample, (column + 1) * supersample):
                    _ray(camera, (i + 0.5) / supersample, (j + 0.5) / supersample, size, v)
                    q, surface = points[j, i], surfaces[j, i]
                    if plain and part != BACKGROUND and _slide(s, o, v, p, middle, q):
                        surface[:] = middle
                        continue
                    surface[0] = _hit(s, o, v, start if not (plain and part == BACKGROUND) else FAR, q)[1]
                    if surface[0] != BACKGROUND:
                        _surface(s, q, surface[0], surface)
    return points, surfaces, distances, parts


@njit(cache=True, nogil=True)
def cast(s, origins, targets, bare, distances):
    """Distances [P] along the rays from origins [P, 3] towards targets [P, 3] to the first surface, at most FAR."""
    v = np.empty(3)
    for i in range(len(origins)):
        v[:] = targets[i] - origins[i]
        v /= math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        distances[i] = _march(s, origins[i], v, 0.0, FAR, bare)


@njit(cache=True, nogil=True)
def _drop(s, p, n):
    """Moves p onto the surface along its normal there; n [3] is room for that."""
    e, x, y, z = 0.05, p[0], p[1], p[2]
    a, b = _distance(s, x + e, y - e, z - e, False), _distance(s, x - e, y - e, z + e, False)
    c, d = _distance(s, x - e, y + e, z - e, False), _distance(s, x + e, y + e, z + e, False)
    n[0], n[1], n[2] = a - b - c + d, -a - b + c + d, -a + b - c + d
    n /= math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
    up = 0.0  # how far above p the way down begins: just outside, not beyond another part
    d = _distance(s, x, y, z, False)
    while d < 0.0 and up < 4.0:
        up += max(-1.1 * d, 0.02)
        d = _distance(s, x + up * n[0], y + up * n[1], z + up * n[2], False)
    p += up * n
    p -= _march(s, p, -n, 0.0, 4.0, False) * n


@njit(cache=True, nogil=True)
def settle(s, points, eye, reach, depths, surfaces):
    """Moves points [P, 3] near the surface onto it, in place, and says how far they were from it.

    depths [P, 2]: signed distance to the surface, negative inside; and distance behind the first surface that is seen
    from `eye` [3] in the point's direction (negative: in front of it). Points further away than reach [P] outside, or
    half as much again inside, stay, with second depth -FAR and surfaces 0. A point that the eye sees moves along its
    ray; one that is hidden from the eye, or belongs to a surface seen edge on, along the normal. surfaces [P, 5] as in
    `trace`.
    """
    v, q = np.empty(3), np.empty(3)
    for i in range(len(points)):
        p, depth = points[i], depths[i]
        depth[0], depth[1] = _distance(s, p[0], p[1], p[2], False), -FAR
        if not -1.5 * reach[i] < depth[0] < reach[i]:
            continue
        v[:] = p - eye
        t = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        v /= t
        seen = _march(s, eye, v, 0.0, t + 2.0 * reach[i], False)
        depth[1] = t - seen
        seen_here = abs(depth[1]) < 1.5 * reach[i]
        if seen_here:
            q[:] = eye + seen * v
            _surface(s, q, _part(s, q[0], q[1], q[2]), surfaces[i])
            faced = -(surfaces[i, 1] * v[0] + surfaces[i, 2] * v[1] + surfaces[i, 3] * v[2])
            seen_here = faced > 0.4
        if seen_here:
            p[:] = q
        else:
            _drop(s, p, v)
            _surface(s, p, _part(s, p[0], p[1], p[2]), surfaces[i])
