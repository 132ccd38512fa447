"""What can be asked of photographs, and what one photograph answers. S: side of a crop in pixels; K landmarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.image_files import check_size
from gramhd_core.data.pose import HeadPose
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.subjects import FACES, Subject
from gramhd_core.errors import BadArgument

Which = Literal["largest", "all", "one"]
Padding = Literal["blur", "reflect"]
Prior = Literal["subject", "measured"]


@dataclass(frozen=True)
class PhotoRequest:
    """How photographs become a data set.

    landmarks: the name of a detector (`detectors.py`); landmark_file: what the detector `file` reads.
    self_calibrate: learn the template from the landmarks of these photographs.
    faces: of several heads in a photograph take the largest, all, or none ("one": such photographs are left out).
    keep_roll: leave heads tilted as they are, and say so in their labels.
    padding: what lies beyond the borders of a photograph. size: side of the crops, pixels. limit: how many photographs.
    prior: the cameras that training is told to draw: the subject's, or those measured here.
    """

    subject: Subject = FACES
    landmarks: str = "auto"
    landmark_file: Path | None = None
    self_calibrate: bool = False
    faces: Which = "largest"
    keep_roll: bool = False
    padding: Padding = "blur"
    size: int = 256
    limit: int | None = None
    prior: Prior = "subject"

    def __post_init__(self) -> None:
        check_size(self.size)
        for name, kind in (("faces", Which), ("padding", Padding), ("prior", Prior)):
            if getattr(self, name) not in get_args(kind):
                raise BadArgument(
                    f"--{name} {getattr(self, name)}",
                    expected=f"it is one of {', '.join(get_args(kind))}",
                    remedy="choose one of them",
                )
        if self.limit is not None and self.limit < 1:
            raise BadArgument(
                f"--limit {self.limit}",
                expected="at least one photograph is looked at",
                remedy="give --limit 1",
            )

    def recipe(self) -> dict[str, Any]:
        """What must be the same for a folder to be gone on with. A limit may grow, unless a template depends on it."""
        return {
            "subject": self.subject.name,
            "size": self.size,
            "fov_degrees": self.subject.cameras.fov_degrees,
            "limits": asdict(self.subject.limits),
            "faces": self.faces,
            "keep_roll": self.keep_roll,
            "padding": self.padding,
            "self_calibrate": self.self_calibrate,
            "limit": self.limit if self.self_calibrate else None,
        }


class Aligned(NamedTuple):
    """One head of a photograph in a crop of its own."""

    image: NDArray[np.uint8]  # [S, S, 3]
    pose: HeadPose  # pixels of the whole photograph
    label: Pose  # the camera of the crop
    points: NDArray[np.float64]  # [K, 2] landmarks in pixels of the crop, NaN where unknown
    sharpness: float
    face: int  # 0: the largest of the photograph


SEVERAL = "several faces"


class Reject(NamedTuple):
    """Why a photograph (or one of its heads) is left out. kind: for counting (`SEVERAL` is one)."""

    kind: str
    reason: str
    face: int = 0
