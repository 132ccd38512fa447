"""Landmarks of COCO-style annotations: named keypoints with a visibility, or the faces of COCO-WholeBody.

COCO's left and right are the person's; ours are those of the picture, so a left eye becomes the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramhd_core.errors import BadLabels

CONFIDENCE = np.array([0.0, 0.5, 1.0])  # of v = 0 (not labelled), 1 (hidden), 2 (visible)
NAMED = {  # the landmarks of a scheme of ours by their names in COCO's categories
    5: ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth"),
    2: ("right_eye", "left_eye"),
}
FACE_COUNT = 68  # of COCO-WholeBody, in iBUG order


def is_coco(content: Any) -> bool:
    """Whether parsed JSON looks like COCO annotations."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def coco_entries(content: dict[str, Any], source: str) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """(image name, what messages call it, float64 [K, 3]: x, y as COCO has them, confidence) of every head."""
    try:
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        names = {category["id"]: category.get("keypoints") or [] for category in content.get("categories", [])}
        annotations = list(content["annotations"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad(source, f"an entry lacks {error}") from error
    for i, annotation in enumerate(annotations):
        where = f"{source}, annotation {i},"
        try:
            image = images[annotation["image_id"]]
            rows = _rows(annotation, names.get(annotation.get("category_id"), []))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise _bad(where, f"it cannot be read: {error}") from error
        if rows is not None:
            yield image, where, rows


def _rows(annotation: dict[str, Any], names: list[str]) -> NDArray[np.float64] | None:
    """[K, 3], or None where the annotation shows no face."""
    if "face_kpts" in annotation:
        if not annotation.get("face_valid", True):
            return None
        return _triples(annotation["face_kpts"], whole=True)
    if not annotation.get("keypoints"):
        return None
    rows = _triples(annotation["keypoints"], whole=False)
    if names and len(names) != len(rows):
        raise ValueError(f"{len(rows)} keypoints for {len(names)} names")
    for wanted in NAMED.values():
        if set(wanted) <= set(names):
            return rows[[names.index(name) for name in wanted]]
    return rows


def _triples(values: list[float], *, whole: bool) -> NDArray[np.float64]:
    rows = np.array(values, dtype=np.float64).reshape(-1, 3)
    if whole and len(rows) != FACE_COUNT:
        raise ValueError(f"{len(rows)} points of a face instead of {FACE_COUNT}")
    seen = rows[:, 2]
    confidence = seen if whole else CONFIDENCE[np.clip(np.nan_to_num(seen), 0, 2).astype(int)]
    return np.column_stack([rows[:, :2], np.clip(np.nan_to_num(confidence), 0, 1)])


def _bad(where: str, why: str) -> BadLabels:
    return BadLabels(
        f"{where} does not hold keypoints of COCO ({why})",
        expected="images with id and file_name, annotations with image_id and x, y, v of every keypoint were expected",
        remedy="write the file again",
    )
