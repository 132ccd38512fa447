"""Templates: symmetric, derived from the heads of this repository, and the same after a trip to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gramhd_core.data.landmarks import CAT_9, EYES_2, FACE_5, IBUG_68, SCHEMES, Scheme
from gramhd_core.data.subjects import CATS, FACES, PROCEDURAL_HEADS, Subject
from gramhd_core.data.templates import (
    HEAD_FILE,
    HEAD_SEEDS,
    Template,
    load_template,
    measured,
    save_template,
    template_for,
)
from gramhd_core.errors import BadArgument, BadLabels
from gramhd_core.geometry.camera import CameraPrior

MIRROR = np.array([-1, 1, 1])
BUILT_IN = [(FACES, IBUG_68), (FACES, FACE_5), (PROCEDURAL_HEADS, EYES_2), (CATS, CAT_9), (CATS, EYES_2)]


@pytest.mark.parametrize(("subject", "scheme"), BUILT_IN)
def test_a_built_in_template_is_its_own_mirror_image_and_fits_into_the_crop(subject: Subject, scheme: Scheme) -> None:
    template = template_for(scheme, subject)
    assert np.allclose(template.points[list(scheme.mirror)] * MIRROR, template.points, atol=2e-6)
    assert np.abs(template.points).max() < 0.105 and template.points[:, 2].mean() > 0
    assert template.points[0, 0] < 0 < template.points[scheme.mirror[0], 0]  # left is left in the picture
    assert len(template.origin) > 20


def test_the_file_of_heads_is_what_fewer_heads_give_nearly() -> None:
    stored, fewer = load_template(HEAD_FILE), measured(HEAD_SEEDS[:150])
    assert np.abs(stored.points - fewer.points).max() < 0.0008  # a pixel at 256
    there, here = (t.modes.reshape(len(t.modes), -1) for t in (stored, fewer))
    assert np.allclose(np.linalg.norm(there, axis=1), np.linalg.norm(here, axis=1), rtol=0.3)
    kept = np.linalg.svd(there, full_matrices=False)[2]
    assert np.linalg.norm(here - here @ kept.T @ kept) < 0.15 * np.linalg.norm(here)  # the same ways to differ
    assert 0 < stored.spread < 0.0005
    assert HEAD_FILE.stat().st_size < 50_000


def test_nose_is_before_eyes_before_ears() -> None:
    points = template_for(IBUG_68, FACES).points
    assert points[30, 2] > points[36:48, 2].max() > points[[0, 16], 2].max()
    assert points[27, 1] > points[57, 1] > points[8, 1]


def test_templates_survive_their_files(tmp_path: Path) -> None:
    own = Scheme("my animals", (1, 0, 2, 3))
    points = np.array([[-0.05, 0, 0], [0.05, 0, 0], [0, 0.02, 0.07], [0, -0.04, 0.01]])
    for template in (
        template_for(FACE_5, FACES),
        Template(own, points, "drawn"),
        Template(own, points, "?", np.ones((2, 4, 3)) / 99),
    ):
        save_template(template, tmp_path / "t.json")
        again = load_template(tmp_path / "t.json")
        assert (again.scheme, again.origin) == (template.scheme, template.origin)
        assert np.allclose(again.points, template.points, atol=1e-6) and np.allclose(
            again.modes, template.modes, atol=1e-6
        )
        assert abs(again.spread - template.spread) < 1e-6


def test_a_template_by_hand_needs_scheme_and_points_only(tmp_path: Path) -> None:
    points = template_for(CAT_9, CATS).points.tolist()
    (tmp_path / "t.json").write_text(json.dumps({"scheme": "cat-9", "points": points}))
    template = load_template(tmp_path / "t.json")
    assert template.scheme is SCHEMES["cat-9"] and template.modes.shape == (0, 9, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"scheme": "dog-7", "points": []}',
        '{"scheme": "face-5", "points": [[0, 0, 0]]}',
        '{"scheme": {"name": "x", "mirror": [1, 1]}, "points": [[0, 0, 0], [0, 0, 1]]}',
        json.dumps({"scheme": "face-5", "points": [[k / 100, 0, 0] for k in range(5)]}),
        json.dumps({"scheme": "face-5", "points": [[k * 100, k * k, 0] for k in range(5)]}),
        '{"scheme": "eyes-2", "points": [[NaN, 0, 0], [0, 0, 0]]}',
    ],
)
def test_a_file_that_is_no_template_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(BadLabels, match="not a landmark template"):
        load_template(tmp_path / "t.json")


def test_what_has_no_template_names_what_has_and_the_way_out() -> None:
    with pytest.raises(BadArgument, match=r"cats has no template for face-5.*cat-9 and eyes-2.*--self-calibrate"):
        template_for(FACE_5, CATS)
    with pytest.raises(BadArgument, match=r"foxes has no template.*--self-calibrate"):
        template_for(IBUG_68, Subject("foxes", CameraPrior()))
