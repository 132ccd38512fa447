"""Scores by protocols: torch-fidelity's own numbers, one pass for all, what results say, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.data.procedural_heads import render_item
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.metrics import protocols, quality
from gramhd_core.metrics.extractors import find_extractor
from gramhd_core.metrics.feature_cache import features_of
from gramhd_core.metrics.image_files import PlainImages
from gramhd_core.metrics.image_quality import EXTRACTOR, torch_fidelity
from gramhd_core.metrics.protocols import Protocol
from gramhd_core.metrics.quality import FLOOR, QualityRequest, judge, score_generator, score_images

pytestmark = pytest.mark.slow

FID, KID = "FID (procedural features)", "KID (procedural features)"
SMALL = {  # protocols whose counts a test can afford
    "all": Protocol("all", 24, None, kid_subset=16, kid_subsets=5, source="a test"),
    "some": Protocol("some", 20, 20, kid_subset=16, kid_subsets=5, source="a test"),
    "posed": Protocol("posed", 18, None, poses="labels", kid_subset=16, kid_subsets=5, source="a test"),
}


@pytest.fixture(autouse=True)
def small_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, protocol in SMALL.items():
        monkeypatch.setitem(protocols.PROTOCOLS, name, protocol)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> DatasetReader:
    return DatasetReader(prepare_procedural(40, tmp_path_factory.mktemp("data") / "heads", size=32, workers=1).out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 heads: more than one batch."""
    path = tmp_path_factory.mktemp("pictures") / "made"
    path.mkdir()
    for index in range(70):
        Image.fromarray(render_item(6_100_000 + index, size=32).view.image).save(path / f"{index:03d}.png")
    return path


def test_two_folders_score_as_torch_fidelity_scores_them(reader: DatasetReader, folder: Path) -> None:
    real = Path(reader.path) / "images" / "00000"
    theirs = torch_fidelity().calculate_metrics(
        input1=str(folder), input2=str(real), feature_extractor=EXTRACTOR, fid=True, kid=True, prc=True,
        kid_subset_size=20, kid_subsets=7, cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    protocol = Protocol("as they do", 70, None, kid_subset=20, kid_subsets=7)
    extractor = find_extractor("procedural")
    sets = (PlainImages(folder), PlainImages(real))
    fakes, reals = (features_of(one, extractor, {one.poses[0]: one.count}).tensors[one.poses[0]] for one in sets)
    ours = quality.compare(fakes, (reals,), protocol, extractor)[0]
    assert ours[FID] == pytest.approx(theirs["frechet_inception_distance"], abs=1e-6)
    assert ours[KID] == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-6)
    assert ours["KID sd of subsets (procedural features)"] == pytest.approx(
        theirs["kernel_inception_distance_std"], abs=1e-6
    )
    assert ours["precision (procedural features)"] == theirs["precision"]
    assert ours["recall (procedural features)"] == theirs["recall"]


