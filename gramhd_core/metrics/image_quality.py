"""FID, KID, precision and recall by torch-fidelity: the only place for that library.

n pictures, F features. Whatever the features are, the arithmetic is the library's own, so that its numbers and ours
are the same when it is called the same way.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramhd_core.errors import MissingDependency
from gramhd_core.networks.feature_network import images_from_bytes, load_feature_network

EXTRACTOR = "procedural-heads"  # its name in torch-fidelity
LAYER = "features"
NEIGHBOURHOOD = 3  # of precision and recall, as published
DISTANCES_AT_ONCE = 2000  # of precision and recall: rows of a table of distances
_operators: list[Any] = []  # declarations that have to outlive the function that made them


class Kernel(NamedTuple):
    """KID: mean and standard deviation over the subsets; unbiased, so about 0, or a little less, for sets of one kind.

    The deviation says how much KID of so few pictures varies, not how well their mean is known.
    """

    mean: float
    sd: float


class Coverage(NamedTuple):
    """precision: the share of fakes among the reals; recall: the share of reals among the fakes; in [0, 1]."""

    precision: float
    recall: float


def frechet(fakes: Tensor, reals: Tensor) -> float:
    """FID of features float32 [n, F] and [m, F] (FID: distance)."""
    torch_fidelity()
    fid = importlib.import_module("torch_fidelity.metric_fid")
    statistics = [fid.fid_features_to_statistics(part) for part in (fakes, reals)]
    return fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]


def kernel(fakes: Tensor, reals: Tensor, *, subset: int, subsets: int, seed: int) -> Kernel:
    """KID of features [n, F] and [m, F], `subsets` times `subset` pictures of either (KID: distance)."""
    torch_fidelity()
    kid = importlib.import_module("torch_fidelity.metric_kid")
    asked = {"kid_subset_size": subset, "kid_subsets": subsets, "rng_seed": seed}
    found = kid.kid_features_to_metric(fakes, reals, verbose=False, **asked)
    return Kernel(found[kid.KEY_METRIC_KID_MEAN], found[kid.KEY_METRIC_KID_STD])


def coverage(fakes: Tensor, reals: Tensor) -> Coverage:
    """Precision and recall of features [n, F] and [m, F]: a picture is among others if it is no farther from one of
    them than that one's third nearest neighbour (PRC: precision and recall). Needs four of either."""
    torch_fidelity()
    prc = importlib.import_module("torch_fidelity.metric_prc")
    asked = {"prc_neighborhood": NEIGHBOURHOOD, "prc_batch_size": DISTANCES_AT_ONCE}
    found = prc.prc_features_to_metric(fakes, reals, save_cpu_ram=True, verbose=False, **asked)
    return Coverage(found[prc.KEY_METRIC_PRECISION], found[prc.KEY_METRIC_RECALL])


class Loaded(NamedTuple):
    """network: uint8 [B, 3, S, S] -> ([B, F],); layer: the one it answers with, torch-fidelity's choice for FID."""

    network: Any
    layer: str


def registered() -> tuple[str, ...]:
    """Names of all extractors that torch-fidelity knows. MissingDependency without it."""
    torch_fidelity()
    return tuple(importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY)


def load_extractor(name: str, *, weights: str | None = None, device: str = "cpu") -> Loaded:
    """A registered extractor. weights: a file of them; the library looks (and asks the network) itself if None."""
    torch_fidelity()
    kind = importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY[name]
    layer = kind.get_default_feature_layer_for_metric("fid")
    with contextlib.redirect_stdout(sys.stderr):
        network = kind(name, [layer], feature_extractor_weights_path=weights, verbose=False)
    return Loaded(network.eval().requires_grad_(False).to(device), layer)


def version() -> str:
    """The library and its version. MissingDependency without it."""
    return f"torch-fidelity {torch_fidelity().__version__}"


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
