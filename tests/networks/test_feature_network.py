"""The feature network: saved and loaded, any size of picture, and what the one in the package knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gramhd_core.data.procedural_heads import render_item
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.networks.feature_network import (
    ASSET,
    FeatureConfig,
    FeatureNetwork,
    images_from_bytes,
    load_feature_network,
    save_feature_network,
    start_weights,
)

SMALL = FeatureConfig(32, (8, 12, 16), 6)
FRESH = 5_000_000  # heads of no data set


@pytest.fixture
def network() -> FeatureNetwork:
    network = FeatureNetwork(SMALL, ("pitch", "yaw", "hair_r"))
    start_weights(network, torch.Generator().manual_seed(0))
    return network.eval().requires_grad_(False)


def pictures(n: int, size: int) -> torch.Tensor:
    return 2 * torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) - 1


def test_a_saved_network_reads_the_same(network: FeatureNetwork, tmp_path: Path) -> None:
    save_feature_network(tmp_path / "a.safetensors", network, {"recipe": "none"})
    loaded, provenance = load_feature_network(tmp_path / "a.safetensors")
    assert provenance == {"recipe": "none"} and loaded.attributes == network.attributes
    before, after = network(pictures(4, 32)), loaded(pictures(4, 32))
    torch.testing.assert_close(after.features, before.features, atol=0.02, rtol=0.02)
    again = load_feature_network(tmp_path / "a.safetensors").network(pictures(4, 32))
    assert torch.equal(again.attributes, after.attributes)


def test_a_picture_is_read_alone_whatever_stands_beside_it(network: FeatureNetwork) -> None:
    images = pictures(5, 32)
    torch.testing.assert_close(network(images).features[3:4], network(images[3:4]).features)


@pytest.mark.parametrize("size", [16, 32, 48, 128])
def test_pictures_of_any_size_are_read(network: FeatureNetwork, size: int) -> None:
    reading = network(pictures(2, size))
    assert reading.features.shape == (2, 6) and reading.attributes.shape == (2, 3)
    flat = network(torch.full((1, 3, size, size), 0.3)).features
    torch.testing.assert_close(flat, network(torch.full((1, 3, 32, 32), 0.3)).features)


def test_white_features_are_white_and_attributes_stay(network: FeatureNetwork) -> None:
    images = pictures(400, 32)
    attributes = network(images).attributes
    network.whiten(network.features(images))
    white = network.features(images)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)
    spread = torch.linalg.eigvalsh(white.T.cov())
    assert 0 < spread[0] and spread[-1] < 1
    assert torch.equal(network(images).attributes, attributes)
    network.whiten(white)  # once more changes little
    torch.testing.assert_close(network.features(images).mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)


def test_a_mirrored_picture_is_turned_the_other_way(network: FeatureNetwork) -> None:
    straight, mirrored = network.pose(pictures(3, 32)), network.pose(pictures(3, 32).flip(-1))
    torch.testing.assert_close(mirrored, straight * torch.tensor([1.0, -1.0]))


def test_other_files_are_refused_in_a_sentence(tmp_path: Path, network: FeatureNetwork) -> None:
    save_feature_network(tmp_path / "a.safetensors", network, {})
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-40])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        load_feature_network(tmp_path / "b.safetensors")
    network.config = FeatureConfig(32, (8, 12, 16), 7)
    save_feature_network(tmp_path / "c.safetensors", network, {})
    with pytest.raises(BadCheckpoint, match="no feature network"):
        load_feature_network(tmp_path / "c.safetensors")
    with pytest.raises(BadConfig):
        FeatureConfig(30, (8, 12, 16))


def test_the_network_of_the_package_is_small_and_says_where_it_came_from() -> None:
    provenance = load_feature_network().provenance
    assert ASSET.stat().st_size < 1_500_000
    assert provenance["recipe"] == "make features" and provenance["heads"] >= 500 and provenance["data"]
    assert provenance["yaw_error_sharp"] < 0.05 and provenance["pitch_error_sharp"] < 0.05


def test_the_network_of_the_package_reads_heads_it_has_never_seen() -> None:
    network = load_feature_network().network
    items = [render_item(FRESH + i, size=128, supersample=1) for i in range(24)]
    images = torch.stack([torch.from_numpy(item.view.image).movedim(-1, 0) for item in items])
    read = network(images_from_bytes(images)).attributes
    pose = network.pose(images_from_bytes(images))
    angles = torch.tensor([[item.pitch, item.yaw] for item in items])
    assert (pose - angles).abs().mean() < 0.04  # a guess of zero is 0.18 off
    for name in ("background_r", "shirt_b", "skin_g"):
        truth = torch.tensor([item.identity.attributes()[name] for item in items])
        assert torch.corrcoef(torch.stack([read[:, network.attributes.index(name)], truth]))[0, 1] > 0.8, name
