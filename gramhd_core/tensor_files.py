"""Named tensors with a JSON header in one safetensors file: written atomically, read without executing anything.

Checkpoints, training states and scenes are such files; the key of the header in the metadata says which.
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gramhd_core.errors import BadCheckpoint, GramhdError
from gramhd_core.files import atomic

HEADER = "gramhd"  # of checkpoints and training states
OS_ERROR = re.compile(r"os error (\d+)")  # in the words of the safetensors writer


def save_tensors(path: Path | str, tensors: dict[str, Tensor], header: dict[str, Any], *, key: str = HEADER) -> None:
    """Named tensors and a JSON header -> one safetensors file, atomically."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with atomic(path) as temporary:
        write_safetensors(temporary, plain, {key: json.dumps(header)})


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """safetensors' writer, whose own kind of error becomes the OSError it stands for. Not atomic by itself."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = OS_ERROR.search(str(error))
        code = int(number[1]) if number else errno.ENOSPC if "No space left" in str(error) else 0
        raise OSError(code, str(error), None, code) from error  # the last one: Windows has numbers of its own


def load_tensors(
    path: Path | str, *, key: str = HEADER, kind: type[GramhdError] = BadCheckpoint
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_tensors`. An error of `kind` if the file is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(key, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise _unreadable(path, error, kind) from error
    if not isinstance(header, dict):
        raise kind(
            f"{path} has no {key} header",
            expected="a safetensors file written by gramhd is needed",
            remedy="official weights enter through gramhd import",
        )
    return tensors, header


def header_keys(path: Path | str, *, kind: type[GramhdError] = BadCheckpoint) -> set[str]:
    """What headers a safetensors file has, without reading its tensors. An error of `kind` if it is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error, kind) from error


def _unreadable(path: Path | str, error: Exception, kind: type[GramhdError]) -> GramhdError:
    return kind(
        f"{path} cannot be read as safetensors ({str(error).splitlines()[0]})",
        expected="a complete file written by gramhd is needed",
        remedy="gramhd import converts official .pt files; a damaged file must be fetched again",
    )
