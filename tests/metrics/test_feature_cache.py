"""Features kept in files: found again for the same pictures and network only, whatever happens to the files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gramhd_core.metrics import feature_cache
from gramhd_core.metrics.extractors import Extractor
from gramhd_core.metrics.feature_cache import default_cache, features_of
from gramhd_core.progress import Silent


class Squares:
    """Pictures of one colour each, and what was asked for."""

    poses: tuple[str, ...] = ("plain", "brighter")
    count, size = 40, 4

    def __init__(self, name: str = "squares"):
        self.name, self.asked = name, []

    def key(self) -> dict[str, Any]:
        return {"name": self.name}

    def pictures(self, places: Sequence[int], poses: Sequence[str]) -> Tensor:
        self.asked += [(place, pose) for place in places for pose in poses]
        colour = torch.tensor([[place + 100 * self.poses.index(pose) for pose in poses] for place in places])
        return colour[:, :, None, None, None].expand(-1, -1, 3, 4, 4).byte()


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def means(name: str = "means", weights: str = "0") -> Extractor:
    return Extractor(name, "layer", weights, "library 1", lambda images: (images.float().mean(dim=(2, 3)),))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "BATCH", 4)
    monkeypatch.setattr(feature_cache, "PIECE", 16)


def test_every_picture_is_looked_at_once_for_all_its_looks() -> None:
    squares = Squares()
    found = features_of(squares, means(), {"plain": 20, "brighter": 40})
    assert torch.equal(found.tensors["plain"][:, 0], torch.arange(20.0))
    assert torch.equal(found.tensors["brighter"][:, 1], torch.arange(40.0) + 100)
    assert len(squares.asked) == len(set(squares.asked)) == 2 * 32 + 8 and found.found == 0


def test_features_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    few = features_of(Squares(), means(), {"plain": 37}).tensors["plain"]
    monkeypatch.setattr(feature_cache, "BATCH", 7)
    assert torch.equal(few, features_of(Squares(), means(), {"plain": 37}).tensors["plain"])


def test_what_was_seen_before_is_not_looked_at_again(tmp_path: Path) -> None:
    first = features_of(Squares(), means(), {"plain": 37}, cache=tmp_path)
    squares = Squares()
    again = features_of(squares, means(), {"plain": 37}, cache=tmp_path)
    assert torch.equal(first.tensors["plain"], again.tensors["plain"])
    assert not squares.asked and again.found == 37
    fewer = features_of(squares, means(), {"plain": 10}, cache=tmp_path)
    assert not squares.asked and torch.equal(fewer.tensors["plain"], first.tensors["plain"][:10])
    more = features_of(squares, means(), {"plain": 40}, cache=tmp_path)
    assert [place for place, _ in squares.asked] == list(range(32, 40)) and more.found == 32


def test_a_run_that_was_interrupted_goes_on_where_it_ended(tmp_path: Path) -> None:
    class Breaking(Squares):
        def pictures(self, places: Sequence[int], poses: Sequence[str]) -> Tensor:
            if 30 in places:
                raise KeyboardInterrupt
            return super().pictures(places, poses)

    with pytest.raises(KeyboardInterrupt):
        features_of(Breaking(), means(), {"plain": 40}, cache=tmp_path)
    assert features_of(Squares(), means(), {"plain": 40}, cache=tmp_path).found == 16
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("other", ["pictures", "weights", "extractor"])
def test_other_pictures_and_other_networks_find_nothing(tmp_path: Path, other: str) -> None:
    features_of(Squares(), means(), {"plain": 16}, cache=tmp_path)
    squares = Squares("others" if other == "pictures" else "squares")
    network = means("others" if other == "extractor" else "means", "1" if other == "weights" else "0")
    assert features_of(squares, network, {"plain": 16}, cache=tmp_path).found == 0 and squares.asked


def test_damaged_files_are_looked_past_and_replaced(tmp_path: Path) -> None:
    first = features_of(Squares(), means(), {"plain": 16}, cache=tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    for damage in (whole[:100], b"", whole[:-8] + b"\xff" * 8):  # cut, empty, not a number
        path.write_bytes(damage)
        found = features_of(Squares(), means(), {"plain": 16}, cache=tmp_path)
        assert found.found == 0 and torch.equal(found.tensors["plain"], first.tensors["plain"])
        assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_a_line(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    heard = Heard()
    found = features_of(Squares(), means(), {"plain": 40}, cache=tmp_path, progress=heard)
    assert found.tensors["plain"].shape == (40, 3)
    assert len(heard.lines) == 1 and "Features are not kept" in heard.lines[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no home folder in the environment")
def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "gramhd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "gramhd"
