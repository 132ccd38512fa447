"""FID, KID, precision and recall of features: closed forms, sets that are the same, sets that get worse."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from gramhd_core.data.procedural_heads import render_item
from gramhd_core.errors import MissingDependency
from gramhd_core.metrics.extractors import find_extractor
from gramhd_core.metrics.feature_training import coarsened
from gramhd_core.metrics.image_quality import coverage, frechet, kernel, torch_fidelity

pytestmark = pytest.mark.slow

FRESH = 5_100_000  # heads of no data set


@pytest.fixture(scope="module")
def heads() -> Tensor:
    """uint8 [96, 3, 64, 64]"""
    views = [render_item(FRESH + i, size=64, supersample=1).view.image for i in range(96)]
    return torch.stack([torch.from_numpy(view).movedim(-1, 0) for view in views])


def kid(first: Tensor, second: Tensor) -> float:
    return kernel(first, second, subset=min(len(first), len(second)), subsets=1, seed=0).mean


def test_gaussians_have_the_distance_of_the_formula() -> None:
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(5_000, 3, generator=rng)
    second = torch.randn(5_000, 3, generator=rng) * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([0.5, 0.0, 0.0])
    assert frechet(first, second) == pytest.approx(0.5**2 + (2 - 1) ** 2, rel=0.05)


def test_a_set_is_no_way_from_itself() -> None:
    same = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert frechet(same, same) == pytest.approx(0, abs=1e-4) and kid(same, same) < 0
    assert kid(same, same + 1) > 0.1
    assert coverage(same, same) == (1, 1) and coverage(same, same + 100) == (0, 0)


def test_the_order_of_pictures_does_not_matter() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(60, 4, generator=rng), torch.randn(60, 4, generator=rng) + 0.3
    for score in (frechet, kid, lambda a, b: coverage(a, b).precision, lambda a, b: coverage(a, b).recall):
        assert score(first.flip(0), second.roll(7, 0)) == pytest.approx(score(first, second), rel=1e-4)


def test_few_modes_cost_recall_and_pictures_of_no_mode_cost_precision() -> None:
    rng = torch.Generator().manual_seed(0)
    modes = torch.eye(4) * 10
    real = (modes[:, None] + torch.randn(4, 50, 4, generator=rng)).flatten(0, 1)
    again = (modes[:, None] + torch.randn(4, 50, 4, generator=rng)).flatten(0, 1)
    recalls = [coverage(again[: 50 * count], real).recall for count in (4, 3, 2, 1)]
    assert recalls == sorted(recalls, reverse=True) and recalls[0] > 0.8 and recalls[3] < 0.3
    strays = torch.cat([again[:100], again[100:] + 30])
    assert coverage(strays, real).precision < 0.6 < 0.8 < coverage(again, real).precision
    distances = [frechet(again[: 50 * count], real) for count in (4, 3, 2, 1)]
    assert distances == sorted(distances)


def test_scores_grow_as_pictures_get_worse(heads: Tensor) -> None:
    features = find_extractor("procedural")
    first, second = heads[:48], heads[48:]
    rng = torch.Generator().manual_seed(0)
    noisy = second + 24 * torch.randn(second.shape, generator=rng)
    worse = {
        "as they are": second,
        "blurred": coarsened(second.float(), 32).round().byte(),
        "very blurred": coarsened(second.float(), 12).round().byte(),
        "noise": torch.randint(0, 256, second.shape, generator=rng, dtype=torch.uint8),
    }
    for score in (frechet, kid):
        values = [score(features(first), features(images)) for images in worse.values()]
        assert values == sorted(values), values
    clean, grainy = (frechet(features(first), features(images.clamp(0, 255).byte())) for images in (second, noisy))
    one_head = frechet(features(first), features(second[:1].expand(48, -1, -1, -1)))
    assert grainy > 1.3 * clean and one_head > 2 * clean


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MissingDependency, match="pip install torch-fidelity"):
        torch_fidelity()
