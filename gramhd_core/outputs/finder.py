"""From what a user calls a direction to the direction: pca:0, sefa:2, attribute:beard, label:smile, or a saved file."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator
from gramhd_core.networks.feature_network import LoadedFeatures, load_feature_network
from gramhd_core.outputs import directions as unlabelled
from gramhd_core.outputs import labelled_directions as labelled
from gramhd_core.outputs.directions import Direction
from gramhd_core.progress import Progress

METHODS = ("pca", "sefa", "attribute", "label")
MOST = 50  # directions of one range


class Finder:
    """Finds directions of one model; what several of them need is made once.

    seed: of every random draw. samples: heads read for attributes (seeds 0, 1, ...). labels: what `label:NAME` means.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        seed: int = 0,
        samples: int = labelled.SAMPLES,
        labels: labelled.Labels | None = None,
        progress: Progress | None = None,
    ):
        if samples < 3 * labelled.LEAST:
            raise BadArgument(
                f"--samples {samples}",
                expected=f"a direction of an attribute needs {3 * labelled.LEAST} heads",
                remedy=f"use more, {labelled.SAMPLES} are usual",
            )
        self.generator, self.seed, self.samples, self.labels, self.progress = generator, seed, samples, labels, progress
        self._features: LoadedFeatures | None = None
        self._readings: Tensor | None = None
        self._axes: unlabelled.PrincipalAxes | None = None

    @property
    def features(self) -> LoadedFeatures:
        """The feature network, loaded once."""
        self._features = self._features or load_feature_network()
        return self._features

    @property
    def axes(self) -> unlabelled.PrincipalAxes:
        """The principal axes, made once."""
        if self._axes is None:
            self._axes = unlabelled.principal_axes(self.generator, self._rng())
        return self._axes

    def find(self, asked: str) -> list[Direction]:
        """One direction, or several of a range such as pca:0-4. BadArgument for what is no direction."""
        method, colon, what = asked.partition(":")
        if method not in METHODS or not colon:
            if Path(asked).is_file():
                return [unlabelled.load_direction(asked, self.generator)]
            raise BadArgument(
                f"--direction {asked}",
                expected="it is neither a file nor of the form METHOD:WHAT",
                remedy="write for example pca:0, sefa:0-4, attribute:beard, label:smile or the name of a saved one",
            )
        if method == "attribute":
            return [self._attribute(what)]
        if method == "label":
            return [self._label(what)]
        return [self._numbered(method, index) for index in _indices(asked, what)]

    def _rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _numbered(self, method: str, index: int) -> Direction:
        if method == "sefa":
            return unlabelled.sefa(self.generator, index, self._rng())
        return unlabelled.pca(self.generator, index, self.axes)

    def _attribute(self, name: str) -> Direction:
        labelled.check_attribute(self.features, name)  # before minutes of looking at heads
        seeds = range(self.samples)
        if self._readings is None:
            self._readings = labelled.read_attributes(self.generator, self.features, seeds, progress=self.progress)
        return labelled.attribute_direction(
            self.generator, self.features, self.axes, name, seeds=seeds, readings=self._readings
        )

    def _label(self, name: str) -> Direction:
        if self.labels is None:
            raise BadArgument(
                f"--direction label:{name}",
                expected="no labels were given",
                remedy="name a CSV file of seed,label as --labels",
            )
        if name not in self.labels.columns:
            raise BadArgument(
                f"--direction label:{name}",
                expected=f"the labels have {', '.join(self.labels.columns)}",
                remedy="use one of them",
            )
        return labelled.labelled(
            self.generator, self.axes, self.labels.seeds, self.labels.columns[name], name=f"label:{name}"
        )


def _indices(asked: str, what: str) -> range:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", what, flags=re.ASCII)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if not first <= last < first + MOST:
        raise BadArgument(
            f"--direction {asked}",
            expected=f"a number or a range of at most {MOST} is needed after the colon",
            remedy="write for example pca:0 or pca:0-4",
        )
    return range(first, last + 1)
