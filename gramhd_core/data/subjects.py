"""What we photograph, and the numbers that go with it, each with a name. Angles are radians.

Cameras: GRAM and GRAM-HD train FFHQ faces and AFHQ cats alike with yaw ~ N(0, 0.3) and pitch ~ N(0, 0.155).
"""

from __future__ import annotations

from dataclasses import dataclass

from gramhd_core.geometry.camera import CameraPrior


@dataclass(frozen=True)
class Subject:
    """One kind of head.

    cameras: the distribution of poses its pictures are taken from.
    label_pitch_offset: added to the pitch of the published pose files of this subject to make "level" mean zero;
        the regressors behind those files had another idea of level.
    """

    name: str
    cameras: CameraPrior
    label_pitch_offset: float = 0.0


FACES = Subject("faces", CameraPrior(pitch_sd=0.155, yaw_sd=0.3), label_pitch_offset=-0.1)  # FFHQ poses/*.mat
CATS = Subject("cats", CameraPrior(pitch_sd=0.155, yaw_sd=0.3), label_pitch_offset=-0.14)  # AFHQ poses/*_pose.npy
PROCEDURAL_HEADS = Subject("procedural-heads", CameraPrior(pitch_sd=0.155, yaw_sd=0.3))  # exact by construction
