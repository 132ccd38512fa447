"""From landmarks in a photograph to the pose of the head, without a morphable model.

K landmarks, M modes of the template, G starting views. A picture's plane is the complex plane: x + i y, x to the right,
y down, in pixels or, after the start, in world units at the distance of the head. The camera is that of the crop: at
distance 1 from the head, looking at it, upright; crop and photograph differ by a similarity z = a w + t with
a = scale exp(-i roll). A world point X with coordinates (x, y, z) along right, up and back of the camera is seen at
w = (x - i y) / (1 - z). Angles are radians.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.landmarks import Face
from gramhd_core.data.templates import Template

MISFIT = "landmarks that fit no view of a head"
FEWEST = 4  # landmarks; a scheme that has fewer leaves pitch and yaw to the prior
FLATTEST = 0.03  # of the spread of landmarks: across over along
VIEW_SD = (0.35, 0.6)  # prior of pitch and yaw; it decides only what landmarks leave open
NOISE = 0.0008  # world units: what a good detector errs by, one pixel of a crop of 256
NOISE_WEIGHT = 8  # how many coordinates that assumption counts for against the residuals seen
CAUCHY = 3.0  # standard deviations of noise at which a landmark counts half
STEEPEST = math.radians(85)
START_PITCH, START_YAW = np.radians([-40, -20, 0, 20, 40]), np.radians([-75, -50, -25, 0, 25, 50, 75])

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]


class PoseError(Exception):
    """Landmarks that no pose can be read from; the photograph is left out for this reason."""

    def __init__(self, reason: str):
        self.reason = reason
        super().__init__(reason)


class HeadPose(NamedTuple):
    """How a photograph shows a head. Angles: radians, of the camera around the head (`pose_conversions.Pose`)."""

    pitch: float
    yaw: float
    roll: float  # of the camera; positive: the head leans to the left of the photograph
    centre: tuple[float, float]  # photo pixels: where the origin of the head is seen
    scale: float  # photo pixels per world unit at the distance of the head
    residual: float  # robust rms distance between landmarks seen and fitted, in widths of the crop
    sd: tuple[float, float]  # of pitch and yaw: standard deviations from the covariance of the fit


class _State(NamedTuple):
    pitch: float
    yaw: float
    a: complex
    t: complex
    shape: Real  # [M] in standard deviations


def fit_pose(face: Face, template: Template, *, fov_degrees: float) -> HeadPose:
    """The most probable pose for these landmarks, perspective and shape of the head included.

    A robust similarity for each of G views gives the start; Gauss-Newton with Cauchy weights refines view, similarity
    and weights of the template's modes (prior: N(0, 1) each). fov_degrees: the crop's, for `residual`. Wrong landmarks
    are outvoted, missing ones (NaN) left out. PoseError: too few landmarks, or all on one line.
    """
    assert face.scheme == template.scheme, (face.scheme.name, template.scheme.name)
    use = _usable(face)
    seen, confidence = _complex(face.points[use]), face.confidence[use]
    points, modes = template.points[use], template.modes[:, use]
    pitch, yaw, a, t = _start(seen, confidence, points)
    if not abs(a) > 0:
        raise PoseError(MISFIT)
    start = _State(pitch, yaw, 1, 0, np.zeros(len(modes)))
    fit = _refine((seen - t) / a, confidence, (points, modes, template.spread), start)
    state = fit.state
    scale, centre = abs(a * state.a), t + a * state.t
    width = 2 * math.tan(math.radians(fov_degrees) / 2)
    if not (math.isfinite(scale) and scale > 0):
        raise PoseError(MISFIT)
    return HeadPose(
        state.pitch,
        math.remainder(state.yaw, 2 * math.pi),
        -float(np.angle(a * state.a)),
        (float(centre.real), float(centre.imag)),
        float(scale),
        fit.residual / abs(state.a) / width,
        fit.sd,
    )


def project(points: Real, pose: HeadPose) -> Real:
    """World points [K, 3] -> photo pixels [K, 2] as `pose` sees them."""
    seen = _seen(points @ _axes(pose.pitch, pose.yaw)) * pose.scale * np.exp(-1j * pose.roll) + complex(*pose.centre)
    return np.stack([seen.real, seen.imag], axis=-1)


def _complex(points: Real) -> Complex:
    return points[..., 0] + 1j * points[..., 1]


def _usable(face: Face) -> NDArray[np.bool_]:
    use, needed = face.found, min(FEWEST, len(face.scheme))
    if use.sum() < needed:
        raise PoseError(f"too few landmarks ({use.sum()} of {len(use)}, {needed} are needed)")
    points = face.points[use]
    along, across = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if along < 1e-6 * (1 + np.abs(points).max()):
        raise PoseError("landmarks all in one place")
    if needed >= FEWEST and across < FLATTEST * along:
        raise PoseError("landmarks on one line")
    return use


def _axes(pitch: Real | float, yaw: Real | float) -> Real:
    """[..., 3, 3] whose columns are right, up and back of the camera."""
    cp, sp, cy, sy = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    right = np.stack([cy, 0 * cy, -sy], axis=-1)
    up = np.stack([-sp * sy, cp + 0 * cy, -sp * cy], axis=-1)
    back = np.stack([cp * sy, sp + 0 * cy, cp * cy], axis=-1)
    return np.stack([right, up, back], axis=-1)


def _seen(local: Real) -> Complex:
    """Camera coordinates [..., 3] -> where they are seen [...]."""
    return (local[..., 0] - 1j * local[..., 1]) / (1 - local[..., 2])


def _start(seen: Complex, confidence: Real, points: Real) -> tuple[float, float, complex, complex]:
    """The view out of G, and its similarity, with the smallest sum of distances."""
    pitch, yaw = (angles.ravel() for angles in np.meshgrid(START_PITCH, START_YAW))
    if len(seen) < FEWEST:
        pitch, yaw = np.zeros(1), np.zeros(1)
    model = _seen(points @ _axes(pitch, yaw))  # [G, K]
    weights = np.broadcast_to(confidence, model.shape)
    for _ in range(5):  # least squares, reweighted to least distances: the sum is convex, so outliers cannot trap it
        total = weights.sum(axis=1, keepdims=True)
        middle = (weights * model).sum(axis=1, keepdims=True) / total
        middle_seen = (weights * seen).sum(axis=1, keepdims=True) / total
        out = model - middle
        a = (weights * out.conj() * (seen - middle_seen)).sum(axis=1, keepdims=True)
        a = a / (weights * np.abs(out) ** 2).sum(axis=1, keepdims=True)
        t = middle_seen - a * middle
        distance = np.abs(seen - t - a * model)
        weights = confidence / (distance + 0.1 * np.median(distance, axis=1, keepdims=True) + 1e-9 * np.abs(a))
    best = int((confidence * distance).sum(axis=1).argmin())
    return float(pitch[best]), float(yaw[best]), complex(a[best, 0]), complex(t[best, 0])


class _Fit(NamedTuple):
    state: _State
    residual: float  # world units
    sd: tuple[float, float]


def _refine(seen: Complex, confidence: Real, template: tuple[Real, Real, float], state: _State) -> _Fit:
    """Gauss-Newton on the posterior. Noise and the weights of landmarks are taken anew from the residuals each time."""
    points, modes, spread = template
    prior = np.array([VIEW_SD[0] ** -2, VIEW_SD[1] ** -2, 0, 0, 0, 0, *[1.0] * len(modes)])
    diagonal = np.diag_indices(len(prior))
    expected, free = NOISE**2 + spread**2, max(2 * len(seen) - 6, 0)
    for _ in range(30):
        model, jacobian = _model(points, modes, state)
        wrong = seen - model
        distance = np.abs(wrong)
        middle = _median(distance, confidence)
        variance = middle**2 / math.log(4) * 2 * len(seen) / max(free, 1)  # the median of a Rayleigh distribution
        variance = (NOISE_WEIGHT * expected + free * variance) / (NOISE_WEIGHT + free)
        weights = confidence / (1 + distance**2 / (CAUCHY**2 * variance)) / variance
        values = np.concatenate([[state.pitch, state.yaw, 0, 0, 0, 0], state.shape])
        weighted = weights[:, None] * jacobian
        information = (jacobian.conj().T @ weighted).real
        information[diagonal] += prior
        step = np.linalg.solve(information, (weighted.conj().T @ wrong).real - prior * values)
        step *= min(1.0, 0.3 / max(1e-9, np.abs(step[:2]).max()))
        state = _State(
            float(np.clip(state.pitch + step[0], -STEEPEST, STEEPEST)),
            state.yaw + float(step[1]),
            state.a + complex(step[2], step[3]),
            state.t + complex(step[4], step[5]),
            state.shape + step[6:],
        )
        if np.abs(step[:2]).max() < 3e-5:
            break
    covariance = np.linalg.inv(information)
    residual = middle * math.sqrt(2 / math.log(4))
    return _Fit(state, residual, (math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1])))


def _model(points: Real, modes: Real, state: _State) -> tuple[Complex, Complex]:
    """Where the landmarks are seen [K], and its derivatives [K, 6 + M] by pitch, yaw, a (2), t (2) and shape."""
    axes = _axes(state.pitch, state.yaw)
    turned = (modes.reshape(-1, 3) @ axes).reshape(modes.shape)  # [M, K, 3]
    local = points @ axes + np.tensordot(state.shape, turned, 1)
    x, y, z = local.T
    w = _seen(local)
    cp, sp = math.cos(state.pitch), math.sin(state.pitch)
    jacobian = np.zeros((len(points), 6 + len(modes)), np.complex128)
    jacobian[:, 0] = 1j * z + w * y  # by pitch, (x, y, z) moves to (0, -z, y)
    jacobian[:, 1] = sp * y - cp * z + 1j * sp * x + w * cp * x  # by yaw to (sp y - cp z, -sp x, cp x)
    jacobian[:, 6:] = (turned[..., 0] - 1j * turned[..., 1] + w * turned[..., 2]).T
    jacobian *= (state.a / (1 - z))[:, None]
    jacobian[:, 2:6] = np.stack([w, 1j * w, np.ones_like(w), np.full_like(w, 1j)], axis=1)
    return state.a * w + state.t, jacobian


def _median(values: Real, weights: Real) -> float:
    order = values.argsort()
    share = weights[order].cumsum()
    return float(values[order][np.searchsorted(share, share[-1] / 2)])
