"""OpenCV's cascades find the astronaut, wherever and however large she is, and nobody where nobody is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gramhd_core.data.landmark_haar import ESTIMATED, EYES_AT, HaarLandmarks
from gramhd_core.data.landmarks import EYES_2

BOX = np.array([177, 67, 270, 160])
EYES = np.array([[201.5, 100.5], [247.5, 103.5]])  # by hand


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return np.asarray(astronaut())


def test_the_astronaut_has_a_face_and_two_eyes(astronaut: np.ndarray) -> None:
    detector = HaarLandmarks()
    [face] = detector(astronaut, name="astronaut")
    assert detector.coarse and face.scheme == detector.scheme == EYES_2
    assert np.abs(np.array(face.box) - BOX).max() < 8
    assert np.abs(face.points - EYES).max() < 3 and (face.confidence == 1).all()
    [again] = HaarLandmarks()(astronaut, name="again")
    assert (again.points == face.points).all() and again.box == face.box


def test_a_larger_photograph_has_the_same_face_in_larger_pixels(astronaut: np.ndarray) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((1536, 1536), Image.Resampling.BICUBIC))
    [face] = HaarLandmarks()(large, name="large")
    assert np.abs(face.points / 3 - EYES).max() < 4 and np.abs(np.array(face.box) / 3 - BOX).max() < 12


def test_two_faces_come_largest_first(astronaut: np.ndarray) -> None:
    part = astronaut[20:220, 120:320]
    small = np.asarray(Image.fromarray(part).resize((120, 120)))
    photo = np.full((220, 400, 3), 150, np.uint8)
    photo[10:210, 190:390], photo[50:170, 20:140] = part, small
    first, second = HaarLandmarks()(photo, name="two")
    assert first.area > second.area and first.box[0] > 190 > second.box[2]


def test_eyes_that_are_not_seen_are_estimated(astronaut: np.ndarray) -> None:
    hidden = astronaut.copy()
    hidden[90:112, 236:262] = hidden[125, 240]  # a patch over the eye on the right
    faces = HaarLandmarks()(hidden, name="hidden")
    assert len(faces) == 1 and faces[0].confidence.tolist() == [1, ESTIMATED]
    left, top, right, bottom = faces[0].box
    expected = (left + EYES_AT[1][0] * (right - left), top + EYES_AT[1][1] * (bottom - top))
    assert faces[0].points[1] == pytest.approx(expected) and np.abs(faces[0].points[0] - EYES[0]).max() < 4


@pytest.mark.parametrize("shape", [(200, 200, 3), (1, 1, 3), (3, 900, 3)])
def test_nobody_is_found_where_nobody_is(shape: tuple[int, ...]) -> None:
    assert HaarLandmarks()(np.full(shape, 90, np.uint8), name="empty") == []
