"""What metrics look at, the contract of metrics, and the sentences for what cannot be judged."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from gramhd_cli import launch
from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.errors import BadArgument, BadCheckpoint, BadDataset
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import METRICS, evaluate, known_metrics, planned
from gramhd_core.metrics.evaluation import Evaluation, untrained_twin
from gramhd_core.metrics.request import EvaluationRequest
from gramhd_core.metrics.scores import REACH, Score
from gramhd_core.metrics.shooting import TURNED_YAW, interleaved, shoot
from gramhd_core.metrics.views import ViewSet, around, views_of_head
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.scenes.scene_files import load_scene

pytestmark = pytest.mark.slow

SIXTEEN = EvaluationRequest(16, identities=1, quick=True)
SHARED_AMONG_DEVICES = ["fid", "kid", "pose", "geometry", "consistency", "diversity", "reprojection"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> DatasetReader:
    return DatasetReader(prepare_procedural(40, tmp_path_factory.mktemp("data") / "heads", size=16, workers=1).out)


@pytest.mark.parametrize("kind", ["small_gram_hd", "small_turning"])
def test_sample_i_is_the_picture_of_seed_i(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    generator: GramHd = request.getfixturevalue(kind)
    pictures, turned = shoot(generator, SIXTEEN, size=32)
    done = sample(generator, SampleRequest((3,), truncation=1.0, view="rand"), tmp_path)
    with Image.open(done.files[0].path) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), pictures.images[3].movedim(0, -1).numpy())
    assert (*done.files[0].pitch, *done.files[0].yaw) == pytest.approx(tuple(pictures.angles[3].tolist()), abs=1e-5)
    assert turned.cameras.yaw.tolist() == pytest.approx(TURNED_YAW)
    assert turned.rgb.shape == (16, 3, 3, 32, 32) and turned.distance.shape == turned.alpha.shape == (16, 3, 32, 32)


def test_samples_do_not_depend_on_how_many_there_are(small_gram_hd: GramHd) -> None:
    few, many = (shoot(small_gram_hd, EvaluationRequest(n), size=16)[0] for n in (16, 18))
    assert torch.equal(few.images, many.images[:16]) and torch.equal(few.angles, many.angles[:16])


def test_the_halves_are_different_images_of_the_data(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    first, second = Evaluation(small_gram_hd, reader, request=EvaluationRequest(20, size=16)).halves
    both = torch.cat([first.angles, second.angles])
    assert len(both.unique(dim=0)) == 40 and both.abs().sum() > 0
    index = next(i for i in range(40) if torch.equal(reader.angles[i], first.angles[0]))
    assert torch.equal(first.images[0], reader.image(index))


def test_every_metric_gives_finite_numbers_and_the_same_twice(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    fast = [name for name in METRICS if name not in ("neus", "epi", "identity")]
    first, second = (evaluate(Evaluation(small_gram_hd, reader, request=SIXTEEN), fast) for _ in range(2))
    assert list(first) == fast
    for name, score in first.items():
        again = second[name]
        assert (score.values, score.intervals, score.ceiling, score.each, score.protocol) == (
            again.values, again.intervals, again.ceiling, again.each, again.protocol,
        )  # fmt: skip
        assert score.values and all(isinstance(v, float) and math.isfinite(v) for v in score.values.values()), name
        assert set(score.intervals) <= set(score.values) and set(score.ceiling) <= set(score.values)
    names = [value for score in first.values() for value in score.values]
    assert len(names) == len(set(names))
    assert all("procedural features" in name for name in names if "FID" in name or "KID" in name)


def test_a_random_model_is_far_from_the_data_and_an_average_head_varies_less(
    small_gram_hd: GramHd, reader: DatasetReader
) -> None:
    fid = evaluate(Evaluation(small_gram_hd, reader, request=SIXTEEN), ["fid"])["fid"].values
    assert fid["FID (procedural features)"] > 2 * fid["FID (procedural features), data against itself"]
    varied, alike = (
        evaluate(Evaluation(small_gram_hd, reader, request=EvaluationRequest(16, truncation=t)), ["diversity"])
        for t in (1.0, 0.0)
    )
    for name, value in alike["diversity"].values.items():
        assert value < 0.95 * varied["diversity"].values[name]


def test_the_untrained_twin_has_other_weights_and_always_the_same(small_gram_hd: GramHd, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = dict(small_gram_hd.state_dict())
    Checkpoint("gram-hd", small_gram_hd.config, weights, 1, 8, {}).save(path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (untrained_twin(str(path)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(first, GramHd) and isinstance(second, GramHd) and first.config == small_gram_hd.config
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.low.field.output_sigma[0].weight, small_gram_hd.low.field.output_sigma[0].weight)


def test_what_cannot_be_judged_is_refused(small_gram_hd: GramHd, reader: DatasetReader, tmp_path: Path) -> None:
    wrong = {"samples": 15}, {"samples": 10**6}, {"truncation": 1.5}, {"size": 8}, {"identities": 0}, {"neus": "slow"}
    for request in (*wrong, {"protocols": ("eg4d",)}):
        with pytest.raises(BadArgument):
            EvaluationRequest(**request)
    with pytest.raises(BadDataset, match="--samples 20 or"):
        evaluate(Evaluation(small_gram_hd, reader, request=EvaluationRequest(21)), ["pose"])
    sample(small_gram_hd, SampleRequest((0,), size=16, save_scene=True), tmp_path)
    scene = next(tmp_path.glob("*.scene.safetensors"))
    with pytest.raises(BadArgument, match="saved scene"):
        Evaluation(SavedScene(*load_scene(scene)), reader, request=SIXTEEN)
    with pytest.raises(BadCheckpoint, match="saved scene"):
        untrained_twin(str(scene))


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadArgument, match="did you mean `geometry`"):
        known_metrics(["pose", "geometri"])
    assert known_metrics([]) == tuple(METRICS) == known_metrics(["all"])
    assert known_metrics(["pose", "pose"]) == ("pose",)


@pytest.fixture(scope="module")
def one_head() -> ViewSet:
    cameras = around(CameraPrior(), size=32)
    return views_of_head(HeadIdentity.from_seed(3), cameras, name="head 3", supersample=1)


def test_all_is_what_the_inputs_allow_and_the_rest_has_a_reason(
    small_gram_hd: GramHd, reader: DatasetReader, one_head: ViewSet
) -> None:
    everything = planned(Evaluation(small_gram_hd, reader, request=SIXTEEN), ["all"])
    assert everything.names == tuple(METRICS) and everything.left_out == {}
    alone = planned(Evaluation(small_gram_hd, request=SIXTEEN))
    assert {"consistency", "reprojection", "speed"} <= set(alone.names)
    assert alone.left_out["fid"] == "it needs --data" and "procedural heads" in alone.left_out["pose"]
    views = planned(Evaluation([one_head], request=SIXTEEN))
    assert "reprojection" in views.names and "speed" in views.left_out and "small level steps" in views.left_out["epi"]
    blind = planned(Evaluation([one_head._replace(distance=None)], reader, request=SIXTEEN))
    assert "depth files" in blind.left_out["reprojection"] and "identity" in blind.names
    with pytest.raises(BadArgument, match="fid was asked for.*give --data"):
        planned(Evaluation(small_gram_hd, request=SIXTEEN), ["fid"])


def test_a_strip_may_lie_beside_the_views(one_head: ViewSet) -> None:
    level = CameraPrior().at(torch.zeros(16), torch.linspace(-0.1, 0.1, 16), size=32)
    sweep = views_of_head(HeadIdentity.from_seed(3), level, name="head 3", supersample=1)
    both = Evaluation([one_head._replace(sweep=sweep)], request=EvaluationRequest(identities=1))
    scores = evaluate(both, ["epi", "reprojection"])
    assert scores["epi"].protocol["views"] == 16 and scores["reprojection"].protocol["views"] == 30
    assert scores["epi"].protocol[REACH] == pytest.approx([0.0, 0.2], abs=1e-3)
    assert scores["reprojection"].protocol[REACH] == pytest.approx([0.4, 0.8], abs=1e-3)
    alone = evaluate(Evaluation([sweep], request=EvaluationRequest(identities=1)), ["epi"])["epi"]
    assert alone.values == scores["epi"].values and alone.protocol == scores["epi"].protocol


def test_views_are_scored_by_the_same_code_as_the_analytic_heads_they_show(
    reader: DatasetReader, one_head: ViewSet
) -> None:
    request = EvaluationRequest(16, identities=1)
    found = evaluate(Evaluation([one_head], reader, request=request), ["reprojection"])["reprojection"]
    assert found.values["reprojection PSNR"] > 25 and found.ceiling.keys() == found.values.keys()
    assert found.protocol["identities"] == 1 and "views" in found.pictures


def test_what_is_kept_is_not_measured_again(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    told: list[str] = []
    kept = {"pose": Score({"pitch_error": 1.0})}
    evaluation = Evaluation(small_gram_hd, reader, request=SIXTEEN)
    found = evaluate(evaluation, ["pose", "geometry"], kept=kept, done=lambda name, score, seconds: told.append(name))
    assert told == ["geometry"] and found["pose"] is kept["pose"]


SHARED = """
import json, os, sys
import torch
from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.metrics import evaluate
from gramhd_core.metrics.evaluation import Evaluation, EvaluationRequest
from gramhd_core.world import joined

