"""Scenes as files: a RadianceManifolds in one `.scene.safetensors`, without the networks that made it.

N identities, L surfaces, G x G heights, M x M maps, B x B background. Tensors of a file: `z` [L, G, G] float32, world
units; `maps` [N, L, 4, M, M] and `background` [N, 3, B, B] as `storage` says. Everything else is a `SceneHeader`, JSON
under `gramhd_scene`.

| storage | maps and background | a picture changes by |
|---|---|---|
| float32 | as they are | nothing |
| uint16 (default) | 65536 even steps | less than 1e-4 |
| uint8 | 256 even steps | about a step of 8 bits |

Steps of alpha run from 0 to 1; those of colours from the lowest to the highest colour there is, or 0 to 1 if that is
wider: `SceneHeader.colours`. Even steps keep colours near 1 eight times better than 16-bit floats do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gramhd_core import __version__
from gramhd_core.configs import from_dict, to_dict
from gramhd_core.errors import BadArgument, BadConfig, BadScene
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import RenderConvention
from gramhd_core.tensor_files import header_keys, load_tensors, save_tensors

KEY = "gramhd_scene"
FORMAT = 1  # of the file; raise it whenever older files can no longer be read
SUFFIX = ".scene.safetensors"

Storage = Literal["float32", "uint16", "uint8"]
_DTYPES = {"float32": torch.float32, "uint16": torch.uint16, "uint8": torch.uint8}
_STEPS = {"uint16": 65535, "uint8": 255}


@dataclass(frozen=True)
class SceneHeader:
    """What a scene file says beside its tensors.

    half_width, background_z, convention: of the scene. heights_half_width, slab: of its height fields, world units.
    cameras, image_size (pixels): how it is meant to be looked at. provenance: version, and what its maker adds
    (checkpoint, family, seed, truncation). storage, colours: how numbers are kept, see the module.
    """

    half_width: float
    background_z: float
    heights_half_width: float
    slab: float
    convention: RenderConvention
    cameras: CameraPrior
    image_size: int
    storage: Storage = "float32"
    colours: tuple[float, float] = (0.0, 1.0)
    format: int = FORMAT
    provenance: dict[str, Any] = field(default_factory=dict)

    def scene(self, z: Tensor, maps: Tensor, background: Tensor) -> RadianceManifolds:
        """The scene of these tensors (floating point)."""
        surfaces = HeightFields(z, half_width=self.heights_half_width, slab=self.slab)
        return RadianceManifolds(surfaces, maps, background, self.half_width, self.background_z, self.convention)


class LoadedScene(NamedTuple):
    """A scene and what its file says about it."""

    scene: RadianceManifolds
    header: SceneHeader


def is_scene_file(path: Path | str) -> bool:
    """Whether a safetensors file holds a scene, by its header. BadCheckpoint if it is not a safetensors file."""
    return KEY in header_keys(path)


def save_scene(
    path: Path | str,
    scene: RadianceManifolds,
    *,
    cameras: CameraPrior | None = None,
    image_size: int | None = None,
    provenance: dict[str, Any] | None = None,
    storage: Storage = "uint16",
) -> None:
    """Write a scene atomically; one whose surfaces are not height fields is baked first.

    cameras: how it is meant to be seen (the published prior). image_size: side of its pictures (the maps' side).
    BadArgument for another suffix, BadScene for numbers that are not finite.
    """
    path = _place(Path(path))
    if not isinstance(scene.surfaces, HeightFields):
        scene = scene.baked()
    heights = scene.surfaces
    assert isinstance(heights, HeightFields)
    z, maps, background = (t.detach().float() for t in (heights.z, scene.maps, scene.background))
    for name, tensor in (("heights", z), ("maps", maps), ("background", background)):
        _finite(tensor, f"the {name} of this scene", "a picture of it would have holes, look for what made it")
    header = SceneHeader(
        half_width=float(scene.half_width),
        background_z=float(scene.background_z),
        heights_half_width=float(heights.half_width),
        slab=float(heights.slab),
        convention=scene.convention,
        cameras=cameras or CameraPrior(),
        image_size=image_size or maps.shape[-1],
        storage=storage,
        colours=_range(maps[:, :, :3], background),
        provenance={"version": __version__, **(provenance or {})},
    )
    tensors = {"z": z, "maps": _coded_maps(maps, header), "background": _coded(background, header, header.colours)}
    save_tensors(path, tensors, to_dict(header), key=KEY)


def load_scene(path: Path | str, *, device: torch.device | str = "cpu") -> LoadedScene:
    """The inverse of `save_scene`; tensors come as float32. BadScene in one sentence for anything else."""
    path = Path(path)
    if not path.is_file():
        raise BadScene(
            f"{path} is a folder" if path.is_dir() else f"{path} does not exist",
            expected=f"a {SUFFIX} file is needed",
            remedy="check its name",
        )
    if KEY not in header_keys(path, kind=BadScene):
        raise BadScene(
            f"{path} is not a saved scene",
            expected=f"a {SUFFIX} file is needed",
            remedy="make one from a model with gramhd sample --save-scene",
        )
    tensors, plain = load_tensors(path, key=KEY, kind=BadScene)
    if plain.get("format") != FORMAT:
        raise BadScene(
            f"{path} was written by another version (scene format {plain.get('format', 'without a number')})",
            expected=f"format {FORMAT} is needed",
            remedy="write it again with gramhd sample --save-scene, or use the gramhd that wrote it",
        )
    try:
        header = from_dict(SceneHeader, plain)
    except BadConfig as error:
        raise _misfit(path, str(error).rstrip(".")) from error
    _check(path, tensors, header)
    maps, background = _decoded(tensors["maps"], header), _decoded(tensors["background"], header)
    if header.storage != "float32":
        low, high = header.colours
        maps[:, :, :3].mul_(high - low).add_(low)
        background.mul_(high - low).add_(low)
    z = tensors["z"].clone()  # tensors of a file share one mapping of all of it: let go of that
    z, maps, background = (t.to(device) for t in (z, maps, background))
    return LoadedScene(header.scene(z, maps, background), header)


def _coded_maps(maps: Tensor, header: SceneHeader) -> Tensor:
    """Level by level, for maps are large."""
    coded = torch.empty(maps.shape, dtype=_DTYPES[header.storage])
    for item, target in zip(maps.flatten(0, 1), coded.flatten(0, 1), strict=True):
        target[:3].copy_(_coded(item[:3], header, header.colours))
        target[3:].copy_(_coded(item[3:], header, (0.0, 1.0)))
    return coded


def _coded(values: Tensor, header: SceneHeader, limits: tuple[float, float]) -> Tensor:
    if header.storage == "float32":
        return values
    low, high = limits
    steps = _STEPS[header.storage]
    return ((values - low) * (steps / (high - low))).round().clamp(0, steps).to(_DTYPES[header.storage])


def _decoded(coded: Tensor, header: SceneHeader) -> Tensor:
    """Codes -> [0, 1], ends exact."""
    return coded if header.storage == "float32" else coded.to(torch.float32).div_(_STEPS[header.storage])


def _range(*colours: Tensor) -> tuple[float, float]:
    ends = [torch.aminmax(part) for part in colours]
    return min(0.0, *(float(end.min) for end in ends)), max(1.0, *(float(end.max) for end in ends))


def _place(path: Path) -> Path:
    if not path.name.endswith(SUFFIX) or path.name == SUFFIX:
        raise BadArgument(
            f"the scene file would be {path}",
            expected=f"its name must end in {SUFFIX}",
            remedy=f"call it for example head{SUFFIX}",
        )
    if path.is_dir():
        raise BadArgument(
            f"the scene file would be {path}",
            expected="there is a folder of that name",
            remedy="choose another name or remove the folder",
        )
    return path


def _finite(tensor: Tensor, what: str, remedy: str) -> None:
    if not all(math.isfinite(float(end)) for end in torch.aminmax(tensor)):  # NaN spreads to both ends
        raise BadScene(f"{what} hold numbers that are not finite", expected="every number must be", remedy=remedy)


def _misfit(path: Path, problem: str) -> BadScene:
    return BadScene(
        f"{path} cannot be read as a scene ({problem})",
        expected="a complete file written by gramhd is needed",
        remedy="write it again with gramhd sample --save-scene",
    )


def _check(path: Path, tensors: dict[str, Tensor], header: SceneHeader) -> None:
    """Names, kinds and shapes of tensors, and numbers that pictures can be taken with."""
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    coded = _DTYPES[header.storage]
    kinds = {"z": torch.float32, "maps": coded, "background": coded}
    if {name: tensor.dtype for name, tensor in tensors.items()} != kinds:
        held = ", ".join(f"{name} of {str(tensor.dtype)[6:]}" for name, tensor in sorted(tensors.items()))
        raise _misfit(path, f"it holds {held or 'nothing'} and its header says {header.storage}")
    z, maps, background = shapes["z"], shapes["maps"], shapes["background"]
    square = all(len(s) == d and s[-1] == s[-2] > 0 for s, d in ((z, 3), (maps, 5), (background, 4)))
    if (
        not square
        or min(z[0], z[1] - 1, maps[0]) < 1
        or maps[1] != z[0]
        or [maps[2], background[:2]] != [4, [maps[0], 3]]
    ):
        raise _misfit(path, f"heights {z}, maps {maps} and background {background} do not belong together")
    lengths = (header.half_width, header.heights_half_width, header.slab, header.cameras.radius, header.image_size)
    others = (header.background_z, *header.colours, *vars(header.cameras).values())
    sound = all(map(math.isfinite, (*lengths, *others))) and min(lengths) > 0 and 0 < header.cameras.fov_degrees < 180
    if not sound or header.colours[0] >= header.colours[1]:
        raise _misfit(path, "a length, an angle or a range in its header is impossible")
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            _finite(tensor, f"the {name} in {path}", "make the file again from a model whose pictures are sound")
