"""Directions that change one thing which somebody, or the feature network, has told apart in the model's own samples.

n samples, seed by seed; A attributes. Boundaries are found among coordinates along the first K principal axes of the
latents, as many as z has numbers: there every direction is equally likely, and a few hundred samples suffice. Labels
are -1 and 1, 0 where a sample takes no side.
"""

from __future__ import annotations

import csv
import difflib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.errors import BadArgument, BadLabels, GramhdWarning
from gramhd_core.generators.generator import Generator
from gramhd_core.networks.feature_network import LoadedFeatures
from gramhd_core.outputs.directions import Direction, PrincipalAxes, latent_of
from gramhd_core.outputs.shots import device_of, latent_of_seed
from gramhd_core.progress import Progress, Silent

SAMPLES = 400  # heads that are read for an attribute
LEAST = 10  # samples a side needs
SIDE = 1 / 3  # of the samples: the lowest are one side, the highest the other (InterfaceGAN: 2 % of 500,000)
PENALTY = 0.01  # of the margin's violations (sklearn: LinearSVC's C)
FOLDS = 5
NOT_THE_LATENTS = ("pitch", "yaw", "coarseness", "noise")  # what the camera decides, and how a picture is spoilt
COMBINED = {"hair_length": {"curtain": -1.0}}  # names people use, of names the network has
DOUBTFUL = 0.6  # share of held-out samples on the right side; 0.5 is chance
READABLE = 0.2  # share of an attribute's variance that the network must explain to be believed


class Labels(NamedTuple):
    """What is known of samples: seeds, and numbers [n] under every name (NaN where nothing is said)."""

    seeds: tuple[int, ...]
    columns: dict[str, Tensor]


class Boundary(NamedTuple):
    """A plane between two sides. normal [K], of length 1, pointing to side 1; offset: normal . x + offset is 0 on it.

    accuracy: of samples that were held out, FOLDS times a FOLDSth of them.
    """

    normal: Tensor
    offset: float
    accuracy: float


def attribute_names(features: LoadedFeatures) -> tuple[str, ...]:
    """Everything that can be asked for: the network's attributes, lightness of every colour, and `COMBINED`."""
    names = [name for name in features.network.attributes if name not in NOT_THE_LATENTS]
    light = [f"{n[:-2]}_lightness" for n in names if n.endswith("_r") and {f"{n[:-1]}{c}" for c in "gb"} <= set(names)]
    combined = [name for name, parts in COMBINED.items() if set(parts) <= set(names)]
    return (*names, *light, *combined)


def _parts(name: str) -> dict[str, float]:
    """An attribute as a sum of the network's."""
    if name.endswith("_lightness"):
        return {f"{name.removesuffix('_lightness')}_{c}": 1 / 3 for c in "rgb"}
    return COMBINED.get(name, {name: 1.0})


def check_attribute(features: LoadedFeatures, name: str) -> None:
    """BadArgument unless `name` is in `attribute_names`."""
    known = attribute_names(features)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise BadArgument(
            f"--direction attribute:{name}",
            expected="the feature network knows no such attribute",
            remedy=f"did you mean {' or '.join(near)}" if near else f"use one of {', '.join(known)}",
        )


def attribute(features: LoadedFeatures, readings: Tensor, name: str) -> Tensor:
    """Readings [n, A] of the network -> [n] of a name in `attribute_names`, in its own unit."""
    check_attribute(features, name)
    place = {n: i for i, n in enumerate(features.network.attributes)}
    return torch.stack([weight * readings[:, place[part]] for part, weight in _parts(name).items()]).sum(dim=0)


def explained(features: LoadedFeatures, name: str) -> float:
    """Share of an attribute's variance that the network reads on heads it has not seen (NaN: not measured)."""
    measured = features.provenance.get("r2") or {}
    return min(float(measured.get(part, math.nan)) for part in _parts(name))


@torch.no_grad()
def read_attributes(
    generator: Generator,
    features: LoadedFeatures,
    seeds: Sequence[int],
    *,
    truncation: float = 1.0,
    progress: Progress | None = None,
) -> Tensor:
    """Frontal pictures of seeds -> what the network reads in each [n, A]."""
    progress = progress or Silent()
    device = device_of(generator)
    network, size = features.network.to(device), features.network.config.image_size
    camera = generator.cameras.at(generator.cameras.pitch_mean, generator.cameras.yaw_mean, size=size).to(device)
    rows = []
    progress.start("reading attributes", len(seeds))
    for seed in seeds:
        latent, _ = latent_of_seed(generator, seed, truncation=truncation)
        rows.append(network(generator.scene(latent).render(camera).rgb).attributes.cpu())
        progress.advance(1, f"seed {seed}")
    progress.finish()
    return torch.cat(rows)


