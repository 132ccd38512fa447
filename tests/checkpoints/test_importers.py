"""Official weights in and out: exact coverage, nothing executed, misfits named."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from small import SMALL_HIGH, SMALL_LOW

from gramhd_core import tensor_files
from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.checkpoints.importers import (
    export_official,
    import_official,
    official_name,
    official_weights,
    our_name,
    read_pickled,
)
from gramhd_core.errors import BadArgument, BadCheckpoint, CannotWrite
from gramhd_core.generators import FAMILIES, PUBLISHED
from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig

KEYS = Path(os.environ.get("GRAMHD_FACTS_DIR", Path(__file__).parents[3] / "shared" / "facts")) / "keys"
FILES = {
    "gram64-ffhq": "GRAM64_FFHQ",
    "gram64-afhq": "GRAM64_AFHQ",
    "gramhd256-ffhq": "GRAMHD256_FFHQ",
    "gramhd512-ffhq": "GRAMHD512_FFHQ",
    "gramhd1024-ffhq": "GRAMHD1024_FFHQ",
}


def official(config: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under official names and in official order."""
    numbers = PUBLISHED[config]
    torch.manual_seed(seed)
    generator = Gram(numbers) if isinstance(numbers, GramConfig) else GramHd(numbers)
    return {name: p.detach() for name, p in official_weights(generator).items()}


@pytest.fixture(scope="module")
def gram_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("official") / "generator.pth"
    torch.save(official("gram64-ffhq"), file)
    return file


class ExponentialMovingAverage:
    """The shape of torch_ema's object."""

    def __init__(self, shadow: list[torch.Tensor]):
        self.decay, self.num_updates, self.shadow_params, self.collected_params = 0.999, 10, shadow, []


