"""What was seen of single heads is found again by whoever goes on, and by nobody else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import consistency_scores
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.notebook import Notebook
from gramhd_core.metrics.report import HEADS, make_report
from gramhd_core.metrics.request import EvaluationRequest
from gramhd_core.metrics.scores import Picture, Seen
from gramhd_core.metrics.views import ViewSet, views_of_head

SYSTEM = {"kind": "views", "name": "theirs", "fingerprint": "0", "size": 32, "facts": []}


def test_what_was_kept_is_found_with_its_key_alone(tmp_path: Path) -> None:
    picture = Picture(np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "two > one")
    Notebook(tmp_path, "key").keep("NeuS, head 0", Seen({"PSNR": 1 / 3, "SSIM": math.nan}, {"strip": picture}))
    found = Notebook(tmp_path, "key").find("NeuS, head 0")
    assert found is not None and found.numbers["PSNR"] == 1 / 3 and math.isnan(found.numbers["SSIM"])
    assert found.pictures["strip"].caption == "two > one"
    assert np.array_equal(found.pictures["strip"].image, picture.image)
    assert Notebook(tmp_path, "other").find("NeuS, head 0") is None
    assert Notebook(tmp_path, "key").find("NeuS, head 1") is None and Notebook().find("NeuS, head 0") is None
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    assert Notebook(tmp_path, "key").find("NeuS, head 0") is None, "half a file is none"


@pytest.fixture
def three() -> list[ViewSet]:
    cameras = CameraPrior().at(torch.zeros(3), torch.tensor([-0.1, 0.0, 0.1]), size=32)
    return [views_of_head(HeadIdentity.from_seed(i), cameras, name=f"head {i}", supersample=1) for i in range(3)]


@pytest.mark.slow
def test_an_interrupted_report_goes_on_with_the_head_it_was_at(
    three: list[ViewSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(out: Path, *, force: bool = False) -> dict:
        evaluation = Evaluation(three, request=EvaluationRequest(identities=3))
        return make_report(evaluation, ["reprojection"], system=SYSTEM, out=out, force=force)["metrics"]

    whole = measured(tmp_path / "whole")
    assert whole["reprojection"]["protocol"]["identities"] == 3
    looked, moved = [], consistency_scores.reprojected

    def stopped_at_the_third(views: ViewSet):
        looked.append(views.name)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return moved(views)

    monkeypatch.setattr(consistency_scores, "reprojected", stopped_at_the_third)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        measured(out)
    assert len(list((out / HEADS).iterdir())) == 2
    assert measured(out) == whole and looked == ["head 0", "head 1", "head 2", "head 2"]
    assert not (out / HEADS).exists()
    assert measured(out, force=True) == whole and looked[4:] == ["head 0", "head 1", "head 2"]
