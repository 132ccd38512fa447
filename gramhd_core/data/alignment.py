"""One photograph -> its heads, each upright in a crop of its own, or the reason why not.

H x W photograph; S side of a crop; K landmarks. Pixels are those of the whole photograph file, however much smaller it
was decoded. Angles are radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gramhd_core.data import crop as crops
from gramhd_core.data.landmarks import Face, LandmarkDetector
from gramhd_core.data.photo_files import PhotoFile, Picture
from gramhd_core.data.photo_request import SEVERAL, Aligned, PhotoRequest, Reject
from gramhd_core.data.pose import HeadPose, PoseError, fit_pose
from gramhd_core.data.templates import Template
from gramhd_core.errors import BadImage

SMALLEST_PHOTO = 64  # pixels of the shorter side
SMALLEST_SHARE = 0.25  # a crop is enlarged four times at most
SEARCH_SIDE = 1280  # longest side of the picture in which heads are looked for
DETAIL = 1.5  # decoded pixels per pixel of a crop, where the photograph has them
MOST_OUTSIDE = 0.25  # share of the landmarks of a head
BLUR_SIDE = 128  # sharpness is measured at this size
FILE_DETECTOR = "file"  # reads where landmarks are, and needs no pixels for it


def aligned_heads(
    photo: PhotoFile, *, detector: LandmarkDetector, template: Template, request: PhotoRequest
) -> list[Aligned | Reject]:
    """Every head that was asked for, or why it is left out. One reject without a head: the whole photograph."""
    faces, picture = find_faces(photo, detector)
    return align_faces(photo, faces, template=template, request=request, picture=picture)


def find_faces(photo: PhotoFile, detector: LandmarkDetector) -> tuple[list[Face], Picture | None]:
    """All heads, the largest first, and the picture in which they were found (None: they were read from a file)."""
    if min(photo.height, photo.width) < SMALLEST_PHOTO:
        return [], None
    if detector.name == FILE_DETECTOR:
        whole = np.broadcast_to(np.zeros((), np.uint8), (photo.height, photo.width, 3))
        return detector(whole, name=photo.name), None
    picture = photo.thumbnail(side=SEARCH_SIDE)
    return [_scaled(face, 1 / picture.factor) for face in detector(picture.image, name=photo.name)], picture


def align_faces(
    photo: PhotoFile,
    faces: Sequence[Face],
    *,
    template: Template,
    request: PhotoRequest,
    picture: Picture | None = None,
) -> list[Aligned | Reject]:
    """Crops of heads whose landmarks are known. picture: the photograph decoded, if it is at hand."""
    if min(photo.height, photo.width) < SMALLEST_PHOTO:
        size = f"{photo.width} x {photo.height} pixels, {SMALLEST_PHOTO} are needed"
        return [Reject("too small", f"too small ({size})")]
    if not faces:
        return [Reject("no face", "no face was found")]
    if request.faces == "one" and len(faces) > 1:
        return [Reject(SEVERAL, f"{SEVERAL} ({len(faces)})")]
    found: list[Aligned | Reject] = []
    for number, face in enumerate(faces if request.faces == "all" else faces[:1]):
        pose = pose_of(photo, face, template=template, request=request)
        if isinstance(pose, str):
            found.append(Reject(_kind(pose), pose, number))
            continue
        picture = _sharp_enough(photo, picture, pose, request)
        found.append(_cropped(picture, face, pose, request=request, number=number))
    return found


def pose_of(photo: PhotoFile, face: Face, *, template: Template, request: PhotoRequest) -> HeadPose | str:
    """How the photograph shows this head, or why that is not good enough."""
    limits, fov = request.subject.limits, request.subject.cameras.fov_degrees
    known = face.points[face.found]
    beyond = ((known < 0) | (known > (photo.width, photo.height))).any(axis=1)
    if len(known) and beyond.mean() > MOST_OUTSIDE:
        return f"landmarks outside the picture ({beyond.sum()} of {len(known)})"
    try:
        pose = fit_pose(face, template, fov_degrees=fov)
    except PoseError as error:
        return error.reason
    if not pose.residual <= limits.residual:  # NaN is none
        return f"residual too large ({pose.residual:.3f} of the crop, at most {limits.residual:g})"
    if abs(pose.yaw) > limits.yaw or abs(pose.pitch) > limits.pitch:
        rule = f"at most {limits.yaw:g} and {limits.pitch:g}"
        return f"extreme pose (yaw {pose.yaw:+.2f}, pitch {pose.pitch:+.2f} rad, {rule})"
    side, least = crops.crop_side(pose, fov), request.size * SMALLEST_SHARE
    if side < least:
        return f"face too small (its crop has {side:.0f} pixels, {math.ceil(least)} are needed for {request.size})"
    whole = (photo.height, photo.width)
    outside = 1 - crops.covered(whole, pose, fov_degrees=fov, keep_roll=request.keep_roll)
    if outside > limits.outside:
        return f"cut off ({100 * outside:.0f} % of the crop is outside the picture, at most {100 * limits.outside:.0f})"
    return pose


def sharpness_of(image: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the greys (0 to 255) in the middle of a crop [S, S, 3], at BLUR_SIDE pixels or S."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    if len(grey) > BLUR_SIDE:
        grey = np.asarray(cv2.resize(grey, (BLUR_SIDE, BLUR_SIDE), interpolation=cv2.INTER_AREA))
    middle = slice(len(grey) // 4, len(grey) - len(grey) // 4)
    return float(np.asarray(cv2.Laplacian(grey, cv2.CV_64F))[middle, middle].var())


def _cropped(picture: Picture, face: Face, pose: HeadPose, *, request: PhotoRequest, number: int) -> Aligned | Reject:
    fov, limits = request.subject.cameras.fov_degrees, request.subject.limits
    centre = picture.factor * pose.centre[0], picture.factor * pose.centre[1]
    image = crops.crop(
        picture.image,
        pose._replace(centre=centre, scale=picture.factor * pose.scale),
        size=request.size,
        fov_degrees=fov,
        keep_roll=request.keep_roll,
        padding=request.padding,
    )
    sharpness = sharpness_of(image)
    if sharpness < limits.sharpness:
        reason = f"blurred (sharpness {sharpness:.1f}, at least {limits.sharpness:g})"
        return Reject("blurred", reason, number)
    points = np.full_like(face.points, np.nan)
    points[face.found] = crops.crop_points(
        face.points[face.found], pose, size=request.size, fov_degrees=fov, keep_roll=request.keep_roll
    )
    label = crops.label_of(pose, fov_degrees=fov, keep_roll=request.keep_roll)
    return Aligned(image, pose, label, points, sharpness, number)


def _sharp_enough(photo: PhotoFile, picture: Picture | None, pose: HeadPose, request: PhotoRequest) -> Picture:
    """The picture at hand if a crop loses nothing by it, or one decoded larger."""
    side = crops.crop_side(pose, request.subject.cameras.fov_degrees)
    factor = min(1.0, DETAIL * request.size / side)
    if picture is not None and picture.factor >= factor - 1e-6:
        return picture
    return photo.decode(factor=factor)


def _scaled(face: Face, factor: float) -> Face:
    left, top, right, bottom = (factor * value for value in face.box)
    return Face(face.scheme, face.points * factor, face.confidence, (left, top, right, bottom))


def _kind(reason: str) -> str:
    """`extreme pose (yaw ...)` counts as an extreme pose."""
    return reason.partition(" (")[0]


def unreadable(error: BadImage) -> Reject:
    """The reject for a photograph that cannot be read."""
    return Reject("unreadable", error.given)
