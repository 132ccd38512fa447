"""Official GRAM and GRAM-HD weights <-> our checkpoints. The only place where foreign files are opened.

Accepted: a flat generator state dict (.pt, .pth, .safetensors), optionally with a pickled EMA object of
torch_ema whose `shadow_params` is a list without names. Nothing in a file is ever executed: torch's allow-listing
unpickler (`weights_only=True`) reads it, and the one foreign class it meets becomes a stub that only keeps attributes.
`official_weights` has the official names in the official order; tests hold them against the published lists.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit, find_checkpoint
from gramhd_core.errors import BadArgument, BadCheckpoint
from gramhd_core.files import atomic
from gramhd_core.generators import PUBLISHED
from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.tensor_files import write_safetensors

# official prefix or part -> ours; each line is used in both directions
_PREFIXES = [
    ("representation.sample_network.", "predictor."),
    ("representation.rf_network.mapping_network.", "field.mapping."),
    ("representation.rf_network.", "field."),
]
_SR_PREFIXES = [("super_resolution_bg.", "background."), ("super_resolution.", "foreground.")]
_SR_PARTS = [("HRconv", "hr_conv"), ("mapping_network", "mapping")]
_DENSE = (re.compile(r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)"), re.compile(r"trunk\.(\d+)\.blocks\.(\d)\.convs\.(\d)"))
_AVERAGES = ("torch_ema.ema.ExponentialMovingAverage", "torch_ema.ExponentialMovingAverage")
_CENTRES = ("film_centre", "style_centre")  # ours alone: measured, not stored officially


class Stub:
    """Stands for a torch_ema object whose library is not imported: it only keeps attributes."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def read_pickled(file: Path) -> Any:
    """The object in a torch file: tensors in plain containers, or a Stub. BadCheckpoint for anything else."""
    try:
        with torch.serialization.safe_globals([(Stub, name) for name in _AVERAGES]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        culprit = re.search(r"(?:GLOBAL|global:?) (\S+)", str(error))
        raise BadCheckpoint(
            f"{file} holds more than weights" + (f" ({culprit[1]})" if culprit else ""),
            expected="only tensors in plain containers, or a torch_ema average, are read and nothing in a file is run",
            remedy="save its state_dict() with the code it came from",
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, IndexError, OSError) as error:
        raise BadCheckpoint(
            f"{file} cannot be read ({type(error).__name__})",
            expected="a complete file written by torch.save is needed",
            remedy="fetch it again",
        ) from error


def our_name(official: str, *, family: str) -> str:
    """Official parameter name -> name in our state dict (unknown names come back unchanged)."""
    for theirs, ours in _PREFIXES:
        if official.startswith(theirs):
            return ("low." if family == "gram-hd" else "") + ours + official[len(theirs) :]
    for theirs, ours in _SR_PREFIXES:
        if official.startswith(theirs):
            rest = official[len(theirs) :]
            for a, b in _SR_PARTS:
                rest = rest.replace(a, b)
            return ours + _DENSE[0].sub(lambda m: f"trunk.{m[1]}.blocks.{int(m[2]) - 1}.convs.{int(m[3]) - 1}", rest)
    return official


def official_name(ours: str) -> str:
    """The inverse of `our_name`."""
    name = ours.removeprefix("low.")
    for theirs, prefix in _PREFIXES:
        if name.startswith(prefix):
            return theirs + name[len(prefix) :]
    for theirs, prefix in _SR_PREFIXES:
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            for a, b in _SR_PARTS:
                rest = rest.replace(b, a)
            rest = _DENSE[1].sub(lambda m: f"RRDB_trunk.{m[1]}.RDB{int(m[2]) + 1}.conv{int(m[3]) + 1}", rest)
            return theirs + rest
    return name


def import_official(file: Path | str, out: Path | str, *, config: str, ema: Path | str | None = None) -> Path:
    """Convert official weights to a checkpoint in compatible mode. Exact key and shape coverage, or BadCheckpoint.

    file: a flat state dict, or an EMA object that covers every parameter. ema: an EMA object laid over the state dict.
    config: a published configuration's name. The truncation centre is measured and stored.
    """
    generator = _published(config)
    tensors = _read_weights(Path(file), generator)
    if ema is not None:
        values = read_pickled(Path(ema))
        if not isinstance(values, Stub):
            raise _not_weights(Path(ema))
        tensors = {**tensors, **_from_shadow(values, generator, where=str(ema), whole=False)}
    wanted = official_weights(generator)
    check_fit(wanted, tensors, where=str(file))
    _adopt(generator, tensors)
    checkpoint = Checkpoint(
        generator.family,
        generator.config,
        dict(generator.state_dict()),
        step=0,
        images_seen=0,
        provenance={
            "imported": Path(file).name,
            "config": config,
            "licence": "that of the imported weights; GRAM-HD's code is MIT, GRAM's release is research-only",
        },
    )
    checkpoint.save(out)
    return Path(out)


def export_official(checkpoint: Path | str, out: Path | str) -> Path:
    """A checkpoint of a family with official names -> flat state dict under those names (.pt, .pth or .safetensors)."""
    out = Path(out)
    loaded = Checkpoint.load(find_checkpoint(checkpoint))
    generator = loaded.build()
    assert isinstance(generator, (Gram, GramHd))
    _check_official_layout(generator.config, where=str(checkpoint))
    weights = {name: t.detach().cpu().contiguous() for name, t in official_weights(generator).items()}
    if out.suffix not in (".pt", ".pth", ".safetensors"):
        raise BadArgument(
            f"--out {out}",
            expected="official weights are written as .pt, .pth or .safetensors",
            remedy="use one of these",
        )
    with atomic(out) as temporary:
        if out.suffix == ".safetensors":
            write_safetensors(temporary, weights)
        else:  # through memory: writing to a file, torch.save hides the reason of a failure in a RuntimeError
            memory = io.BytesIO()
            torch.save(weights, memory)
            temporary.write_bytes(memory.getbuffer())
    return out


def official_weights(generator: Gram | GramHd) -> dict[str, Tensor]:
    """The generator's parameters under their official names, in official order."""
    return {official_name(name): p for name, p in generator.named_parameters()}


def _check_official_layout(config: GramConfig | GramHdConfig, *, where: str) -> None:
    """BadCheckpoint for models made of parts that the official networks do not have, or lack some that they have."""
    low = config.low if isinstance(config, GramHdConfig) else config
    if low.manifolds.predictor != "mlp":
        part, lack = f"manifolds.predictor={low.manifolds.predictor}", "the official layout needs an MLP predictor"
    elif low.field.view_dependence == "none":
        part, lack = "field.view_dependence=none", "the official layout needs a colour layer"
    elif isinstance(config, GramHdConfig) and config.sr.start != "published":
        part, lack = f"sr.start={config.sr.start}", "the official layout has no place for the detail gain"
    else:
        return
    raise BadCheckpoint(
        f"{where} is a model with {part}",
        expected=lack,
        remedy="export models trained with manifolds.predictor=mlp, field.view_dependence=locked, sr.start=published",
    )


def _published(config: str) -> Gram | GramHd:
    if config not in PUBLISHED:
        raise BadArgument(
            f"--config {config}",
            expected=f"one of {', '.join(PUBLISHED)} is needed",
            remedy="choose the one the file was trained with",
        )
    numbers = PUBLISHED[config].compatible()
    return Gram(numbers) if isinstance(numbers, GramConfig) else GramHd(numbers)


def _adopt(generator: Gram | GramHd, tensors: dict[str, Tensor]) -> None:
    """Load official tensors and measure what they do not hold."""
    renamed = {our_name(name, family=generator.family): t.float() for name, t in tensors.items()}
    missing, unexpected = generator.load_state_dict(renamed, strict=False)
    assert not unexpected and all(name.endswith(_CENTRES) for name in missing), (missing, unexpected)
    generator.measure_centre()


def _read_weights(file: Path, generator: Gram | GramHd) -> dict[str, Tensor]:
    if not file.is_file():
        raise BadCheckpoint(
            f"{file} does not exist", expected="a file of official weights is needed", remedy="check the path"
        )
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except SafetensorError as error:
            raise _not_weights(file) from error
    value: Any = read_pickled(file)
    if isinstance(value, Stub):
        return _from_shadow(value, generator, where=str(file), whole=True)
    if isinstance(value, dict) and value and all(isinstance(t, Tensor) for t in value.values()):
        return value
    raise _not_weights(file)


def _from_shadow(values: Stub, generator: Gram | GramHd, *, where: str, whole: bool) -> dict[str, Tensor]:
    """Name the tensors of an EMA object: it lists all parameters, or only those that stage 2 trains, in order."""
    shadow = getattr(values, "shadow_params", None)
    names = list(official_weights(generator))
    if isinstance(generator, GramHd):
        trained = [official_name(name) for name in generator.trainable()]
    else:
        trained = names
    candidates = [names] if whole else [names, trained]
    for some in candidates:
        if isinstance(shadow, list) and len(shadow) == len(some):
            return dict(zip(some, shadow, strict=True))
    counts = " or ".join(str(len(some)) for some in candidates)
    raise BadCheckpoint(
        f"{where} is an averaged model of {len(shadow) if isinstance(shadow, list) else 'no'} tensors",
        expected=f"{counts} are needed for this config",
        remedy="give the generator's state dict as FILE and this one with --ema, or another --config",
    )


def _not_weights(file: Path) -> BadCheckpoint:
    return BadCheckpoint(
        f"{file} does not hold weights",
        expected="a flat dict of tensors or a torch_ema object is needed",
        remedy="give generator.pth, ema.pth or a released .pt file",
    )
