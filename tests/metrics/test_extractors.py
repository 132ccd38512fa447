"""Which features scores are made of, and the sentences for weights that are not there."""

from __future__ import annotations

import hashlib
import urllib.error
from pathlib import Path

import pytest
import torch

from gramhd_core.data.procedural_heads import render_item
from gramhd_core.errors import BadArgument, BadCheckpoint, MissingDependency
from gramhd_core.metrics import extractors, image_quality
from gramhd_core.metrics.extractors import FILES, INCEPTION, WeightsFile, find_extractor, fingerprint_of, known_features

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch looks for weights: an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "checkpoints"


def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of Inception's shape, of random weights, in a file whose name has its own digits."""
    kind = image_quality.torch_fidelity().FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kind.__init__.__globals__, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(kind, "load_state_dict", lambda *_, **__: None)
        torch.manual_seed(0)
        network = kind(INCEPTION, ["2048"], verbose=False)
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "made.pth")
    digits = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
    file = WeightsFile(f"weights-inception-2015-12-05-{digits}.pth", "https://example.org/")
    (folder / "made.pth").rename(file.path)
    monkeypatch.setitem(FILES, INCEPTION, file)


def test_without_weights_auto_is_procedural_and_says_so() -> None:
    extractor = find_extractor("auto")
    assert extractor.name == image_quality.EXTRACTOR and "torch-fidelity 0" in extractor.library
    assert [extractor.label(name) for name in ("FID", "recall")] == [
        "FID (procedural features)",
        "recall (procedural features)",
    ]


def test_without_weights_inception_is_a_sentence_with_file_folder_and_address(weights: Path) -> None:
    with pytest.raises(MissingDependency) as caught:
        known_features("inception")
    sentence = str(caught.value)
    assert caught.value.exit_code == 2 and sentence.count("\n") == 0
    assert "weights-inception-2015-12-05-6726825d.pth" in sentence and str(weights) in sentence
    assert "https://github.com/toshas/torch-fidelity/releases/" in sentence and "--features procedural" in sentence


def test_other_weights_under_the_published_name_are_not_unpickled(weights: Path) -> None:
    weights.mkdir(parents=True)
    FILES[INCEPTION].path.write_bytes(b"something else")
    with pytest.raises(BadCheckpoint, match="begins with 6726825d"):
        known_features("inception")


def test_with_weights_auto_is_inception_and_fid_is_plain(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(weights, monkeypatch)
    extractor = find_extractor("auto")
    assert (extractor.name, extractor.layer) == (INCEPTION, "2048")
    assert extractor.label("FID") == "FID" and extractor.label("precision") == "precision (Inception features)"
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = extractor(images)
    assert found.shape == (2, 2048) and found.isfinite().all() and found.std() > 0
    assert torch.allclose(found[1:], extractor(images[1:]), atol=1e-4)


def test_any_registered_extractor_will_do_and_unknown_ones_are_answered_with_the_nearest() -> None:
    assert known_features("dinov2-vit-s-14") == "dinov2-vit-s-14"
    with pytest.raises(BadArgument, match="did you mean `procedural`"):
        known_features("procedual")


def test_weights_that_cannot_be_fetched_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(image_quality, "load_extractor", refuse)
    with pytest.raises(MissingDependency, match="clip-rn50.*no route to host.*--features procedural"):
        find_extractor("clip-rn50")


def test_the_fingerprint_is_of_names_shapes_and_numbers() -> None:
    state = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.arange(6.0)}
    assert fingerprint_of(state) == fingerprint_of(same)
    others = [{**state, "a": torch.arange(6.0).view(2, 3)}, {**state, "b": torch.ones(2)}, {"a": state["a"]}]
    assert len({fingerprint_of(one) for one in (state, *others)}) == 4


def test_features_do_not_depend_on_what_is_beside_a_picture() -> None:
    extractor = find_extractor("procedural")
    images = torch.stack(
        [torch.from_numpy(render_item(i, size=64, supersample=1).view.image).movedim(-1, 0) for i in range(4)]
    )
    together, turned = extractor(images), extractor(images.flip(0)).flip(0)
    alone = torch.cat([extractor(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-4) and torch.allclose(together, turned, atol=1e-4)
    assert extractors.SHORT["procedural"] == extractor.name
