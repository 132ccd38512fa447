"""TrainingState: everything a run needs to go on exactly as if it had not stopped.

Tensors of any nesting (state dicts of networks, optimisers, scaler, EMA, random states) in one safetensors file;
numbers and structure in its header. Nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from gramhd_core.errors import BadCheckpoint
from gramhd_core.tensor_files import load_tensors, save_tensors

KIND = "training state"
FORMAT = 1  # of the file; raise it whenever older states can no longer be resumed exactly
TENSOR = "tensor:"  # marks a leaf that lives among the tensors


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dicts/lists of tensors, numbers, strings and None atomically."""
    tensors: dict[str, Tensor] = {}
    structure = _split(state, "state", tensors)
    save_tensors(path, tensors, {"kind": KIND, "format": FORMAT, "state": structure})


def load_state(path: Path) -> dict[str, Any]:
    """The inverse of `save_state` (dict keys that were ints come back as ints). BadCheckpoint for other files."""
    tensors, header = load_tensors(path)
    if header.get("kind") != KIND:
        raise BadCheckpoint(
            f"{path} is not a training state",
            expected="a step*.state.safetensors file written by training is needed",
            remedy="name the run folder, not a model file",
        )
    if header.get("format") != FORMAT:
        raise BadCheckpoint(
            f"{path} was written by another version (training state format {header.get('format', 'without a number')})",
            expected=f"format {FORMAT} is needed to go on exactly",
            remedy="go on with the gramhd that wrote it, or start a new run with another --out",
        )
    return _join(header["state"], tensors)


def _split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return TENSOR + name
    if isinstance(value, dict):
        return {"dict": [[key, _split(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_split(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    assert value is None or isinstance(value, (bool, int, float, str)), type(value)
    return value


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value[len(TENSOR) :]]
    if isinstance(value, dict):
        return {key: _join(item, tensors) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    return value
