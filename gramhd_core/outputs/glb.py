"""GLB files (glTF 2.0, binary), as far as radiance manifolds need them.

Written directly, because the usual libraries write neither unlit materials, nor samplers without mipmaps, nor 16-bit
vertex colours. V vertices, F triangles; world units are metres, +y is up, as glTF has it. Texture coordinates are
(0, 0) at the top left of the picture. Pictures hold sRGB as it is; vertex colours are linear, as glTF wants them.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gramhd_core import __version__, files

_LINEAR, _CLAMP = 9729, 33071
_VERTICES, _INDICES = 34962, 34963
_TYPES = {np.dtype(np.float32): 5126, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125}
_SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Part(NamedTuple):
    """One mesh under one node. positions [V, 3] around `translation` [3]; faces [F, 3], anticlockwise seen from
    outside; uv [V, 2] or None; colours [V, 3] sRGB in [0, 1] or None; picture: index of its texture or None."""

    name: str
    positions: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    colours: np.ndarray | None = None
    picture: int | None = None
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    extras: dict[str, Any] | None = None


def write_glb(
    path: Path, parts: Sequence[Part], *, pictures: Sequence[np.ndarray] = (), extras: dict[str, Any] | None = None
) -> None:
    """Write `parts` in their order, unlit; pictures: uint8 [H, W, 3] (opaque) or [H, W, 4] (blended)."""
    document = _Document()
    materials = [document.picture(picture) for picture in pictures]
    plain = document.material(None, blend=False) if any(part.picture is None for part in parts) else -1
    for part in parts:
        document.part(part, plain if part.picture is None else materials[part.picture])
    with files.atomic(path) as temporary:
        temporary.write_bytes(document.glb(extras or {}))


class _Document:
    """The JSON tree and the bytes it points into."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.tree: dict[str, list[Any]] = {}

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append to a list of the tree; its index."""
        self.tree.setdefault(kind, []).append(item)
        return len(self.tree[kind]) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """Bytes, starting at a multiple of four."""
        self.bytes += b"\0" * (-len(self.bytes) % 4)
        view = {"buffer": 0, "byteOffset": len(self.bytes), "byteLength": len(data)}
        self.bytes += data
        return self.add("bufferViews", view | ({"target": target} if target else {}))

    def accessor(self, values: np.ndarray, target: int, *, bounds: bool = False, normalized: bool = False) -> int:
        """A typed array [count, components]."""
        values = np.ascontiguousarray(values)
        item: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": _TYPES[values.dtype],
            "count": len(values),
            "type": _SHAPES[values.shape[1]],
        }
        if bounds:
            item |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        return self.add("accessors", item | ({"normalized": True} if normalized else {}))

    def picture(self, picture: np.ndarray) -> int:
        """A material that shows a picture."""
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG", optimize=False, compress_level=6)
        image = self.add("images", {"bufferView": self.view(stream.getvalue()), "mimeType": "image/png"})
        if "samplers" not in self.tree:
            self.add("samplers", {"magFilter": _LINEAR, "minFilter": _LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP})
        texture = self.add("textures", {"sampler": 0, "source": image})
        return self.material(texture, blend=picture.shape[2] == 4)

    def material(self, texture: int | None, *, blend: bool) -> int:
        """An unlit material, seen from both sides."""
        shown: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
        if texture is not None:
            shown["baseColorTexture"] = {"index": texture}
        item = {"pbrMetallicRoughness": shown, "doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}
        return self.add("materials", item | ({"alphaMode": "BLEND"} if blend else {}))

    def part(self, part: Part, material: int) -> None:
        """A node with its mesh."""
        attributes = {"POSITION": self.accessor(part.positions.astype(np.float32), _VERTICES, bounds=True)}
        if part.uv is not None:
            attributes["TEXCOORD_0"] = self.accessor(part.uv.astype(np.float32), _VERTICES)
        if part.colours is not None:
            attributes["COLOR_0"] = self.accessor(_linear16(part.colours), _VERTICES, normalized=True)
        kind = np.uint16 if len(part.positions) < 65535 else np.uint32
        indices = self.accessor(part.faces.reshape(-1, 1).astype(kind), _INDICES)
        primitive = {"attributes": attributes, "indices": indices, "material": material}
        node: dict[str, Any] = {"name": part.name, "mesh": self.add("meshes", _named(part.name, primitive))}
        if any(part.translation):
            node["translation"] = [float(value) for value in part.translation]
        self.add("nodes", node | ({"extras": part.extras} if part.extras else {}))

    def glb(self, extras: dict[str, Any]) -> bytes:
        """The finished file."""
        tree = {
            "asset": {"version": "2.0", "generator": f"gramhd {__version__}"} | ({"extras": extras} if extras else {}),
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self.tree["nodes"])))}],
            **self.tree,
            "buffers": [{"byteLength": len(self.bytes)}],
        }
        text = json.dumps(tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self.bytes) + b"\0" * (-len(self.bytes) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data))
        return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data


def _named(name: str, primitive: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "primitives": [primitive]}


def _linear16(colours: np.ndarray) -> np.ndarray:
    """sRGB [V, 3] in [0, 1] -> linear uint16 [V, 4], opaque."""
    c = np.clip(colours, 0, 1)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return np.pad((linear * 65535).round().astype(np.uint16), ((0, 0), (0, 1)), constant_values=65535)
