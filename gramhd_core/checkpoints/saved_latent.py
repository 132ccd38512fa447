"""A latent as a file: which head it is, of which model, and the camera a photograph of it was taken with.

A file belongs to every model whose latents mean the same: same family and configuration, same mapping networks. So it
fits the model it came from and whatever was tuned from that with the mappings left alone (pivotal tuning), and no
other. Tensors: `film` [N, layers, 2, hidden] and `style` [N, S], float32; everything else is JSON under
`gramhd_latent`: format, family, space (see `latent_space`), camera or null, provenance.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gramhd_core import __version__
from gramhd_core.configs import from_dict, to_dict
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.networks.mapping import Mapping
from gramhd_core.tensor_files import header_keys, load_tensors, save_tensors

KEY = "gramhd_latent"
FORMAT = 1  # of the file; raise it whenever older files can no longer be read


@dataclass(frozen=True)
class PhotoCamera:
    """How a picture was taken: the model's own camera at (pitch, yaw), then its picture turned, enlarged and moved.

    pitch, yaw, roll: radians, as in geometry/camera.py and the labels (positive roll: the head leans to the left).
    scale: 1 as the model makes heads, 1.1 a tenth larger. shift_x, shift_y: in sides of the picture, right and down.
    """

    pitch: float
    yaw: float
    roll: float = 0.0
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


class SavedLatent(NamedTuple):
    """What a latent file says. camera: None if it did not come from a picture. provenance: version, checkpoint and
    what its maker adds."""

    latent: Latent
    camera: PhotoCamera | None
    provenance: dict[str, Any]


def latent_space(generator: Generator) -> str:
    """16 hexadecimal digits, equal for models whose latents are interchangeable: family, configuration and the weights
    of all mapping networks. BadCheckpoint for what has none (a saved scene)."""
    mappings = [
        (name, part)
        for name, part in (generator.named_modules() if isinstance(generator, nn.Module) else ())
        if isinstance(part, Mapping)
    ]
    if not mappings:
        raise BadCheckpoint(
            f"a {family_of(generator)} was named as the model",
            expected="it has no latents",
            remedy="name the checkpoint it was made from",
        )
    config = to_dict(generator.config)
    config.pop("map_offsets", None)  # what one head has of its own changes no latent
    digest = hashlib.sha256(json.dumps([family_of(generator), config], sort_keys=True).encode())
    for name, part in mappings:
        for key, tensor in part.state_dict().items():
            digest.update(f"{name}.{key}{list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def family_of(generator: Generator) -> str:
    """The family's name, as in FAMILIES."""
    return str(getattr(generator, "family", type(generator).__name__))


def is_latent_file(path: Path | str) -> bool:
    """Whether a safetensors file holds a latent, by its header. BadCheckpoint if it is not a safetensors file."""
    return KEY in header_keys(path)


def save_latent(
    path: Path | str,
    latent: Latent,
    generator: Generator,
    *,
    checkpoint: str,
    camera: PhotoCamera | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write atomically. generator: the model it belongs to; checkpoint: that model's name (`checkpoint.name_of`)."""
    header = {
        "format": FORMAT,
        "family": family_of(generator),
        "space": latent_space(generator),
        "camera": None if camera is None else to_dict(camera),
        "provenance": {"version": __version__, "checkpoint": checkpoint, **(provenance or {})},
    }
    save_tensors(path, {"film": latent.film.float(), "style": latent.style.float()}, header, key=KEY)


def load_latent(path: Path | str, generator: Generator, *, device: torch.device | str = "cpu") -> SavedLatent:
    """The inverse of `save_latent`. BadCheckpoint in one sentence for anything else and for latents of other models."""
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(
            f"{path} is a folder" if path.is_dir() else f"{path} does not exist",
            expected="a latent file is needed",
            remedy="check its name (gramhd invert writes latent.safetensors)",
        )
    if not is_latent_file(path):
        raise BadCheckpoint(
            f"{path} is not a saved latent",
            expected="a file written by gramhd invert or gramhd edit --save-latent is needed",
            remedy="name one, or give a seed",
        )
    tensors, header = load_tensors(path, key=KEY)
    provenance = header.get("provenance")
    provenance = provenance if isinstance(provenance, dict) else {}
    if header.get("format") != FORMAT:
        raise BadCheckpoint(
            f"{path} was written by another version (latent format {header.get('format', 'without a number')})",
            expected=f"format {FORMAT} is needed",
            remedy="make it again, or use the gramhd that wrote it",
        )
    if header.get("space") != latent_space(generator):
        maker = f"{provenance.get('checkpoint', 'a model without a name')} ({header.get('family')})"
        raise BadCheckpoint(
            f"{path} is a latent of {maker}",
            expected=f"its numbers mean nothing to the {family_of(generator)} model that was named",
            remedy="name the checkpoint it was made with as --ckpt",
        )
    return SavedLatent(_latent(path, tensors, generator, device), _camera(path, header.get("camera")), provenance)


def _latent(path: Path, tensors: dict[str, Tensor], generator: Generator, device: torch.device | str) -> Latent:
    assert isinstance(generator, nn.Module)
    with torch.no_grad():
        wanted = generator.latent(torch.zeros(1, generator.latent_dim, device=next(generator.parameters()).device))
    nothing = torch.zeros(0)
    found = Latent(tensors.get("film", nothing), tensors.get("style", nothing))
    fits = (
        found.film.shape == (len(found), *wanted.film.shape[1:])
        and found.style.shape == (len(found), *wanted.style.shape[1:])
        and len(found) > 0
        and all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in (found.film, found.style))
    )
    if not fits:
        shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in sorted(tensors.items()))
        raise BadCheckpoint(
            f"{path} holds {shapes or 'nothing'}",
            expected=f"finite float32 film [N, {', '.join(map(str, wanted.film.shape[1:]))}] and style "
            f"[N, {wanted.style.shape[1]}] are needed",
            remedy="make it again",
        )
    return Latent(found.film.clone().to(device), found.style.clone().to(device))


def _camera(path: Path, plain: Any) -> PhotoCamera | None:
    if plain is None:
        return None
    try:
        camera = from_dict(PhotoCamera, plain if isinstance(plain, dict) else {})
        if all(map(math.isfinite, vars(camera).values())) and camera.scale > 0:
            return camera
        problem = "a number in it is impossible"
    except BadConfig as error:
        problem = str(error).rstrip(".")
    raise BadCheckpoint(
        f"{path} has a camera that cannot be read ({problem})",
        expected="pitch, yaw, roll, scale, shift_x and shift_y are needed",
        remedy="make it again",
    )
