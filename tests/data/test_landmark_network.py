"""Frames and crops are each other's inverses, and the landmark network of the package knows unseen heads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gramhd_core.data.landmark_network import (
    COUNT,
    SURE,
    Frames,
    LandmarkConfig,
    LandmarkNetwork,
    Points,
    crops_of,
    frames_of,
    load_landmark_network,
    save_landmark_network,
    start_weights,
)
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.tensor_files import save_tensors

SMALL = LandmarkConfig(32, (4, 6, 8), 16, (4, 6, 8), 8)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> LandmarkNetwork:
    made = LandmarkNetwork(SMALL)
    start_weights(made, rng())
    made.mean_shape.copy_(torch.rand(COUNT, 2, generator=rng(1)) - 0.5)
    return made.eval()


def frames(count: int = 5) -> Frames:
    draw = torch.rand(count, 4, generator=rng(2))
    return Frames(draw[:, :2] * 100, 20 + 50 * draw[:, 2], 3 * (2 * draw[:, 3] - 1))


def test_frame_units_and_pixels_are_inverse() -> None:
    points = torch.rand(5, 7, 2, generator=rng(3)) * 90
    assert torch.allclose(frames().photo_from_unit(frames().unit_from_photo(points)), points, atol=1e-3)
    quarter = Frames(torch.tensor([[10.0, 20.0]]), torch.tensor([4.0]), torch.tensor([math.pi / 2]))
    assert torch.allclose(quarter.photo_from_unit(torch.tensor([[0.5, 0.0]])), torch.tensor([[10.0, 22.0]]), atol=1e-5)


def test_the_frame_of_a_moved_shape_is_how_it_was_moved() -> None:
    shape = torch.rand(COUNT, 2, generator=rng(4)) - 0.3
    moved = frames().photo_from_unit(shape.expand(5, COUNT, 2))
    found = frames_of(moved, shape)
    for a, b in zip(found, frames(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_a_crop_shows_a_place_where_the_frame_says_it_is() -> None:
    y, x = torch.meshgrid(torch.arange(50) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    image = torch.stack([x, y])[None]
    frame = Frames(torch.tensor([[30.0, 24.0]]), torch.tensor([16.0]), torch.tensor([0.4]))
    crop = crops_of(image, frame, size=8, width=1.5)[0].permute(1, 2, 0)
    for i, j in ((0, 0), (3, 6), (7, 7)):
        unit = torch.tensor([[(j + 0.5) / 8 - 0.5, (i + 0.5) / 8 - 0.5]]) * 1.5
        assert torch.allclose(crop[i, j], frame.photo_from_unit(unit)[0], atol=1e-3)


def test_answers_have_the_shapes_and_ranges_they_promise() -> None:
    made = network()
    grid = made.finder(torch.zeros(2, 3, 32, 32))
    assert grid.presence.shape == (2, 4, 4) and grid.frames.shape == (2, 4, 4, 5)
    cells = (torch.arange(4) + 0.5) * 8
    assert (grid.frames[0, :, :, 0] - cells).abs().max() < 6 and (grid.frames[0, :, :, 1].T - cells).abs().max() < 6
    points = made.pointer(torch.rand(3, 3, 16, 16, generator=rng()) * 2 - 1)
    assert points.points.shape == (3, COUNT, 2) and points.points.abs().max() < 0.5 * SMALL.crop + 0.2
    assert ((points.confidence > 0) & (points.confidence < 1)).all()


def test_confidence_falls_with_the_error_that_is_claimed() -> None:
    confidence = Points(torch.zeros(1, 3, 2), torch.tensor([[0.005, SURE, 0.2]])).confidence[0]
    assert confidence[0] > 0.99 and confidence[1] == pytest.approx(1 - math.exp(-1)) and confidence[2] < 0.15


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    made, images = network(), torch.rand(3, 3, 16, 16, generator=rng(5)) * 2 - 1
    together = made.pointer(images).points
    assert torch.allclose(made.pointer(images[1:2]).points, together[1:2], atol=1e-5)


def test_saving_keeps_answers_but_for_16_bits(tmp_path: Path) -> None:
    made = network()
    save_landmark_network(tmp_path / "a.safetensors", made, {"recipe": "test"})
    again, provenance = load_landmark_network(tmp_path / "a.safetensors")
    assert provenance == {"recipe": "test"} and again.config == SMALL
    image = torch.rand(1, 3, 16, 16, generator=rng(6)) * 2 - 1
    assert torch.allclose(again.pointer(image).points, made.pointer(image).points, atol=2e-3)
    assert torch.allclose(again.mean_shape, made.mean_shape)


def test_other_files_and_configs_are_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {"config": {"finder_size": 64}})
    with pytest.raises(BadCheckpoint, match="make landmarks"):
        load_landmark_network(tmp_path / "a.safetensors")
    for values in ({"finder_size": 20}, {"crop_size": 0}, {"pointer_widths": (4,)}, {"finder_widths": (4, 0)}):
        with pytest.raises(BadConfig):
            LandmarkConfig(**values)
