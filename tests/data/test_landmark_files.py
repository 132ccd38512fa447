"""Landmark files of every kind mean the same pixels; what is no such file is said in a sentence."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from gramhd_core.data.landmark_files import (
    IBUG_FROM_WFLW,
    far_outside,
    landmarks_beside,
    landmarks_from_file,
    read_landmarks,
)
from gramhd_core.data.landmarks import CAT_9, EYES_2, FACE_5, IBUG_68, Face, Scheme, box_of
from gramhd_core.errors import BadLabels

FIVE = np.array([[30.5, 40.5], [60.5, 41.5], [45.5, 55.5], [33.5, 70.5], [58.5, 71.5]])  # ours
IBUG = np.random.default_rng(0).uniform(10, 200, (68, 2)).round(2)
IMAGE = np.zeros((4, 4, 3), np.uint8)


def only(path: Path) -> Face:
    [faces] = read_landmarks(path).values()
    [face] = faces
    return face


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_tables_are_in_our_pixels(tmp_path: Path) -> None:
    rows = FIVE.tolist()
    files = [
        write(tmp_path / "a.json", json.dumps({"a.jpg": rows})),
        write(tmp_path / "b.json", json.dumps([{"file": "a.jpg", "landmarks": rows}])),
        write(tmp_path / "c.json", json.dumps({"a.jpg": {"points": rows}})),
        write(tmp_path / "d.jsonl", json.dumps({"name": "a.jpg", "pitch": 0.1, "landmarks": rows}) + "\n\n"),
        write(tmp_path / "e.csv", "image," + ",".join("xy"[i % 2] for i in range(10)) + "\na.jpg," + numbers(FIVE)),
        write(tmp_path / "f.csv", "a.jpg, " + numbers(FIVE)),
    ]
    for file in files:
        assert list(read_landmarks(file)) == ["a.jpg"], file
        face = only(file)
        assert face.scheme == FACE_5 and (face.points == FIVE).all() and (face.confidence == 1).all()
        assert face.box == (30.5, 40.5, 60.5, 71.5)


def numbers(points: np.ndarray) -> str:
    return ",".join(f"{x:g}" for x in points.ravel())


def test_pixel_indices_gain_half_a_pixel_and_counts_from_one_lose_it(tmp_path: Path) -> None:
    text = "".join(f"{x - 0.5:g} {y - 0.5:g}\n" for x, y in FIVE)
    assert np.allclose(only(write(tmp_path / "a.txt", text)).points, FIVE)
    cat = np.random.default_rng(1).integers(0, 300, (9, 2))
    face = only(write(tmp_path / "b.cat", "9 " + " ".join(map(str, cat.ravel().tolist())) + " "))
    assert face.scheme == CAT_9 and (face.points == cat + 0.5).all()
    body = "\n".join(f"{x + 0.5:.2f} {y + 0.5:.2f}" for x, y in IBUG)
    face = only(write(tmp_path / "c.pts", f"version: 1\nn_points: 68\n{{\n{body}\n}}\n"))
    assert face.scheme == IBUG_68 and np.allclose(face.points, IBUG)


def test_wflw_keeps_the_68_landmarks_that_ibug_has(tmp_path: Path) -> None:
    points = np.arange(196).reshape(98, 2)
    line = " ".join(map(str, [*points.ravel().tolist(), 1, 2, 3, 4, *[0] * 6, "37--Soccer/a game 1.jpg"]))
    table = read_landmarks(write(tmp_path / "list_98pt.txt", f"{line}\n{line.replace('game 1', 'game 2')}\n"))
    assert list(table) == ["37--Soccer/a game 1.jpg", "37--Soccer/a game 2.jpg"]
    [face] = table["37--Soccer/a game 1.jpg"]
    assert face.scheme == IBUG_68 and (face.points == points[list(IBUG_FROM_WFLW)] + 0.5).all()


def test_the_mirror_of_wflw_becomes_the_mirror_of_ibug() -> None:
    brows, lids = dict(zip(range(33, 42), (46, 45, 44, 43, 42, 50, 49, 48, 47), strict=True)), {}
    lids = dict(zip(range(60, 68), (72, 71, 70, 69, 68, 75, 74, 73), strict=True))
    mouth = {76: 82, 77: 81, 78: 80, 79: 79, 83: 87, 84: 86, 85: 85, 88: 92, 89: 91, 90: 90, 93: 95, 94: 94}
    pairs = {k: 32 - k for k in range(33)} | brows | lids | mouth | {k: k for k in range(51, 55)}
    pairs |= {55 + k: 59 - k for k in range(5)}
    pairs |= {b: a for a, b in pairs.items()}
    for k, wflw in enumerate(IBUG_FROM_WFLW):
        assert pairs[wflw] == IBUG_FROM_WFLW[IBUG_68.mirror[k]], k


def coco(annotations: list[dict], names: list[str] | None = None) -> str:
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}]
    categories = [{"id": 1, "keypoints": names}] if names else []
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def test_coco_eyes_are_named_by_the_person_and_its_visibility_is_a_confidence(tmp_path: Path) -> None:
    names = ["nose", "left_eye", "right_eye"]
    annotation = {"image_id": 7, "category_id": 1, "keypoints": [5, 5, 2, 8, 3, 1, 2, 3, 2]}
    face = only(write(tmp_path / "a.json", coco([annotation], names)))
    assert face.scheme == EYES_2
    assert face.points.tolist() == [[2.5, 3.5], [8.5, 3.5]] and face.confidence.tolist() == [1, 0.5]
    annotation["keypoints"] = [5, 5, 2, 0, 0, 0, 2, 3, 2]
    face = only(write(tmp_path / "b.json", coco([annotation], names)))
    assert face.found.tolist() == [True, False] and face.confidence[1] == 0


def test_whole_bodies_of_coco_have_68_landmarks_and_several_faces_come_largest_first(tmp_path: Path) -> None:
    rows = np.column_stack([IBUG, np.full(68, 0.9)])
    small = np.column_stack([IBUG / 2, np.full(68, 0.8)])
    bodies = [
        {"image_id": 8, "face_valid": True, "face_kpts": small.ravel().tolist()},
        {"image_id": 8, "face_valid": True, "face_kpts": rows.ravel().tolist()},
        {"image_id": 7, "face_valid": False, "face_kpts": [0] * 204},
    ]
    table = read_landmarks(write(tmp_path / "a.json", coco(bodies)))
    assert list(table) == ["b.jpg"]
    large, little = table["b.jpg"]
    assert large.area > little.area and np.allclose(large.points, IBUG + 0.5) and np.allclose(little.confidence, 0.8)


def test_landmarks_may_be_missing(tmp_path: Path) -> None:
    rows = [[30, 40], None, [math.nan, 3], [33, 70, 0.25], [58, None]]
    rows = [row if row is None or len(row) == 3 else [*row, 1] for row in rows]
    text = json.dumps({"a": [row or [None, None, None] for row in rows], "nobody": [[None, None]] * 5})
    table = read_landmarks(write(tmp_path / "a.json", text))
    [face] = table["a"]
    assert face.found.tolist() == [True, False, False, True, False] and face.confidence[3] == 0.25
    assert np.isnan(face.points[~face.found]).all() and face.box == (30, 40, 33, 70) and table["nobody"] == []
    face = only(write(tmp_path / "b.csv", "a,1,2,,,5,6,nan,8,9,10"))
    assert face.found.tolist() == [True, False, True, False, True]


def test_a_folder_of_files_is_a_table(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jpg.txt"):
        write(tmp_path / name, "".join("1 2\n" for _ in range(5)))
    assert list(read_landmarks(tmp_path)) == ["a", "b.jpg"] and landmarks_beside(tmp_path) is None
    write(tmp_path / "c.pts", "version: 1\nn_points: 5\n{\n" + "1 2\n" * 5 + "}\n")
    assert landmarks_beside(tmp_path) == tmp_path and len(read_landmarks(tmp_path)) == 3
    table = write(tmp_path / "landmarks.csv", "a.jpg," + numbers(FIVE))
    assert landmarks_beside(tmp_path) == table and list(read_landmarks(tmp_path)) == ["a.jpg"]


def test_images_are_found_by_name_by_last_part_and_by_stem(tmp_path: Path) -> None:
    text = json.dumps({"x/a.jpg": FIVE.tolist(), "b": FIVE.tolist(), "nobody.jpg": []})
    text = text.replace('"nobody.jpg": []', '"nobody.jpg": [[null, null], null, null, null, null]')
    detector = landmarks_from_file(write(tmp_path / "a.json", text))
    assert detector.scheme == FACE_5 and not detector.coarse and detector.name == "file"
    for name in ("x/a.jpg", "b", "b.png", "deep/b.jpeg"):
        assert len(detector(IMAGE, name=name)) == 1 and detector.knows(name), name
    assert detector(IMAGE, name="nobody.jpg") == [] and detector.knows("nobody.jpg")
    assert detector(IMAGE, name="c.jpg") == [] and not detector.knows("c.jpg")
    part = pickle.loads(pickle.dumps(detector.only(["deep/b.jpeg"])))
    assert list(part.faces) == ["b"] and len(part(IMAGE, name="deep/b.jpeg")) == 1


def test_a_scheme_of_ones_own_is_read_when_it_is_named(tmp_path: Path) -> None:
    seven = Scheme("dog-7", (1, 0, 2, 3, 4, 6, 5))
    path = write(tmp_path / "a.json", json.dumps({"a": [[1, 2]] * 7}))
    assert read_landmarks(path, seven)["a"][0].scheme == seven
    with pytest.raises(BadLabels, match=r"7 landmarks, but 68 \(ibug-68\), 5"):
        read_landmarks(path)
    with pytest.raises(BadLabels, match=r"9 \(cat-9\) was expected"):
        read_landmarks(path, CAT_9)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "3", "neither a table nor a list"),
        ("a.json", "{}", "holds no landmarks"),
        ("a.json", '{"a": "b"}', r"a\.json, a, does not hold landmarks"),
        ("a.json", '{"a": [[1, 2], [1]]}', "does not hold landmarks"),
        ("a.json", '{"a": [[1, 2, 3], [1, 2, 3]]}', "confidence of 3"),
        ("a.json", '[{"landmarks": []}]', "Entry 0"),
        ("a.json", '{"a": [[1, 2], [3, 4]], "b": [[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]}', "2 .eyes-2. was expected"),
        ("a.json", '{"images": [{}], "annotations": []}', "COCO"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 3}]}', "annotation 0"),
        ("a.jsonl", '{"name": "a", "landmarks": [[1, 2], [3, 4]]}\n{"name": "b"}', "Line 2"),
        ("a.csv", "a,1,2,3,4\nb,1,2,x,4", "Line 2 .*'x'"),
        ("a.csv", "a,1,2,3", "not 3 numbers"),
        ("a.txt", "1 2\n3", "Line 2"),
        ("a.txt", "", "five lines"),
        ("a.cat", "8 1 2", "9 pairs"),
        ("a.pts", "version: 1\nn_points: 3\n{\n1 2\n}", "n_points"),
        ("a.pts", "1 2", "braces"),
        ("a.xml", "<a/>", "ends with .xml"),
        ("a.csv", "a,,,,", "no image with a landmark"),
    ],
)
def test_what_is_no_landmark_file_is_refused_in_a_sentence(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(BadLabels, match=says) as refusal:
        landmarks_from_file(write(tmp_path / name, text))
    assert "Traceback" not in str(refusal.value) and str(refusal.value).endswith(".")


def test_unreadable_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadLabels, match="not text"):
        read_landmarks(tmp_path / "a.csv")
    with pytest.raises(BadLabels, match="cannot be read"):
        read_landmarks(tmp_path / "none.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadLabels, match="no landmark files"):
        read_landmarks(tmp_path / "empty")


def test_a_little_outside_is_not_far() -> None:
    points = np.array([[-2.0, 5.0], [105.0, 20.0], [50.0, -40.0], [20.0, 60.0], [np.nan, np.nan]])
    face = Face(FACE_5, points, np.array([1.0, 1, 1, 1, 0]), box_of(points))
    assert far_outside(face, width=100, height=100) == 1
    assert far_outside(face, width=80, height=100) == 2
    assert far_outside(face, width=100, height=100, share=0) == 3
