"""Directions without labels: the widest axes of a known mapping are found, and files of them fit one model only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from small import SMALL_LOW
from torch import Tensor, nn

from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.errors import BadArgument, BadCheckpoint
from gramhd_core.generators.generator import Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.networks.mapping import Mapping
from gramhd_core.outputs.directions import (
    Direction,
    carried,
    flat,
    latent_of,
    load_direction,
    principal_axes,
    save_direction,
    sefa,
    sefa_axes,
)
from gramhd_core.outputs.finder import Finder
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene
from gramhd_core.scenes.scene_files import load_scene, save_scene
from gramhd_core.tensor_files import load_tensors, save_tensors

Z = 6
SMALL_SPHERES = replace(SMALL_LOW, manifolds=replace(SMALL_LOW.manifolds, predictor="spheres"))  # quickly baked


@dataclass(frozen=True)
class Nothing:
    """No configuration."""


class Straight(nn.Module):
    """A generator whose latents are A z + b: film [1, 2, 4] of eight numbers, no style, no pictures."""

    family, config, latent_dim, image_size, cameras = "straight", Nothing(), Z, 8, CameraPrior()

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.mapping = Mapping(Z, 8, hidden=Z, layers=0)
        layer = self.mapping.network[0]
        assert isinstance(layer, nn.Linear)
        layer.weight.data.copy_(matrix)
        self.requires_grad_(False)

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        return Latent(self.mapping(z).unflatten(1, (1, 2, 4)), z[:, :0])

    def scene(self, latent: Latent, view_from: Camera | None = None) -> Scene:
        raise NotImplementedError


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.fixture
def straight() -> Straight:
    """A = U S V': widths 3, 2, 1, 0.5, 0.25, 0 along known rows; frequencies and phases vary alike."""
    half = torch.linalg.qr(torch.randn(4, 4, generator=rng()))[0]
    u = torch.cat([half, half.roll(1, 0)])[:, :3] / 2**0.5
    u = torch.cat([u, torch.cat([half, -half.roll(1, 0)])[:, :3] / 2**0.5], dim=1)
    v = torch.linalg.qr(torch.randn(Z, Z, generator=rng()))[0]
    return Straight(u @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.25, 0.0])) @ v.T)


def test_the_principal_axes_of_a_linear_mapping_are_its_singular_vectors(straight: Straight) -> None:
    layer = straight.mapping.network[0]
    assert isinstance(layer, nn.Linear)
    found = principal_axes(straight, rng(), draws=100_000)
    scale = found.scale
    left, widths, _ = torch.linalg.svd(layer.weight / scale[:, None])
    for k in range(3):
        assert abs(cosine(found.axes[k] / scale, left[:, k])) > 0.999
        assert float((found.axes[k] / scale).norm()) == pytest.approx(float(widths[k]), rel=0.02)
    assert len(found.axes) == 5  # the sixth direction of z does nothing
    assert float(found.share.sum()) == pytest.approx(1)
    assert torch.allclose(found.mean, layer.bias, atol=0.03)


def test_frequencies_phases_and_styles_weigh_alike(small_gram_hd: GramHd) -> None:
    found = principal_axes(small_gram_hd, rng(), draws=500)
    with torch.no_grad():
        small_gram_hd.foreground.mapping.network[-1].weight.mul_(100)  # type: ignore[operator]
    louder = principal_axes(small_gram_hd, rng(), draws=500)
    assert abs(cosine(found.axes[0] / found.scale, louder.axes[0] / louder.scale)) > 0.999


def test_a_strength_of_one_is_a_standard_deviation(small_gram: Gram) -> None:
    axes = principal_axes(small_gram, rng(), draws=4000)
    with torch.no_grad():
        z = torch.randn(2000, 8, generator=torch.Generator().manual_seed(5))
        x = flat(small_gram.latent(z)) / axes.scale
    step = axes.axes[0] / axes.scale
    along = (x - x.mean(dim=0)) @ (step / step.norm())
    assert float(along.std() / step.norm()) == pytest.approx(1, abs=0.06)


def test_the_closed_form_is_the_top_eigenvector_of_the_stacked_first_layers(small_gram_hd: GramHd) -> None:
    first = [m.network[0].weight for m in small_gram_hd.modules() if isinstance(m, Mapping)]
    assert len(first) == 2
    stacked = torch.cat(first).double()  # type: ignore[arg-type]
    found = sefa_axes(small_gram_hd)
    for k in range(3):
        axis = found.axes[k].double()
        assert torch.allclose(stacked.mT @ stacked @ axis, axis * (stacked @ axis).square().sum(), atol=1e-4)
    others = torch.randn(100, 8, generator=rng()).double()
    assert (stacked @ found.axes[0].double()).norm() >= ((stacked @ others.T).norm(dim=0) / others.norm(dim=1)).max()
    assert torch.all(found.share[:-1] >= found.share[1:])


