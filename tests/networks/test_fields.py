"""Phi and its parts: published sizes, identities, precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gramhd_core.generators import PUBLISHED
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.fields import Field, FieldConfig, FilmLayer
from gramhd_core.networks.predictors import ManifoldsConfig, MlpPredictor, SpherePredictor

SMALL = FieldConfig(z_dim=8, hidden=16, layers=4, mapping_hidden=16, mapping_layers=2, features=3)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_networks_have_the_published_number_of_parameters() -> None:
    assert count(Gram(PUBLISHED["gram64-ffhq"])) == 1_950_621
    with torch.device("meta"):
        assert count(Field(replace(PUBLISHED["gram64-ffhq"].field, features=32))) == 1_950_621 - 33_665 + 57_568


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [
        ("gramhd256-ffhq", 11_399_012, 9_448_391),
        ("gramhd512-ffhq", 11_442_324, 9_491_703),
        ("gramhd1024-ffhq", 11_453_036, 9_502_415),
    ],
)
def test_published_hd_networks_have_the_published_number_of_parameters(name: str, total: int, trainable: int) -> None:
    generator = GramHd(PUBLISHED[name])
    assert count(generator) == total
    assert sum(p.numel() for p in generator.trainable().values()) == trainable


def test_film_folding_equals_the_formula() -> None:
    torch.manual_seed(0)
    layer = FilmLayer(5, 7, bound=0.5)
    x, f, p = torch.randn(2, 9, 5), torch.randn(2, 7), torch.randn(2, 7)
    plain = torch.sin(f[:, None] * layer.layer(x) + p[:, None])
    assert torch.allclose(layer(x, f, p), plain, atol=1e-5)


def test_colours_and_density_stay_in_their_ranges() -> None:
    torch.manual_seed(0)
    field = Field(SMALL)
    value = field(torch.rand(2, 50, 3) * 0.2 - 0.1, None, field.film(torch.randn(2, 8)))
    assert value.rgb.shape == (2, 50, 3) and value.features.shape == (2, 50, 3)
    assert value.rgb.min() >= -1e-3 and value.rgb.max() <= 1 + 1e-3 and value.sigma.min() >= 0


def test_each_identity_is_independent_of_the_batch() -> None:
    torch.manual_seed(0)
    field = Field(SMALL)
    z, points = torch.randn(3, 8), torch.rand(3, 20, 3) * 0.2 - 0.1
    whole = field(points, None, field.film(z))
    alone = field(points[1:2], None, field.film(z[1:2]))
    assert torch.allclose(whole.rgb[1:2], alone.rgb, atol=1e-6)


@pytest.mark.parametrize("dependence", ["none", "locked", "camera"])
def test_only_a_colour_layer_sees_the_direction(dependence: str) -> None:
    torch.manual_seed(0)
    field = Field(replace(SMALL, view_dependence=dependence))
    film, points = field.film(torch.randn(1, 8)), torch.rand(1, 20, 3) * 0.2 - 0.1
    sideways = torch.tensor([1.0, 0.0, 0.0]).expand_as(points)
    same = torch.equal(field(points, sideways, film).rgb, field(points, None, film).rgb)
    assert same == (dependence == "none")
    assert torch.equal(field(points, sideways, film).sigma, field(points, None, film).sigma)


@pytest.mark.parametrize("fp32", [True, False])
def test_phases_keep_full_precision_under_autocast_unless_told_otherwise(fp32: bool) -> None:
    torch.manual_seed(0)
    field = Field(replace(SMALL, fp32_phases=fp32))
    z, points = torch.randn(1, 8), torch.rand(1, 20, 3) * 0.2 - 0.1
    exact = field(points, None, field.film(z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = field(points, None, field.film(z))
    assert torch.equal(exact.rgb, cast.rgb) == fp32


def test_predictor_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    predictor, points = MlpPredictor(ManifoldsConfig(hidden=32)), torch.rand(10, 3) * 0.2 - 0.1
    exact = predictor(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(predictor(points), exact)


def test_predictor_starts_near_the_spheres() -> None:
    torch.manual_seed(0)
    config = ManifoldsConfig(hidden=2048)
    points = torch.rand(200, 3) * 0.2 - 0.1
    ratio = MlpPredictor(config)(points) / SpherePredictor(config)(points)
    assert 0.8 < ratio.min() and ratio.max() < 1.25
