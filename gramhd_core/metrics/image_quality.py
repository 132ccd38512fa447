"""Distances between sets of pictures in the features of the package's own network: the only place for torch-fidelity.

n pictures, F features. The scores are FID and KID (torch-fidelity's arithmetic) of procedural features, not of
Inception's: they compare models of procedural heads with each other, and no number of any paper.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import MissingDependency
from gramhd_core.generators.generator import Generator
from gramhd_core.metrics.evaluation import Evaluation, EvaluationRequest, check_enough
from gramhd_core.networks.feature_network import images_from_bytes, load_feature_network

EXTRACTOR = "procedural-heads"  # its name in torch-fidelity
LAYER = "features"
FID, KID = "FID (procedural features)", "KID (procedural features)"
FLOOR = ", data against itself"
SUBSET, SUBSETS = 1000, 20  # of KID, where there are more pictures than that
_operators: list[Any] = []  # declarations that have to outlive the function that made them


def quality(evaluation: Evaluation) -> dict[str, float]:
    """FID and KID of samples against both halves of the data (the mean of both), and of the halves against each other.

    All sets have n pictures: FID of few pictures is too large by an amount that depends on n, the same in both.
    """
    pairs = [distances(evaluation.sample_features, half) for half in evaluation.half_features]
    floor = distances(*evaluation.half_features)
    scores = {name: (pairs[0][name] + pairs[1][name]) / 2 for name in floor}
    return scores | {name + FLOOR: value for name, value in floor.items()}


def judge(data: Path, samples: int) -> Callable[[Generator], float]:
    """Model -> its FID (procedural features) against the data set, of that many samples: the lower the better.

    Raises now what would be wrong then: BadArgument, BadDataset, MissingDependency.
    """
    reader, request = DatasetReader(data), EvaluationRequest(samples)
    check_enough(reader, request)
    torch_fidelity()
    return lambda generator: quality(Evaluation(generator, reader, request=request))[FID]


def distances(first: Tensor, second: Tensor) -> dict[str, float]:
    """Features [n, F] of two sets -> FID and KID (unbiased: about 0, or a little less, for sets of one kind)."""
    torch_fidelity()
    fid = importlib.import_module("torch_fidelity.metric_fid")
    kid = importlib.import_module("torch_fidelity.metric_kid")
    statistics = [fid.fid_features_to_statistics(part.double()) for part in (first, second)]
    n = min(len(first), len(second))
    subsets = {"kid_subset_size": min(SUBSET, n), "kid_subsets": SUBSETS if n > SUBSET else 1}
    kernel = kid.kid_features_to_metric(first, second, verbose=False, rng_seed=0, **subsets)
    return {
        FID: fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID],
        KID: kernel[kid.KEY_METRIC_KID_MEAN],
    }


def torch_fidelity() -> Any:
    """The library, which knows `procedural-heads` as a feature extractor from now on. MissingDependency without it."""
    try:
        _import_torchvision()
        import torch_fidelity
    except ImportError as error:
        raise MissingDependency(
            "FID was asked for",
            expected=f"that needs the library torch-fidelity ({error})",
            remedy="install it with pip install torch-fidelity, or ask for other metrics",
        ) from error
    registry = importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY
    if EXTRACTOR not in registry:
        torch_fidelity.register_feature_extractor(EXTRACTOR, _extractor(torch_fidelity.FeatureExtractorBase))
    return torch_fidelity


def _import_torchvision() -> None:
    """torchvision 0.28 made for CUDA does not import beside a torch for CPUs, since its compiled operators are absent.

    Nothing that is used here needs them: declared without a body, they let the import pass.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _operators.append(library)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision")


def _extractor(base: Any) -> Any:
    """The class that torch-fidelity asks for."""

    class ProceduralHeads(base):  # pyright: ignore[reportGeneralTypeIssues]
        """uint8 [B, 3, S, S] -> ([B, F],)."""

        def __init__(self, name: str, features_list: list[str], **_: Any):
            super().__init__(name, features_list)
            self.network = load_feature_network().network

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (LAYER,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return LAYER

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Tensor:
            return torch.zeros(1, 3, 128, 128, dtype=torch.uint8)

        def forward(self, input: Tensor) -> tuple[Tensor, ...]:
            return (self.network.features(images_from_bytes(input)),)

    return ProceduralHeads
