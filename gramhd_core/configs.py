"""Typed configs: frozen, nested dataclasses <-> JSON, and `--set a.b=value` overrides with a helpful refusal."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from typing import Any, TypeVar

from gramhd_core.errors import BadConfig

T = TypeVar("T")


def at_least(config: Any, least: int, *names: str) -> None:
    """BadConfig if one of the named fields is smaller than `least`; for __post_init__."""
    for name in names:
        if getattr(config, name) < least:
            raise BadConfig(
                f"{name}={getattr(config, name)}", expected=f"at least {least} is needed", remedy="raise it"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """A (nested) dataclass -> plain JSON-able dict; tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[T], data: dict[str, Any]) -> T:
    """The inverse of `to_dict`. Unknown names, missing required names and wrong types are BadConfig."""
    hints = typing.get_type_hints(kind)
    for name in data:
        if name not in hints:
            raise _unknown(name, list(hints), where=kind.__name__)
    values = {name: _typed(value, hints[name], name) for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:  # a field without default is absent
        raise BadConfig(
            f"a {kind.__name__} with the fields {', '.join(sorted(data)) or 'none'}",
            expected=f"fields are missing ({error})",
            remedy="use a file written by this version",
        ) from error


def override(config: T, assignments: list[str]) -> T:
    """Apply `name.of.field=value` assignments; values are JSON or bare words (`spheres`, `1e-3`, `48,96`)."""
    edits: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise BadConfig(f"--set {text}", expected="name=value is needed", remedy="write for example train.batch=16")
        *groups, name = path.strip().split(".")
        place, known = edits, config
        for group in groups:
            known = getattr(known, _field(known, group, where=path))
            if not dataclasses.is_dataclass(known):
                raise BadConfig(
                    f"--set {path}", expected=f"{group} has no fields of its own", remedy="drop what follows it"
                )
            place = place.setdefault(group, {})
        name = _field(known, name, where=path)
        place[name] = _value(known, name, value.strip(), path)
    return _apply(config, edits)


def _apply(config: Any, edits: dict[str, Any]) -> Any:
    """All changes of one group at once, so that fields which must agree can be changed together."""
    changes = {
        name: _apply(getattr(config, name), edit) if dataclasses.is_dataclass(getattr(config, name)) else edit
        for name, edit in edits.items()
    }
    return dataclasses.replace(config, **changes)


def _field(config: Any, name: str, *, where: str) -> str:
    names = [field.name for field in dataclasses.fields(config)]
    if name not in names:
        raise _unknown(name, names, where=where)
    return name


def _value(config: Any, name: str, text: str, whole: str) -> Any:
    current = getattr(config, name)
    if dataclasses.is_dataclass(current):
        inside = ", ".join(field.name for field in dataclasses.fields(current))
        raise BadConfig(
            f"--set {whole}={text}", expected=f"{name} is a group", remedy=f"set one of its fields: {inside}"
        )
    return _typed(_parse(text), typing.get_type_hints(type(config))[name], whole)


def _parse(text: str) -> Any:
    for candidate in (text, f"[{text}]" if "," in text else text, text.lower()):
        try:
            return json.loads(candidate)
        except json.JSONDecodeError:
            continue
    return text


def _typed(value: Any, hint: Any, name: str) -> Any:
    """Check `value` (from JSON) against a type hint and convert lists to tuples and dicts to dataclasses."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(typing.cast(type, hint), value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(value, next(a for a in arguments if a is not type(None)), name)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise BadConfig(
            f"{name}={value}",
            expected=f"one of {', '.join(map(str, arguments))} is needed",
            remedy="choose one of them",
        )
    if origin is tuple:
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(items) == len(kinds):
            return tuple(_typed(item, kind, name) for item, kind in zip(items, kinds, strict=True))
    elif origin is dict or hint is dict:
        if isinstance(value, dict):
            return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 4e6
    elif isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise BadConfig(f"{name}={value}", expected=f"a value of type {wanted} is needed", remedy="give one")


def _unknown(name: str, known: list[str], *, where: str) -> BadConfig:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}" if near else f"choose one of {', '.join(known)}"
    return BadConfig(f"{name} (in {where})", expected="there is no such field", remedy=hint)