def test_what_is_carried_over_a_linear_mapping_is_its_matrix(straight: Straight) -> None:
    layer = straight.mapping.network[0]
    assert isinstance(layer, nn.Linear)
    along = torch.eye(Z)[2]
    found = carried(straight, along, rng(), name="x", facts={}, draws=10)
    assert torch.allclose(found.film.flatten(), layer.weight @ along, atol=1e-5)


def test_a_direction_carried_is_the_mean_slope(small_gram_hd: GramHd) -> None:
    along, step = torch.eye(8)[1], 1e-3
    found = carried(small_gram_hd, along, rng(), name="x", facts={}, draws=400)
    z = torch.randn(400, 8, generator=rng())
    with torch.no_grad():
        change = flat(small_gram_hd.latent(z + step * along)) - flat(small_gram_hd.latent(z - step * along))
    slope = latent_of((change / (2 * step)).mean(dim=0, keepdim=True), small_gram_hd.latent(z[:1]))
    assert torch.allclose(found.film, slope.film[0], atol=2e-3)
    assert torch.allclose(found.style, slope.style[0], atol=2e-3)


def test_strength_zero_is_the_identity_bit_by_bit(small_gram_hd: GramHd) -> None:
    direction = sefa(small_gram_hd, 0, rng(), draws=50)
    with torch.no_grad():
        latent = small_gram_hd.latent(torch.randn(2, 8, generator=rng()))
    latent.film[0, 0, 0, 0] = -0.0
    moved = direction.move(latent, 0)
    assert torch.equal(moved.film.view(torch.int32), latent.film.view(torch.int32))
    assert torch.equal(moved.style.view(torch.int32), latent.style.view(torch.int32))
    assert torch.allclose(direction.move(direction.move(latent, 2), -2).film, latent.film, atol=1e-5)


def test_the_same_seed_finds_the_same_direction_and_the_global_state_does_not_matter(small_gram_hd: GramHd) -> None:
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        finder = Finder(small_gram_hd)
        found.append([*finder.find("pca:0-1"), *finder.find("sefa:1")])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.film, other.film) and torch.equal(one.style, other.style) and one.facts == other.facts


def test_flat_and_latent_of_are_inverse(small_gram_hd: GramHd) -> None:
    with torch.no_grad():
        latent = small_gram_hd.latent(torch.randn(3, 8, generator=rng()))
    back = latent_of(flat(latent), latent)
    assert torch.equal(back.film, latent.film) and torch.equal(back.style, latent.style)


def test_a_saved_direction_comes_back_for_its_model_only(
    small_gram_hd: GramHd, small_gram: Gram, tmp_path: Path
) -> None:
    path, direction = tmp_path / "d.safetensors", sefa(small_gram_hd, 0, rng(), draws=20)
    save_direction(path, direction, small_gram_hd)
    (back,) = Finder(small_gram_hd).find(str(path))
    assert torch.equal(back.film, direction.film) and torch.equal(back.style, direction.style)
    assert back.name == "sefa:0" and back.facts["method"] == "sefa"
    with pytest.raises(BadCheckpoint, match="another gram-hd model.*the gram model"):
        load_direction(path, small_gram)
    other = tmp_path / "other.safetensors"
    tensors, header = load_tensors(path, key="gramhd_direction")
    for change in ({"film": direction.film[1:]}, {"style": direction.style / 0}):
        save_tensors(other, {**tensors, **change}, header, key="gramhd_direction")
        with pytest.raises(BadCheckpoint, match="are needed"):
            load_direction(other, small_gram_hd)
    save_tensors(other, tensors, header)
    with pytest.raises(BadCheckpoint, match="not a saved direction"):
        load_direction(other, small_gram_hd)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("pca:999", "pca:0 to pca:"),
        ("sefa:8", "sefa:0 to sefa:7"),
        ("pca:x", "a number or a range"),
        ("pca:3-1", "a number or a range"),
        ("pca", "METHOD:WHAT"),
        ("ica:0", "METHOD:WHAT"),
        ("absent.safetensors", "neither a file"),
        ("attribute:baerd", "did you mean beard"),
        ("attribute:yaw", "no such attribute"),
        ("label:smile", "--labels"),
    ],
)
def test_what_is_no_direction_is_refused(asked: str, words: str, small_gram: Gram) -> None:
    with pytest.raises(BadArgument, match=words):
        Finder(small_gram).find(asked)


@torch.no_grad()
def test_a_saved_scene_has_no_directions(tmp_path: Path) -> None:
    path, maker = tmp_path / "a.scene.safetensors", Gram(SMALL_SPHERES)
    scene = maker.scene(maker.latent(torch.zeros(1, 8)))
    assert isinstance(scene, RadianceManifolds)
    save_scene(path, scene)
    for asked in ("pca:0", "sefa:0"):
        with pytest.raises(BadCheckpoint, match="has no latents"):
            Finder(SavedScene(*load_scene(path))).find(asked)


def test_directions_without_style_leave_it_alone(small_gram: Gram) -> None:
    direction = sefa(small_gram, 0, rng(), draws=20)
    with torch.no_grad():
        moved = direction.move(small_gram.latent(torch.zeros(1, 8)), 1.5)
    assert moved.style.shape == (1, 0) and isinstance(direction, Direction)