def test_protocols_share_one_pass_and_each_is_what_it_is_alone(
    small_gram_hd: GramHd, reader: DatasetReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    scene = small_gram_hd.scene
    monkeypatch.setattr(small_gram_hd, "scene", lambda latent, view=None: made.append(1) or scene(latent, view))
    together = score_generator(small_gram_hd, reader, QualityRequest("procedural", ("all", "some", "posed")))
    assert len(made) == 24 + 2  # two to see whether heads depend on the camera
    for name, scores in zip(("all", "some", "posed"), together, strict=True):
        (alone,) = score_generator(small_gram_hd, reader, QualityRequest("procedural", (name,)))
        assert alone.values == pytest.approx(scores.values, rel=1e-3, abs=1e-5)
        assert alone.protocol == scores.protocol and set(scores.intervals) < set(scores.values)
        assert all(low <= scores.values[key] <= high for key, (low, high) in scores.intervals.items())


def test_a_result_says_everything_it_depends_on(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    (scores,) = score_generator(
        small_gram_hd, reader, QualityRequest("procedural", ("some",), samples=18, truncation=0.7, size=16)
    )
    said = scores.protocol
    assert (said["protocol"], said["changed"], said["fakes"], said["reals"]) == (
        "some", "18 samples instead of 20", 18, 18,
    )  # fmt: skip
    assert (said["truncation"], said["seeds"], said["poses"], said["resolution"]) == (0.7, [0, 17], "prior", 16)
    assert said["features"] == EXTRACTOR and said["library"].startswith("torch-fidelity 0")
    assert said["data"] == reader.fingerprint and len(said["weights"]) == 16 and said["kid_subset"] == 16
    assert json.loads(json.dumps(said)) == said and len(scores.about["model"]) == 16
    (posed,) = score_generator(small_gram_hd, reader, QualityRequest("procedural", ("posed",)))
    assert posed.protocol["poses"] == "labels" and posed.protocol["reals_taken"] == "all"


def test_the_house_has_a_floor_and_the_same_command_the_same_numbers(
    small_gram_hd: GramHd, reader: DatasetReader
) -> None:
    request = QualityRequest("procedural", samples=20)
    (first,), (second,) = (score_generator(small_gram_hd, reader, request) for _ in range(2))
    assert first == second
    assert "20 pictures cannot fill 96 dimensions" in first.notes[0] and "KID of 20 pictures" in first.notes[1]
    assert first.values[FID] > 1.3 * first.values[FID + FLOOR] > 0
    assert set(first.intervals) == {name + end for name in _names() for end in ("", FLOOR)}
    assert judge(reader.path, 20)(small_gram_hd) == pytest.approx(first.values[FID], rel=1e-6)


def _names() -> tuple[str, ...]:
    return FID, KID, "precision (procedural features)", "recall (procedural features)"


def test_the_cache_gives_the_same_scores_and_says_what_it_gave(
    small_gram_hd: GramHd, reader: DatasetReader, tmp_path: Path
) -> None:
    request = QualityRequest("procedural", ("all",), cache=tmp_path)
    (first,), (second,) = (score_generator(small_gram_hd, reader, request) for _ in range(2))
    assert first.found == {"fakes": 0, "reals": 0} and second.found == {"fakes": 24, "reals": 40}
    assert first._replace(found={}) == second._replace(found={})


def test_worse_pictures_of_a_folder_score_worse(reader: DatasetReader, folder: Path, tmp_path: Path) -> None:
    blurred = tmp_path / "blurred"
    blurred.mkdir()
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            picture.resize((8, 8), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BICUBIC).save(
                blurred / path.name
            )
    request = QualityRequest("procedural", ("house", "all"))
    sharp, soft = (score_images(PlainImages(path), reader, request) for path in (folder, blurred))
    for before, after in zip(sharp, soft, strict=True):
        assert after.values[FID] > before.values[FID] and after.values[KID] > before.values[KID]
        assert before.protocol == after.protocol and before.about != after.about
    house = sharp[0].protocol
    assert house["fakes"] == 20 and house["reals"] == 40 and house["truncation"] is house["seeds"] is None


def test_heads_that_know_no_camera_have_the_fid_of_their_fid3d(small_gram_hd: GramHd, reader: DatasetReader) -> None:
    request = QualityRequest("procedural", ("all",), kinds=("fid",))
    (plain,), (frontal,) = (score_generator(small_gram_hd, reader, request, frontal=way) for way in (False, True))
    assert list(frontal.values) == ["FID3D (procedural features)"]
    assert list(frontal.values.values()) == list(plain.values.values())
    assert any("FID3D is FID" in note for note in frontal.notes) and not any("FID3D" in note for note in plain.notes)


def test_heads_that_know_their_camera_have_another(reader: DatasetReader, small_turning: GramHd) -> None:
    request = QualityRequest("procedural", ("all",), kinds=("fid",))
    (plain,), (frontal,) = (score_generator(small_turning, reader, request, frontal=way) for way in (False, True))
    assert [*frontal.values.values()] != [*plain.values.values()] and "FID3D" not in "".join(frontal.notes)
    assert (plain.protocol["made_for"], frontal.protocol["made_for"]) == ("the camera", "the front")


def test_what_cannot_be_compared_is_refused_before_the_first_head(
    small_gram_hd: GramHd, reader: DatasetReader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gram_hd, "scene", lambda *_: pytest.fail("a head was made"))
    with pytest.raises(BadDataset, match="has 40 images.*compares with 20,000"):
        score_generator(small_gram_hd, reader, QualityRequest("procedural", ("paper",)))
    with pytest.raises(BadArgument, match="999 samples"):
        score_generator(small_gram_hd, reader, QualityRequest("procedural", ("eg3d",), samples=999))
    with pytest.raises(BadArgument, match="without labels"):
        score_generator(small_gram_hd, PlainImages(folder), QualityRequest("procedural", ("posed",)))
    with pytest.raises(BadDataset, match="--samples 20 or"):
        judge(reader.path, 21)
    with pytest.raises(BadDataset, match="has 70 pictures.*compares 80"):
        score_images(PlainImages(folder), PlainImages(folder), QualityRequest("procedural", ("all",), samples=80))