def read_labels_of_seeds(path: Path | str) -> Labels:
    """A CSV file with a column `seed` and any others of numbers, empty where nothing is known. BadLabels if not."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _bad_labels(path, f"cannot be read ({reason})") from error
    names = [name for name in (rows[0] if rows else {}) if name]
    if "seed" not in names or len(names) < 2:
        raise _bad_labels(path, f"has {'the columns ' + ', '.join(names) if names else 'no columns'}")
    seeds: list[int] = []
    columns: dict[str, list[float]] = {name: [] for name in names if name != "seed"}
    for line, row in enumerate(rows, start=2):
        seed = (row["seed"] or "").strip()
        if not seed.isdecimal():
            raise _bad_labels(path, f"has the seed {seed or 'nothing'} in line {line}")
        seeds.append(int(seed))
        for name, values in columns.items():
            text = (row[name] or "").strip()
            try:
                values.append(float(text) if text else math.nan)
            except ValueError:
                raise _bad_labels(path, f"says {text} of {name} in line {line}") from None
    if len(set(seeds)) < len(seeds):
        raise _bad_labels(path, "names a seed twice")
    return Labels(tuple(seeds), {name: torch.tensor(values) for name, values in columns.items()})


def _bad_labels(path: Path, problem: str) -> BadLabels:
    return BadLabels(
        f"{path} {problem}",
        expected="a CSV file with the columns seed and label is needed, both numbers, every seed once",
        remedy="write for example the lines seed,label and 0,1 and 1,-1",
    )


def sides(values: Tensor) -> Tensor:
    """Numbers [n] -> labels [n]: of two different values the larger is 1 and the smaller -1; of more, the highest third
    is 1, the lowest -1, what lies between and NaN is 0."""
    known = values[values.isfinite()]
    labels = torch.zeros(len(values), dtype=torch.int8)
    if len(known.unique()) > 2:
        low, high = known.quantile(SIDE), known.quantile(1 - SIDE)
    else:
        low, high = (known.min(), known.max()) if len(known) else (torch.tensor(0.0), torch.tensor(0.0))
    labels[values <= low] = -1
    labels[values >= high] = 1
    return labels if low < high else labels * 0


def boundary(coordinates: Tensor, labels: Tensor, *, penalty: float = PENALTY) -> Boundary:
    """The plane between samples [n, K] of label -1 and 1 (InterfaceGAN: separation boundary).

    BadLabels if a side has fewer than LEAST samples.
    """
    taken = labels != 0
    x, y = coordinates[taken].double().numpy(), labels[taken].double().numpy()
    fewest = min((y < 0).sum(), (y > 0).sum())
    if fewest < LEAST:
        raise BadLabels(
            f"{(y > 0).sum()} samples on one side and {(y < 0).sum()} on the other",
            expected=f"a boundary needs {LEAST} on each",
            remedy="label more seeds, or raise --samples",
        )
    right = 0
    for fold in range(FOLDS):  # dealt side by side, so that each has its share of both
        held = np.concatenate([np.flatnonzero(y == side)[fold::FOLDS] for side in (-1, 1)])
        kept = np.setdiff1d(np.arange(len(y)), held)
        w, b = _separated(x[kept], y[kept], penalty)
        right += int(((x[held] @ w + b > 0) == (y[held] > 0)).sum())
    w, b = _separated(x, y, penalty)
    length = max(float(np.linalg.norm(w)), 1e-30)
    return Boundary(torch.from_numpy(w / length).float(), b / length, right / len(y))


def _separated(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights and offset of a linear support vector machine: |w|^2 / 2 + penalty sum(max(0, 1 - y (w x + b))^2)."""
    from scipy.optimize import minimize  # half a second to import

    def cost(p: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = p[:-1], p[-1]
        short = np.maximum(0, 1 - y * (x @ w + b))
        pull = 2 * penalty * short * y
        return 0.5 * w @ w + penalty * short @ short, np.append(w - pull @ x, -pull.sum())

    found = minimize(cost, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return found.x[:-1], float(found.x[-1])


@torch.no_grad()
def labelled(
    generator: Generator,
    axes: PrincipalAxes,
    seeds: Sequence[int],
    values: Tensor,
    *,
    name: str,
    facts: dict[str, Any] | None = None,
) -> Direction:
    """From small to large `values` [n] of seeds (truncation 1), one standard deviation across the boundary."""
    count = min(generator.latent_dim, len(axes.axes))
    z = torch.cat(
        [torch.randn(1, generator.latent_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    latents = generator.latent(z.to(device_of(generator)))
    labels = sides(values)
    found = boundary(axes.coordinates(latents)[:, :count], labels)
    if found.accuracy < DOUBTFUL:
        _doubt(f"the two sides of {name} can hardly be told apart ({found.accuracy:.0%} of held-out heads right)")
    said = {"method": "svm", "samples": int((labels != 0).sum()), "held_out_accuracy": round(found.accuracy, 3)}
    step = latent_of((found.normal @ axes.axes[:count])[None], latents)
    return Direction(name, step.film[0], step.style[0], {**said, **(facts or {})})


def attribute_direction(
    generator: Generator,
    features: LoadedFeatures,
    axes: PrincipalAxes,
    name: str,
    *,
    seeds: Sequence[int],
    readings: Tensor,
) -> Direction:
    """Towards more of an attribute: `readings` [n, A] of seeds (`read_attributes`, truncation 1)."""
    values, r2 = attribute(features, readings, name), explained(features, name)
    if r2 < READABLE:
        _doubt(f"the feature network reads {name} badly (it explains {max(r2, 0):.0%} of its variance)")
    facts = {"attribute": name, "explained": None if math.isnan(r2) else round(r2, 3)}
    return labelled(generator, axes, seeds, values, name=f"attribute:{name}", facts=facts)


def _doubt(reason: str) -> None:
    warnings.warn(f"{reason}: expect little of this direction.", GramhdWarning, stacklevel=3)
