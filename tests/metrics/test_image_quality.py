"""FID and KID of procedural features: closed forms, torch-fidelity's own way, and an order that eyes agree with."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gramhd_core.data.procedural_heads import render_item
from gramhd_core.errors import MissingDependency
from gramhd_core.metrics.evaluation import in_batches
from gramhd_core.metrics.feature_training import coarsened
from gramhd_core.metrics.image_quality import EXTRACTOR, FID, KID, distances, torch_fidelity
from gramhd_core.networks.feature_network import load_feature_network

pytestmark = pytest.mark.slow

FRESH = 5_100_000  # heads of no data set


class Images(Dataset):
    """What torch-fidelity takes as a set of pictures."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


@pytest.fixture(scope="module")
def heads() -> Tensor:
    """uint8 [96, 3, 64, 64]"""
    views = [render_item(FRESH + i, size=64, supersample=1).view.image for i in range(96)]
    return torch.stack([torch.from_numpy(view).movedim(-1, 0) for view in views])


def features(images: Tensor) -> Tensor:
    return in_batches(load_feature_network().network.features, images)


def test_gaussians_have_the_distance_of_the_formula() -> None:
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(5_000, 3, generator=rng)
    second = torch.randn(5_000, 3, generator=rng) * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([0.5, 0.0, 0.0])
    assert distances(first, second)[FID] == pytest.approx(0.5**2 + (2 - 1) ** 2, rel=0.05)


def test_a_set_is_no_way_from_itself() -> None:
    same = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    found = distances(same, same)
    assert found[FID] == pytest.approx(0, abs=1e-4) and found[KID] < 0
    assert distances(same, same + 1)[KID] > 0.1


def test_the_registered_extractor_gives_the_same_score(heads: Tensor) -> None:
    library = torch_fidelity()
    theirs = library.calculate_metrics(
        input1=Images(heads[:48]),
        input2=Images(heads[48:]),
        feature_extractor=EXTRACTOR,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    ours = distances(features(heads[:48]), features(heads[48:]))
    assert theirs["frechet_inception_distance"] == pytest.approx(ours[FID], rel=1e-3)


@pytest.mark.slow
def test_scores_grow_as_pictures_get_worse(heads: Tensor) -> None:
    first, second = heads[:48], heads[48:]
    rng = torch.Generator().manual_seed(0)
    noisy = second + 24 * torch.randn(second.shape, generator=rng)
    worse = {
        "as they are": second,
        "blurred": coarsened(second.float(), 32).round().byte(),
        "very blurred": coarsened(second.float(), 12).round().byte(),
        "noise": torch.randint(0, 256, second.shape, generator=rng, dtype=torch.uint8),
    }
    scores = {name: distances(features(first), features(images)) for name, images in worse.items()}
    for metric in (FID, KID):
        values = [score[metric] for score in scores.values()]
        assert values == sorted(values), scores
    clean, grainy = scores["as they are"], distances(features(first), features(noisy.clamp(0, 255).byte()))
    one_head = distances(features(first), features(second[:1].expand(48, -1, -1, -1)))
    assert grainy[FID] > 1.3 * clean[FID] and one_head[FID] > 2 * clean[FID]


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MissingDependency, match="pip install torch-fidelity"):
        torch_fidelity()