torch.set_num_threads(1)
generator, reader = load_generator(sys.argv[1]), DatasetReader(sys.argv[2])
with joined("cpu", rank=int(os.environ["RANK"]), size=3, meeting=os.environ["GRAMHD_MEETING"]) as world:
    request = EvaluationRequest(16, identities=3)
    scores = evaluate(Evaluation(generator, reader, request=request, world=world), sys.argv[3:])
assert bool(scores) == world.first
if world.first:
    print(json.dumps({name: score.values for name, score in scores.items()}))
"""


@pytest.mark.slow
def test_three_devices_find_the_scores_of_one(
    small_gram_hd: GramHd,
    reader: DatasetReader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "model.safetensors"
    Checkpoint("gram-hd", small_gram_hd.config, dict(small_gram_hd.state_dict()), 1, 8, {}).save(path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launch.run_on(3, [sys.executable, "-c", SHARED, str(path), str(reader.path), *SHARED_AMONG_DEVICES]) == 0
    shared = json.loads(capfd.readouterr().out.splitlines()[-1])
    request = EvaluationRequest(16, identities=3)
    alone = evaluate(Evaluation(load_generator(str(path)), reader, request=request), SHARED_AMONG_DEVICES)
    assert list(shared) == list(alone)
    for metric, score in alone.items():
        assert shared[metric] == pytest.approx(score.values, rel=1e-5, abs=1e-7), metric


def test_shares_come_together_in_the_order_of_seeds(small_gram_hd: GramHd) -> None:
    whole = shoot(small_gram_hd, EvaluationRequest(17), size=16)
    shares = [shoot(small_gram_hd, EvaluationRequest(17), seeds=range(17)[rank::3], size=16) for rank in range(3)]
    together = interleaved(shares)
    assert torch.equal(together.samples.images, whole.samples.images)
    assert torch.equal(together.samples.angles, whole.samples.angles)
    assert torch.equal(together.turned.rgb, whole.turned.rgb)
    assert torch.equal(together.turned.distance, whole.turned.distance)
