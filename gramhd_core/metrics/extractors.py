"""What pictures are compared by: a network's features, by name, with what a report has to say about them.

B pictures, S x S pixels, F features. `auto` takes Inception's where its weights are on this machine and the package's
own network otherwise. Scores say whose features they are made of: a plain "FID" is made of Inception's.
"""

from __future__ import annotations

import difflib
import hashlib
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.errors import BadArgument, BadCheckpoint, MissingDependency
from gramhd_core.metrics import image_quality

INCEPTION = "inception-v3-compat"
SHORT = {"inception": INCEPTION, "procedural": image_quality.EXTRACTOR}  # names on the command line
AUTO = "auto"


class WeightsFile(NamedTuple):
    """A file of weights: its name in `$TORCH_HOME/hub/checkpoints` ends with the first digits of its SHA-256."""

    name: str
    address: str

    @property
    def path(self) -> Path:
        """Where torch keeps such files."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.name

    @property
    def digits(self) -> str:
        """What its SHA-256 begins with."""
        return Path(self.name).stem.rsplit("-", 1)[-1]


FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
FILES = {
    INCEPTION: WeightsFile("weights-inception-2015-12-05-6726825d.pth", FIDELITY),
    "vgg16": WeightsFile("vgg16-397923af.pth", "https://download.pytorch.org/models/"),
}


@dataclass(frozen=True)
class Extractor:
    """Pictures -> features. fingerprint: of its weights, 16 digits; library: with its version."""

    name: str
    layer: str
    fingerprint: str
    library: str
    look: Callable[[Tensor], tuple[Tensor, ...]]
    device: str = "cpu"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] -> float32 [B, F] on the CPU."""
        return self.look(images.to(self.device))[0].float().cpu()

    def label(self, score: str) -> str:
        """The name of a score of these features: FID and KID go without saying for Inception's."""
        usual = {"precision": "vgg16", "recall": "vgg16"}.get(score, INCEPTION)
        short = {INCEPTION: "Inception", image_quality.EXTRACTOR: "procedural"}.get(self.name, self.name)
        return score if self.name == usual else f"{score} ({short} features)"


def known_features(name: str) -> str:
    """`auto`, `inception`, `procedural` or a name torch-fidelity knows -> that name. BadArgument for others,
    MissingDependency without torch-fidelity or, for `inception`, without its weights. Loads nothing."""
    known = image_quality.registered()
    if name == AUTO:
        name = "inception" if FILES[INCEPTION].path.is_file() else "procedural"
    full = SHORT.get(name, name)
    if full not in known:
        choices = (AUTO, *SHORT, *known)
        nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.3)
        raise BadArgument(
            f"the features are `{name}`",
            expected=f"they must be one of {', '.join(choices)}",
            remedy=f"did you mean `{nearest[0]}`" if nearest else "use one of these",
        )
    if full in FILES:
        _check_file(full)
    return full


def find_extractor(features: str = AUTO, *, device: str = "cpu") -> Extractor:
    """The extractor of that name (see `known_features`). Weights that are not files of `FILES` are torch-fidelity's
    own affair, which may fetch them; MissingDependency if it cannot."""
    name = known_features(features)
    try:
        weights = str(FILES[name].path) if name in FILES else None
        network, layer = image_quality.load_extractor(name, weights=weights, device=device)
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise MissingDependency(
            f"the features `{name}` were asked for",
            expected=f"their weights are not in {torch.hub.get_dir()} and cannot be fetched ({error})",
            remedy="connect this machine for once, or use --features procedural",
        ) from error
    except (RuntimeError, KeyError) as error:
        raise BadCheckpoint(
            f"the weights of the features `{name}` do not fit ({str(error).splitlines()[0]})",
            expected="they must be the published ones",
            remedy=f"remove the file from {torch.hub.get_dir()} and fetch it again, or use --features procedural",
        ) from error
    return Extractor(name, layer, fingerprint_of(network.state_dict()), image_quality.version(), network, device)


def fingerprint_of(tensors: dict[str, Tensor]) -> str:
    """16 digits that change with any name, shape or number of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _check_file(name: str) -> None:
    """A sentence unless the weights are there and are those that were published (the library unpickles them)."""
    file = FILES[name]
    if not file.path.is_file():
        raise MissingDependency(
            f"{file.name} is not in {file.path.parent}",
            expected=f"the features `{name}` need these weights",
            remedy=f"download {file.address}{file.name} into that folder, or use --features procedural",
        )
    found = _digest(file.path)
    if not found.startswith(file.digits):
        raise BadCheckpoint(
            f"{file.path} is damaged (its SHA-256 begins with {found[:8]})",
            expected=f"that of the published weights begins with {file.digits}",
            remedy=f"remove it and download {file.address}{file.name} again",
        )


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
