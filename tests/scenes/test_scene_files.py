"""Scene files: what is saved is what is seen again; what is not one is a sentence, and nothing half-written stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gramhd_core import __version__, tensor_files
from gramhd_core.errors import BadArgument, BadScene, CannotWrite
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.networks.predictors import ManifoldsConfig, SpherePredictor
from gramhd_core.scenes import scene_files
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene_files import FORMAT, KEY, is_scene_file, load_scene, save_scene
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import RenderConvention
from gramhd_core.tensor_files import load_tensors, save_tensors

CAMERA = Camera.orbit(0.1, torch.tensor([-0.3, 0.0, 0.25]), size=24)


def bowls(n: int = 1, *, levels: int = 6, size: int = 32, overshoot: float = 0.3) -> RadianceManifolds:
    """Nested bowls with random pictures on them; colours from -overshoot to 1 + overshoot, one level empty."""
    rng = torch.Generator().manual_seed(5)
    axis = torch.linspace(-0.15, 0.15, 17)
    bowl = -2 * (axis[:, None].square() + axis.square())
    z = bowl + torch.linspace(0.08, -0.08, levels)[:, None, None]
    maps = torch.rand(n, levels, 4, size, size, generator=rng)
    maps[:, :, :3] = (1 + 2 * overshoot) * maps[:, :, :3] - overshoot
    maps[:, 2, 3] = 0
    background = torch.rand(n, 3, size, size, generator=rng)
    return RadianceManifolds(HeightFields(z, half_width=0.15, slab=0.12), maps, background, half_width=0.14)


@torch.no_grad()
def difference(a: RadianceManifolds, b: RadianceManifolds) -> float:
    pictures = a.render(CAMERA), b.render(CAMERA)
    assert pictures[0].distance is not None and pictures[1].distance is not None
    assert torch.allclose(pictures[0].distance, pictures[1].distance, atol=1e-3)
    return float((pictures[0].rgb - pictures[1].rgb).abs().max())


def saved(folder: Path, scene: RadianceManifolds, **options: Any) -> Path:
    path = folder / "head.scene.safetensors"
    save_scene(path, scene, **options)
    return path


def rewritten(path: Path, header: dict[str, Any] | None = None, **tensors: torch.Tensor | None) -> Path:
    """The file with some of its header and tensors changed."""
    old, plain = load_tensors(path, key=KEY)
    kept = {name: tensor for name, tensor in {**old, **tensors}.items() if tensor is not None}
    save_tensors(path, kept, {**plain, **(header or {})}, key=KEY)
    return path


# ---- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("storage", "most"), [("float32", 0.0), ("uint16", 1e-4), ("uint8", 2 / 255)])
def test_a_loaded_scene_renders_as_the_saved_one(storage: str, most: float, tmp_path: Path) -> None:
    for overshoot in (0.0, 0.3):
        scene = bowls(overshoot=overshoot)
        assert difference(scene, load_scene(saved(tmp_path, scene, storage=storage)).scene) <= most, overshoot


def test_the_default_changes_a_picture_by_less_than_a_thousandth_and_halves_the_file(tmp_path: Path) -> None:
    scene = bowls()
    full = saved(tmp_path / "full", scene, storage="float32").stat().st_size
    path = saved(tmp_path, scene)
    assert difference(scene, load_scene(path).scene) < 1e-3
    assert path.stat().st_size < 0.55 * full


@pytest.mark.parametrize("storage", ["uint16", "uint8"])
def test_what_is_clear_or_opaque_stays_so_exactly(storage: str, tmp_path: Path) -> None:
    scene = bowls(overshoot=0.0)
    scene.maps[:, 3, 3] = 1
    scene.maps[:, 3, :3] = 0
    scene.maps[:, 4, :3] = 1
    maps = load_scene(saved(tmp_path, scene, storage=storage)).scene.maps
    assert (maps[:, 2, 3] == 0).all() and (maps[:, 3, 3] == 1).all()
    assert (maps[:, 3, :3] == 0).all() and (maps[:, 4, :3] == 1).all()


def test_saving_a_loaded_scene_again_changes_nothing(tmp_path: Path) -> None:
    first = load_scene(saved(tmp_path, bowls())).scene
    second = load_scene(saved(tmp_path, first)).scene
    assert (first.maps - second.maps).abs().max() < 1e-6 and (first.background - second.background).abs().max() < 1e-6


def test_every_length_and_convention_comes_back(tmp_path: Path) -> None:
    convention = RenderConvention("endpoints", "upsampled", 16, "cut", "sum", opaque_background=False)
    scene = replace(bowls(), background_z=-0.1, convention=convention)
    prior = CameraPrior(0.1, 0.2, fov_degrees=18.0, radius=1.5)
    loaded, header = load_scene(
        saved(tmp_path, scene, cameras=prior, image_size=256, provenance={"seed": 7, "truncation": 0.5})
    )
    assert isinstance(loaded.surfaces, HeightFields) and isinstance(scene.surfaces, HeightFields)
    assert torch.equal(loaded.surfaces.z, scene.surfaces.z)
    assert (loaded.surfaces.half_width, loaded.surfaces.slab) == (0.15, 0.12)
    assert (loaded.half_width, loaded.background_z, loaded.convention) == (0.14, -0.1, convention)
    assert (header.cameras, header.image_size) == (prior, 256)
    assert header.provenance == {"version": __version__, "seed": 7, "truncation": 0.5}


def test_several_identities_come_back_each_as_itself(tmp_path: Path) -> None:
    scene = bowls(3)
    loaded = load_scene(saved(tmp_path, scene, storage="float32")).scene
    assert torch.equal(loaded.maps, scene.maps) and difference(scene, loaded) == 0


@torch.no_grad()
def test_other_surfaces_are_tabulated_first(tmp_path: Path) -> None:
    scene = replace(bowls(levels=5), surfaces=SpherePredictor(ManifoldsConfig("spheres", count=6)))
    loaded = load_scene(saved(tmp_path, scene)).scene
    assert isinstance(loaded.surfaces, HeightFields)
    assert (loaded.render(CAMERA).rgb - scene.baked().render(CAMERA).rgb).abs().max() < 1e-3


def test_scenes_save_and_load_themselves(tmp_path: Path) -> None:
    scene, path = bowls(), tmp_path / "head.scene.safetensors"
    scene.save(path, storage="float32")
    assert is_scene_file(path) and difference(scene, RadianceManifolds.load(path)) == 0


# ---- what is refused ----------------------------------------------------------------------------------------------


def refusal(path: Path, kind: type[Exception] = BadScene) -> str:
    with pytest.raises(kind) as refused:
        load_scene(path)
    sentence = str(refused.value)
    assert "\n" not in sentence and str(path) in sentence
    return sentence


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["maps", "background", "z"])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(part: str, number: float, tmp_path: Path) -> None:
    scene = bowls()
    path = saved(tmp_path, scene, storage="float32")
    before = path.read_bytes()
    assert isinstance(scene.surfaces, HeightFields)
    tensor = scene.surfaces.z if part == "z" else getattr(scene, part)
    tensor.view(-1)[3] = number
    with pytest.raises(BadScene, match="not finite"):
        save_scene(path, scene)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    assert "not finite" in refusal(rewritten(path, **{part: tensor}))


def test_another_version_is_refused_by_its_number(tmp_path: Path) -> None:
    assert f"scene format {FORMAT + 1}" in refusal(rewritten(saved(tmp_path, bowls()), {"format": FORMAT + 1}))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "head.scene.safetensors"
    path.write_bytes(content)
    refusal(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, bowls())
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read" in refusal(path)


def test_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "none.scene.safetensors")


def test_a_checkpoint_is_not_a_scene(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.zeros(2)}, {"family": "gram"})
    assert "is not a saved scene" in refusal(path) and not is_scene_file(path)


@pytest.mark.parametrize(
    "header",
    [
        {"half_width": 0.0},
        {"slab": float("nan")},
        {"image_size": 0},
        {"image_size": "large"},
        {"colours": [1.0, 0.0]},
        {"storage": "uint4"},
        {"storage": "uint8"},
        {"convention": {"edge": "soft"}},
        {"cameras": {"fov_degrees": 180.0}},
        {"weather": "fine"},
    ],
)
def test_an_impossible_header_is_refused(header: dict[str, Any], tmp_path: Path) -> None:
    assert "cannot be read as a scene" in refusal(rewritten(saved(tmp_path, bowls()), header))


@pytest.mark.parametrize(
    "tensors",
    [
        {"maps": None},
        {"extra": torch.zeros(2)},
        {"z": torch.zeros(5, 9, 9)},
        {"z": torch.zeros(6, 9, 8)},
        {"z": torch.zeros(6, 1, 1)},
        {"z": torch.zeros(6, 9, 9, dtype=torch.float64)},
        {"maps": torch.zeros(1, 6, 3, 8, 8, dtype=torch.uint16)},
        {"maps": torch.zeros(0, 6, 4, 8, 8, dtype=torch.uint16)},
        {"z": torch.zeros(0, 9, 9), "maps": torch.zeros(1, 0, 4, 8, 8, dtype=torch.uint16)},
        {"background": torch.zeros(2, 3, 8, 8, dtype=torch.uint16)},
        {"background": torch.zeros(3, 8, dtype=torch.uint16)},
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(tensors: dict[str, Any], tmp_path: Path) -> None:
    assert "cannot be read as a scene" in refusal(rewritten(saved(tmp_path, bowls()), **tensors))


def test_a_header_that_lacks_fields_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, bowls())
    tensors, header = load_tensors(path, key=KEY)
    del header["slab"]
    save_tensors(path, tensors, header, key=KEY)
    assert "slab" in refusal(path)
    save_file(tensors, path, metadata={KEY: "{broken"})
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("name", ["head.safetensors", "head.glb", "head", ".scene.safetensors"])
def test_a_file_of_another_suffix_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match=r"must end in \.scene\.safetensors"):
        save_scene(tmp_path / name, bowls())
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "head.scene.safetensors").mkdir()
    with pytest.raises(BadArgument, match="a folder of that name"):
        saved(tmp_path, bowls())


def test_a_full_disk_leaves_the_old_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, bowls())
    before = path.read_bytes()

    def full(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(CannotWrite, match="disk is full"):
        save_scene(path, bowls(levels=4))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_header_is_json_that_other_programs_can_read(tmp_path: Path) -> None:
    with safe_open(saved(tmp_path, bowls()), framework="np") as file:
        header = json.loads(file.metadata()[scene_files.KEY])
        codes = file.get_tensor("maps")
    assert header["storage"] == "uint16" and codes.dtype.name == "uint16" and codes.shape == (1, 6, 4, 32, 32)
    low, high = header["colours"]
    assert torch.allclose(
        torch.from_numpy(codes[:, :, :3] / 65535 * (high - low) + low).float(), bowls().maps[:, :, :3], atol=1e-4
    )