def save_average(shadow: list[torch.Tensor], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle as torch_ema would, then forget that module."""
    with monkeypatch.context() as patch:
        package, inner = types.ModuleType("torch_ema"), types.ModuleType("torch_ema.ema")
        inner.ExponentialMovingAverage = ExponentialMovingAverage  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "torch_ema", package)
        patch.setitem(sys.modules, "torch_ema.ema", inner)
        patch.setattr(ExponentialMovingAverage, "__module__", "torch_ema.ema")
        torch.save(ExponentialMovingAverage(shadow), file)


@pytest.mark.parametrize(("config", "file"), FILES.items())
def test_names_shapes_and_order_are_the_published_ones(config: str, file: str) -> None:
    path = KEYS / f"{file}_generator.json"
    if not path.exists():
        pytest.skip(f"the key lists are absent: {path} (set GRAMHD_FACTS_DIR)")
    published = {name: tuple(entry["shape"]) for name, entry in json.loads(path.read_text()).items()}
    ours = {name: tuple(t.shape) for name, t in official(config).items()}
    assert ours == published and list(ours) == list(published)
    ema = json.loads((KEYS / f"{file}_ema.json").read_text())["shadow_params"] if "AFHQ" not in file else []
    if config.startswith("gramhd"):
        trained = [official_name(name) for name in GramHd(PUBLISHED[config]).trainable()]  # type: ignore[arg-type]
        assert trained == [entry["name"] for entry in ema]


@pytest.mark.parametrize("config", ["gram64-ffhq", "gramhd256-ffhq"])
def test_names_translate_both_ways(config: str) -> None:
    family = "gram-hd" if config.startswith("gramhd") else "gram"
    names = list(official(config))
    assert [official_name(our_name(name, family=family)) for name in names] == names
    assert len({our_name(name, family=family) for name in names}) == len(names)


@pytest.mark.slow
def test_state_dict_imports_and_exports_to_the_same_names_and_values(gram_file: Path, tmp_path: Path) -> None:
    model = import_official(gram_file, tmp_path / "m.safetensors", config="gram64-ffhq")
    loaded = Checkpoint.load(model)
    assert loaded.config == PUBLISHED["gram64-ffhq"].compatible() and loaded.provenance["config"] == "gram64-ffhq"
    assert loaded.weights["film_centre"].abs().sum() > 0  # measured, not in the file
    back = torch.load(export_official(model, tmp_path / "back.pt"), weights_only=True)
    before = torch.load(gram_file, weights_only=True)
    assert list(back) == list(before) and all(torch.equal(back[name], before[name]) for name in before)


def test_safetensors_import_too(gram_file: Path, tmp_path: Path) -> None:
    save_file(torch.load(gram_file, weights_only=True), tmp_path / "w.safetensors")
    model = import_official(tmp_path / "w.safetensors", tmp_path / "m.safetensors", config="gram64-ffhq")
    assert load_generator(model).latent_dim == 256


@pytest.mark.slow
def test_an_unnamed_average_is_laid_over_the_state_dict(
    gram_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average = official("gram64-ffhq", seed=1)
    save_average(list(average.values()), tmp_path / "ema.pth", monkeypatch)
    assert "torch_ema" not in sys.modules
    alone = import_official(tmp_path / "ema.pth", tmp_path / "a.safetensors", config="gram64-ffhq")
    over = import_official(gram_file, tmp_path / "b.safetensors", config="gram64-ffhq", ema=tmp_path / "ema.pth")
    for model in (alone, over):
        weights = Checkpoint.load(model).weights
        assert all(torch.equal(weights[our_name(name, family="gram")], t) for name, t in average.items())


@pytest.mark.slow
def test_stage_two_average_covers_what_stage_two_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, other = official("gramhd256-ffhq"), official("gramhd256-ffhq", seed=1)
    trained = [official_name(name) for name in GramHd(PUBLISHED["gramhd256-ffhq"]).trainable()]  # type: ignore[arg-type]
    assert len(trained) == 406
    torch.save(raw, tmp_path / "g.pth")
    save_average([other[name] for name in trained], tmp_path / "ema.pth", monkeypatch)
    out = tmp_path / "m.safetensors"
    import_official(tmp_path / "g.pth", out, config="gramhd256-ffhq", ema=tmp_path / "ema.pth")
    weights = Checkpoint.load(out).weights
    for name in raw:
        expected = other[name] if name in trained else raw[name]
        assert torch.equal(weights[our_name(name, family="gram-hd")], expected)
    with pytest.raises(BadCheckpoint, match="406 tensors"):
        import_official(tmp_path / "ema.pth", out, config="gramhd256-ffhq")


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_misfits_are_one_sentence_that_names_the_tensor(damage: str, gram_file: Path, tmp_path: Path) -> None:
    weights = torch.load(gram_file, weights_only=True)
    name = "representation.rf_network.network.3.layer.bias"
    if damage == "missing":
        del weights[name]
    elif damage == "extra":
        weights["module." + name] = weights[name]
    else:
        weights[name] = weights[name][:7]
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(BadCheckpoint) as refused:
        import_official(tmp_path / "bad.pth", tmp_path / "m.safetensors", config="gram64-ffhq")
    assert name in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "m.safetensors").exists()


class Hostile:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_hostile_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "pwned"
    for value in (Hostile(mark), {"weights": Hostile(mark)}):
        torch.save(value, tmp_path / "evil.pth")
        with pytest.raises(BadCheckpoint, match="more than weights"):
            import_official(tmp_path / "evil.pth", tmp_path / "m.safetensors", config="gram64-ffhq")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"hello there", b"PK\x03\x04 broken"])
def test_files_that_are_not_torch_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(BadCheckpoint, match="cannot be read|more than weights"):
        read_pickled(tmp_path / "x.pt")


def test_other_contents_configs_and_suffixes_are_refused(gram_file: Path, tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(BadCheckpoint, match="does not hold weights"):
        import_official(tmp_path / "list.pt", tmp_path / "m.safetensors", config="gram64-ffhq")
    with pytest.raises(BadArgument, match="gram64-ffhq"):
        import_official(gram_file, tmp_path / "m.safetensors", config="gram65")
    with pytest.raises(BadCheckpoint, match="does not exist"):
        import_official(tmp_path / "no.pt", tmp_path / "m.safetensors", config="gram64-ffhq")
    model = import_official(gram_file, tmp_path / "m.safetensors", config="gram64-ffhq")
    with pytest.raises(BadArgument, match=r"\.pt"):
        export_official(model, tmp_path / "weights.bin")


def saved(config: GramConfig | GramHdConfig, folder: Path) -> Path:
    """A checkpoint file of an untrained model."""
    generator = Gram(config) if isinstance(config, GramConfig) else GramHd(config)
    Checkpoint(generator.family, config, dict(generator.state_dict()), 0, 0, {}).save(folder / "m.safetensors")
    return folder / "m.safetensors"


SPHERES = replace(SMALL_LOW, manifolds=replace(SMALL_LOW.manifolds, predictor="spheres"))
PALE = replace(SMALL_LOW, field=replace(SMALL_LOW.field, view_dependence="none"))
PALE_HIGH = replace(
    SMALL_HIGH, low=replace(SMALL_HIGH.low, field=replace(SMALL_HIGH.low.field, view_dependence="none"))
)
RESIDUAL = replace(SMALL_HIGH, sr=replace(SMALL_HIGH.sr, start="residual"))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (SPHERES, "predictor=spheres"),
        (PALE, "view_dependence=none"),
        (PALE_HIGH, "view_dependence=none"),
        (RESIDUAL, "start=residual"),
    ],
)
def test_models_without_an_official_layout_are_not_exported(
    config: GramConfig | GramHdConfig, part: str, tmp_path: Path
) -> None:
    with pytest.raises(BadCheckpoint, match=part):
        export_official(saved(config, tmp_path), tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_exports_to_a_place_that_cannot_be_written_are_refused(suffix: str, tmp_path: Path) -> None:
    model = saved(SMALL_LOW, tmp_path)
    with pytest.raises(CannotWrite, match="a file, not a folder"):
        export_official(model, model / f"weights{suffix}")


class FullDisk(io.BytesIO):
    def write(self, *_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_exports_to_a_full_disk_are_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, target, real = saved(SMALL_LOW, tmp_path), tmp_path / "out" / f"weights{suffix}", io.open

    def no_space(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def opened(file: object, mode: str = "r", *rest: object, **named: object) -> object:
        return FullDisk() if mode == "wb" else real(file, mode, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(tensor_files, "save_file", no_space)
    monkeypatch.setattr(io, "open", opened)
    with pytest.raises(CannotWrite, match="disk is full"):
        export_official(model, target)
    assert not list(target.parent.iterdir())


def test_every_family_has_a_class_and_a_config() -> None:
    assert {kind.family for kind, _ in FAMILIES.values()} == set(FAMILIES)
