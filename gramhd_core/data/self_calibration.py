"""A template learnt from nothing but the landmarks of many photographs: shape and poses at once.

N photographs, K landmarks. A head and its landmarks are taken to be their own mirror image at x = 0, and to differ
little from head to head. Planes of pictures are complex: x + i y with y *up* (pixels count down). Seen from far away a
photograph is z = s (r_x X + r_y Y + r_z Z) + t with complex r of the rotation's first two rows. The difference of
mirrored landmarks has only X in it (rank 1), their sum only Y and Z (rank 2): two small factorisations, and four
unknowns for the metric, in place of six.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.landmarks import CAT_9, FACE_5, IBUG_68, Face, Scheme
from gramhd_core.data.subjects import CATS, FACES
from gramhd_core.data.templates import Template, template_for
from gramhd_core.errors import BadDataset

FEWEST_PHOTOS, FEWEST_LANDMARKS = 20, 4
MOST_PHOTOS = 2000
LEAST_YAW = math.radians(4)  # standard deviation among the photographs: depth is seen only by turning
CAUCHY = 3.0
SHARE = 0.5  # of the crop that the landmarks take where no built-in template says how large a head is
REMEDY = "give more photographs of different heads from different sides, or a template (FILE.toml)"

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]


class _Views(NamedTuple):
    """How N photographs see the shape: z = a (x + i y) / (1 - z') + t, x, y, z' along the axes of the camera."""

    rotation: Real  # [N, 3, 3] rows: right, up, back
    a: Complex  # [N]
    t: Complex  # [N]


def self_calibrate(faces: list[Face], *, fov_degrees: float) -> Template:
    """The landmarks in space that explain those of these faces best; all faces of one scheme.

    - Mirror plane: x = 0; left and right as in the scheme. Up: as most photographs have it. Level: the median pitch of
      the photographs is 0, as it cannot be told from a head that looks up.
    - Near and far: of the two shapes that explain distant views alike, the one whose landmarks close to the mirror
      plane are nearer to the camera than those far from it. Heads are convex.
    - Origin and scale: those of the built-in template where the scheme has one; else the middle of the landmarks, which
      take half of the crop (its width is 2 tan(fov / 2)).

    Wrong landmarks are outvoted. BadDataset: fewer than 20 usable photographs, a landmark hardly ever found, heads
    that are all seen from one side.
    """
    scheme, seen = _observed(faces)
    points, rotation = _level(*_factorised(seen, scheme))
    _check_variety(rotation)
    points, _ = _framed(points, scheme, fov_degrees=fov_degrees)
    known = np.isfinite(seen).astype(float)
    start = _Views(rotation, *_similarity(_seen(points @ rotation.transpose(0, 2, 1)), seen, known))
    points, views, spread = _bundled(seen, scheme, points, start)
    points, _ = _level(points, views.rotation)
    points, scale = _framed(points, scheme, fov_degrees=fov_degrees)
    origin = f"self-calibrated from {len(seen)} photographs with {len(scheme)} landmarks each"
    return Template(scheme, points.astype(np.float64), origin, spread=spread * scale)


def _observed(faces: list[Face]) -> tuple[Scheme, Complex]:
    """[N, K] places with y up, NaN where unknown, of the photographs that can be used."""
    schemes = {face.scheme for face in faces}
    assert len(schemes) <= 1, "one scheme at a time"
    for scheme in schemes:
        _check_symmetry(scheme)
    rows = []
    for face in faces:
        needed = max(FEWEST_LANDMARKS, len(face.scheme) // 3)
        if face.found.sum() >= needed and np.ptp(face.points[face.found], axis=0).min() > 0:
            rows.append(np.where(face.found, face.points[:, 0] - 1j * face.points[:, 1], np.nan))
    if len(rows) < FEWEST_PHOTOS:
        raise BadDataset(
            f"{len(rows)} photographs with enough landmarks",
            expected=f"self-calibration needs {FEWEST_PHOTOS} at least, better a hundred",
            remedy=REMEDY,
        )
    seen = np.stack(rows)[:: math.ceil(len(rows) / MOST_PHOTOS)]
    found = np.isfinite(seen).sum(axis=0)
    if found.min() < FEWEST_PHOTOS // 2:
        raise BadDataset(
            f"landmark {found.argmin()}, which was found in {found.min()} of {len(seen)} photographs",
            expected=f"self-calibration needs each in {FEWEST_PHOTOS // 2} at least",
            remedy=REMEDY,
        )
    return schemes.pop(), seen


def _check_symmetry(scheme: Scheme) -> None:
    pairs = sum(m > k for k, m in enumerate(scheme.mirror))
    if pairs < 1 or len(scheme) - pairs < 3:
        raise BadDataset(
            f"{scheme.name} landmarks, {pairs} pairs of left and right and {len(scheme) - 2 * pairs} in the middle",
            expected="self-calibration needs a pair, and three pairs or landmarks in the middle",
            remedy="use a detector that finds more landmarks",
        )


def _complete(seen: Complex) -> Complex:
    """[N, K] in units of each head's size around its middle: what is unknown is put where the average has it."""
    known = np.isfinite(seen)
    shape = seen[known.sum(axis=1).argmax()]
    shape = np.where(np.isfinite(shape), shape, np.nanmean(shape))
    for _ in range(12):
        a, t = _similarity(np.broadcast_to(shape, seen.shape), seen, known.astype(float))
        placed = (seen - t[:, None]) / a[:, None]
        shape = np.nanmedian(placed.real, axis=0) + 1j * np.nanmedian(placed.imag, axis=0)
        shape = (shape - shape.mean()) / np.sqrt((np.abs(shape - shape.mean()) ** 2).mean())
    a, t = _similarity(np.broadcast_to(shape, seen.shape), seen, known.astype(float))
    return np.where(known, (seen - t[:, None]) / np.abs(a[:, None]), shape * (a / np.abs(a))[:, None])


def _similarity(model: Complex, seen: Complex, weights: Real) -> tuple[Complex, Complex]:
    """a, t [N] with seen = a model + t, least squares over K; weights 0 where seen is NaN."""
    seen = np.where(weights > 0, seen, 0)
    total = weights.sum(axis=1)
    middle, target = (weights * model).sum(axis=1) / total, (weights * seen).sum(axis=1) / total
    out = model - middle[:, None]
    a = (weights * out.conj() * (seen - target[:, None])).sum(axis=1) / (weights * np.abs(out) ** 2).sum(axis=1)
    return a, target - a * middle


def _factorised(seen: Complex, scheme: Scheme) -> tuple[Real, Real]:
    """Points [K, 3] and rotations [N, 3, 3] of distant views, robust and with gaps: filled, factorised, filled anew."""
    mirror, known, start = list(scheme.mirror), np.isfinite(seen), _complete(seen)
    filled = start
    for _ in range(40):
        filled = filled - filled.mean(axis=1, keepdims=True)
        odd, even = (filled - filled[:, mirror]) / 2, (filled + filled[:, mirror]) / 2
        across, upright = _basis(odd, 1), _basis(even, 2)  # [1, K], [2, K], orthonormal
        motion = np.concatenate([odd @ across.T, even @ upright.T], axis=1)  # [N, 3]
        model = motion @ np.concatenate([across, upright])
        middle = np.where(known, start - model, 0).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
        wrong = np.where(known, np.abs(start - model - middle), np.nan)
        sigma = np.nanmedian(wrong) / math.sqrt(math.log(4)) + 1e-12
        trust = np.where(known, 1 / (1 + (wrong / (CAUCHY * sigma)) ** 2), 0)
        filled = trust * (np.where(known, start, 0) - middle) + (1 - trust) * model
    metric = _metric(motion)
    rows: Complex = np.matmul(motion, metric, dtype=np.complex128)  # [N, 3]: s (r_x, r_y, r_z)
    points = np.concatenate([across, upright]).T @ np.linalg.inv(metric).T
    return _oriented(points, rows)


def _basis(pictures: Complex, rank: int) -> Real:
    """[rank, K] orthonormal directions that hold most of the real and imaginary parts."""
    both = np.concatenate([pictures.real, pictures.imag])
    return np.linalg.eigh(both.T @ both)[1][:, ::-1][:, :rank].T


def _metric(motion: Complex) -> Real:
    """[3, 3] block diagonal: what makes the two rows of every rotation orthogonal and of one length."""
    x, y = motion.real, motion.imag

    def products(p: Real, q: Real) -> Real:
        return np.stack(
            [p[:, 0] * q[:, 0], p[:, 1] * q[:, 1], p[:, 1] * q[:, 2] + p[:, 2] * q[:, 1], p[:, 2] * q[:, 2]], axis=1
        )

    equations = np.concatenate([products(x, x) - products(y, y), 2 * products(x, y)])
    weights = np.ones(len(equations))
    for _ in range(10):
        values = np.linalg.eigh(equations.T @ (weights[:, None] * equations))[1][:, 0]
        wrong = np.abs(equations @ values)
        weights = 1 / (wrong + 0.3 * np.median(wrong) + 1e-15)
    values = values * np.sign(values[0])
    matrix = np.array([[values[1], values[2]], [values[2], values[3]]])
    if values[0] <= 0 or np.linalg.eigvalsh(matrix)[0] <= 1e-6 * values[0]:
        raise _one_sided("no depth can be told from their landmarks")
    metric = np.zeros((3, 3))
    metric[0, 0], metric[1:, 1:] = math.sqrt(values[0]), np.linalg.cholesky(matrix)
    return metric


def _oriented(points: Real, rows: Complex) -> tuple[Real, Real]:
    """Signs of x, y, z and the turn about x: right is right, the median up is up, the middle is near."""
    size = np.sqrt((np.abs(rows) ** 2).sum(axis=1) / 2)
    right, up = rows.real / size[:, None], rows.imag / size[:, None]
    flip = np.eye(3)
    flip[0, 0] = 1.0 if np.median(right[:, 0]) > 0 else -1.0
    y = np.median(up[:, 1:], axis=0)
    y = y / np.linalg.norm(y)
    flip[1:, 1:] = np.stack([y, (-y[1], y[0])], axis=1)
    turned = points @ flip
    if np.cov(np.abs(turned[:, 0]), turned[:, 2])[0, 1] > 0:
        flip[:, 2] *= -1
    right, up = right @ flip, up @ flip
    right, up = right / np.linalg.norm(right, axis=1)[:, None], up / np.linalg.norm(up, axis=1)[:, None]
    axes = np.stack([right, up, np.cross(right, up)], axis=1)
    u, _, v = np.linalg.svd(axes)
    u[:, :, 2] *= np.linalg.det(u @ v)[:, None]
    return points @ flip, u @ v


def _angles(rotation: Real) -> tuple[Real, Real]:
    back = rotation[:, 2]
    return np.arctan2(back[:, 1], np.hypot(back[:, 0], back[:, 2])), np.arctan2(back[:, 0], back[:, 2])


def _check_variety(rotation: Real) -> None:
    yaw = _angles(rotation)[1]
    spread = 1.4826 * float(np.median(np.abs(yaw - np.median(yaw))))
    if spread < LEAST_YAW:
        raise _one_sided(f"yaw varies by {math.degrees(spread):.1f} degrees (standard deviation)")


def _one_sided(finding: str) -> BadDataset:
    return BadDataset(
        f"photographs that show their heads from one side only: {finding}",
        expected=f"self-calibration needs yaws that differ by {math.degrees(LEAST_YAW):.0f} degrees at least",
        remedy=REMEDY,
    )


def _level(points: Real, rotation: Real) -> tuple[Real, Real]:
    """Points and views, turned about x to a median pitch of 0."""
    pitch = float(np.median(_angles(rotation)[0]))
    c, s = math.cos(pitch), math.sin(pitch)
    turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return points @ turn, rotation @ turn


def _framed(points: Real, scheme: Scheme, *, fov_degrees: float) -> tuple[Real, float]:
    """The points at origin and scale of a template, and by how much they grew."""
    built_in = {IBUG_68: FACES, FACE_5: FACES, CAT_9: CATS}.get(scheme)
    middle = points.mean(axis=0)
    if built_in is None:
        low, high = points.min(axis=0), points.max(axis=0)
        scale = SHARE * 2 * math.tan(math.radians(fov_degrees) / 2) / max(high - low)
        return (points - (0, (low[1] + high[1]) / 2, middle[2])) * scale, scale
    known = template_for(scheme, built_in).points
    out, there = points - middle, known - known.mean(axis=0)
    scale = math.sqrt((there[:, :2] ** 2).sum() / (out[:, :2] ** 2).sum())
    return out * scale + known.mean(axis=0) * (0, 1, 1), scale


def _seen(local: Real) -> Complex:
    return (local[..., 0] + 1j * local[..., 1]) / (1 - local[..., 2])


def _bundled(seen: Complex, scheme: Scheme, points: Real, views: _Views) -> tuple[Real, _Views, float]:
    """Views and points in turn, Gauss-Newton with Cauchy weights; and the residual per coordinate, world units."""
    known, sigma = np.isfinite(seen), 0.0
    for _ in range(25):
        local = points @ views.rotation.transpose(0, 2, 1)
        wrong = np.where(known, (seen - views.t[:, None]) / views.a[:, None] - _seen(local), 0)  # world units
        sigma = float(np.median(np.abs(wrong[known]))) / math.sqrt(math.log(4)) + 1e-9
        trust = np.where(known, 1 / (1 + (np.abs(wrong) / (CAUCHY * sigma)) ** 2), 0)
        views = _better_views(local, wrong, trust, views)
        local = points @ views.rotation.transpose(0, 2, 1)
        wrong = np.where(known, (seen - views.t[:, None]) / views.a[:, None] - _seen(local), 0)
        points = _better_points(points, local, wrong, (trust, views, scheme))
    return points, views, sigma


def _slopes(local: Real) -> Complex:
    """[..., 3] derivatives of what is seen by the camera coordinates."""
    near = 1 / (1 - local[..., 2])
    return np.stack([near + 0j, 1j * near, _seen(local) * near], axis=-1)


def _better_views(local: Real, wrong: Complex, trust: Real, views: _Views) -> _Views:
    """One step for each photograph: turned about the camera's axes, and its similarity."""
    slopes, w = _slopes(local), _seen(local)
    x, y, z = np.moveaxis(local, -1, 0)
    about_x = slopes[..., 2] * y - slopes[..., 1] * z
    about_y = slopes[..., 0] * z - slopes[..., 2] * x
    jacobian = np.stack([about_x, about_y, w, 1j * w, np.ones_like(w), np.full_like(w, 1j)], axis=-1)  # [N, K, 6]
    weighted = (trust[..., None] * jacobian).conj()
    normal = np.einsum("nki,nkj->nij", weighted, jacobian, optimize=True).real
    target = np.einsum("nki,nk->ni", weighted, wrong).real
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(6) * (1e-3, 1e-3, 1, 1, 1, 1)
    step = np.linalg.solve(normal, target[..., None])[..., 0]
    turn = step[:, :2] * np.minimum(1, 0.2 / np.maximum(1e-9, np.abs(step[:, :2]).max(axis=1)))[:, None]
    grown, moved = 1 + step[:, 2] + 1j * step[:, 3], step[:, 4] + 1j * step[:, 5]
    return _Views(_turns(turn) @ views.rotation, views.a * grown, views.t + views.a * moved)


def _turns(vectors: Real) -> Real:
    """[N, 2] rotation vectors about x and y -> [N, 3, 3]."""
    angle = np.linalg.norm(vectors, axis=1)
    p, q = (vectors / np.maximum(angle, 1e-12)[:, None]).T
    cross = np.zeros((len(vectors), 3, 3))
    cross[:, 0, 2], cross[:, 1, 2], cross[:, 2, 0], cross[:, 2, 1] = q, -p, -q, p
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross


def _better_points(points: Real, local: Real, wrong: Complex, rest: tuple[Real, _Views, Scheme]) -> Real:
    """One step for each landmark together with its mirror image."""
    trust, views, scheme = rest
    mirror, sides = list(scheme.mirror), np.array([-1.0, 1.0, 1.0])
    jacobian = _slopes(local) @ views.rotation  # [N, K, 3] by world coordinates
    weighted = (trust[..., None] * jacobian).conj()
    normal = np.einsum("nki,nkj->kij", weighted, jacobian, optimize=True).real
    target = np.einsum("nki,nk->ki", weighted, wrong).real
    normal = normal + normal[mirror] * np.outer(sides, sides)
    target = target + target[mirror] * sides
    step = np.linalg.solve(
        normal + 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3), target[..., None]
    )
    points = points + step[..., 0]
    return (points + points[mirror] * sides) / 2
