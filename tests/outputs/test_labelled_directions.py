"""Directions with labels: planted boundaries are found, labels are read or refused in a sentence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.errors import BadArgument, BadLabels, GramhdWarning
from gramhd_core.generators.gram import Gram
from gramhd_core.networks.feature_network import FeatureConfig, FeatureNetwork, LoadedFeatures
from gramhd_core.outputs import labelled_directions as labelled
from gramhd_core.outputs.directions import flat, principal_axes
from gramhd_core.outputs.edit import EditRequest, edit, subject_of_seed
from gramhd_core.outputs.finder import Finder
from gramhd_core.outputs.shots import latent_of_seed

K = 16
NAMES = ("pitch", "yaw", "beard", "skin_r", "skin_g", "skin_b", "iris_r", "curtain", "coarseness", "noise")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def degrees(a: Tensor, b: Tensor) -> float:
    return math.degrees(math.acos(min(1.0, float(torch.cosine_similarity(a, b, dim=0)))))


@pytest.fixture
def features() -> LoadedFeatures:
    config = FeatureConfig(image_size=8, widths=(4,), features=4)
    return LoadedFeatures(FeatureNetwork(config, NAMES).eval().requires_grad_(False), {"r2": {"beard": 0.1}})


def test_a_planted_boundary_is_found_within_ten_degrees() -> None:
    x, normal = torch.randn(1000, K, generator=rng()), torch.nn.functional.normalize(torch.arange(1.0, K + 1), dim=0)
    found = labelled.boundary(x, torch.where(x @ normal + 0.3 > 0, 1, -1))
    assert degrees(found.normal, normal) < 10
    assert float(found.normal.norm()) == pytest.approx(1) and found.offset == pytest.approx(0.3, abs=0.1)
    assert found.accuracy > 0.9


def test_labels_that_say_nothing_are_right_half_of_the_time() -> None:
    x, labels = torch.randn(1000, K, generator=rng()), torch.randint(0, 2, (1000,), generator=rng(1)) * 2 - 1
    assert labelled.boundary(x, labels).accuracy == pytest.approx(0.5, abs=0.06)


def test_samples_that_take_no_side_do_not_count() -> None:
    x, normal = torch.randn(300, K, generator=rng()), torch.eye(K)[3]
    labels = torch.where(x @ normal > 0, 1, -1)
    labels[200:] = 0
    assert torch.equal(labelled.boundary(x, labels).normal, labelled.boundary(x[:200], labels[:200]).normal)


def test_the_boundary_is_the_minimum_of_its_cost() -> None:
    x, labels = torch.randn(200, 4, generator=rng()), torch.randint(0, 2, (200,), generator=rng(1)) * 2 - 1
    w, b = labelled._separated(x.double().numpy(), labels.double().numpy(), 0.01)
    p = torch.cat([torch.from_numpy(w), torch.tensor([b])]).requires_grad_()
    short = (1 - labels * (x.double() @ p[:-1] + p[-1])).clamp(min=0)
    (0.5 * p[:-1].square().sum() + 0.01 * short.square().sum()).backward()
    assert p.grad is not None and float(p.grad.abs().max()) < 1e-3


def test_a_planted_direction_of_latents_is_recovered_from_labels_of_seeds(small_gram: Gram) -> None:
    axes, seeds = principal_axes(small_gram, rng(), draws=2000), tuple(range(600))
    with torch.no_grad():
        latents = torch.cat([flat(latent_of_seed(small_gram, s, truncation=1.0)[0]) for s in seeds])
        one = small_gram.latent(torch.zeros(1, 8))
    values = (latents - axes.mean) / axes.scale @ (axes.axes[1] / axes.scale)
    found = labelled.labelled(small_gram, axes, seeds, values, name="label:x")
    step = torch.cat([found.film.flatten(), found.style]) / axes.scale
    assert degrees(step, axes.axes[1] / axes.scale) < 10
    assert found.facts["held_out_accuracy"] > 0.9 and found.facts["samples"] == pytest.approx(400, abs=2)
    assert found.film.shape == one.film.shape[1:]


def test_sides_are_the_two_values_or_the_outer_thirds() -> None:
    nan = math.nan
    assert labelled.sides(torch.tensor([0.0, 1, nan, 1])).tolist() == [-1, 1, 0, 1]
    assert labelled.sides(torch.tensor([-1.0, -1, 4])).tolist() == [-1, -1, 1]
    assert labelled.sides(torch.tensor([5.0, 1, 2, 3, 4, 6])).tolist() == [1, -1, -1, 0, 0, 1]
    assert labelled.sides(torch.tensor([2.0, 2, nan])).tolist() == [0, 0, 0]
    assert labelled.sides(torch.tensor([nan, nan])).tolist() == [0, 0]


def test_labels_are_read_from_columns_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("seed,smile,hat\n3,1,0.5\n7, ,2\n\n", "utf-8")
    found = labelled.read_labels_of_seeds(path)
    assert found.seeds == (3, 7) and found.columns["hat"].tolist() == [0.5, 2]
    assert found.columns["smile"][0] == 1 and found.columns["smile"][1].isnan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no columns"),
        ("a,b\n1,2\n", "the columns a, b"),
        ("seed\n1\n", "the columns seed"),
        ("seed,label\nx,1\n", "the seed x in line 2"),
        ("seed,label\n1\n-2,1\n", "the seed -2 in line 3"),
        ("seed,label\n1,yes\n", "says yes of label in line 2"),
        ("seed,label\n1,1\n1,0\n", "twice"),
    ],
)
def test_bad_labels_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(BadLabels, match=words):
        labelled.read_labels_of_seeds(path)
    with pytest.raises(BadLabels, match="cannot be read"):
        labelled.read_labels_of_seeds(tmp_path / "absent.csv")


def test_too_few_labels_are_refused_with_their_numbers(small_gram: Gram) -> None:
    labels = labelled.Labels(tuple(range(12)), {"smile": torch.tensor([0.0] * 9 + [1.0] * 3)})
    with pytest.raises(BadLabels, match="3 samples on one side and 9 on the other"):
        Finder(small_gram, labels=labels).find("label:smile")
    with pytest.raises(BadArgument, match="the labels have smile"):
        Finder(small_gram, labels=labels).find("label:hat")
    with pytest.raises(BadArgument, match="--samples 5"):
        Finder(small_gram, samples=5)


def test_attributes_are_the_networks_without_the_camera_and_with_lightness(features: LoadedFeatures) -> None:
    names = labelled.attribute_names(features)
    assert names == ("beard", "skin_r", "skin_g", "skin_b", "iris_r", "curtain", "skin_lightness", "hair_length")
    readings = torch.arange(10.0).expand(2, -1)
    assert labelled.attribute(features, readings, "beard").tolist() == [2, 2]
    assert labelled.attribute(features, readings, "skin_lightness").tolist() == pytest.approx([4, 4])
    assert labelled.attribute(features, readings, "hair_length").tolist() == [-7, -7]


def test_what_is_hardly_read_is_said_with_a_number(small_gram: Gram, features: LoadedFeatures) -> None:
    axes, readings = principal_axes(small_gram, rng(), draws=100), torch.randn(60, len(NAMES), generator=rng())
    with pytest.warns(GramhdWarning, match=r"reads beard badly \(it explains 10%"):
        labelled.attribute_direction(small_gram, features, axes, "beard", seeds=range(60), readings=readings)


@pytest.mark.slow
def test_an_edit_of_the_built_in_model_changes_what_it_is_named_for(tmp_path: Path) -> None:
    generator = load_generator("demo")
    finder = Finder(generator, samples=40)
    (direction,) = finder.find("attribute:skin_lightness")
    request, subject = EditRequest((-3, -1.5, 0, 1.5, 3), "image"), subject_of_seed(generator, 1001, truncation=0.7)
    done = edit(generator, [subject], [direction], request, tmp_path, features=finder.features)
    assert done.grids[0].readings is not None
    values = labelled.attribute(finder.features, done.grids[0].readings, "skin_lightness")
    assert (values.diff() > 0).all(), values
    assert values[-1] - values[0] > 0.3
