"""What can be asked of `export_mesh`, and what it answers. A request that exists is a valid one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gramhd_core.errors import BadArgument

FORMATS = ("glb", "ply", "obj", "html")
KINDS = {"glb": ("layers", "surface"), "html": ("layers",), "ply": ("surface",), "obj": ("surface",)}  # default first
SUFFIXES = {".glb": "glb", ".ply": "ply", ".obj": "obj", ".html": "html", ".htm": "html"}
TEXTURES = range(16, 8185)  # cells along a map: with its gutter it fits into a texture of 8192
PAGE_TEXTURES = range(16, 2049)  # of the page: what every browser draws
RESOLUTIONS = range(32, 513)
VIEWS = range(1, 257)
FEWEST_TRIANGLES = 100


@dataclass(frozen=True)
class MeshRequest:
    """One file, its format and kind. None: the usual value.

    format: one of `FORMATS`; by the suffix of `out`. kind: "layers" (the surfaces of the scene with their pictures) or
    "surface" (one, fused from depth). texture_size: cells along a map of layers at the most (as they are; 512 in html).
    background: also the plane behind the head (layers of a glb). views (24), resolution (192 grid points a side) and
    decimate (triangles at the most): of a surface.
    """

    out: Path
    format: str | None = None
    kind: str | None = None
    texture_size: int | None = None
    background: bool = True
    views: int | None = None
    resolution: int | None = None
    decimate: int | None = None

    def __post_init__(self) -> None:
        suffix = self.out.suffix.lower()
        form = self.format or SUFFIXES.get(suffix)
        if form is None:
            raise BadArgument(
                f"the file would be {self.out}",
                expected=f"its suffix says what it is: {', '.join(SUFFIXES)}",
                remedy="use one of them, or name a --format",
            )
        _known("format", form, FORMATS)
        if SUFFIXES.get(suffix, form) != form:
            raise BadArgument(
                f"the file {self.out.name} was to be {form}",
                expected=f"{suffix} files are {SUFFIXES[suffix]}",
                remedy="drop --format or change the suffix",
            )
        if self.out.is_dir():
            raise BadArgument(f"{self.out} is a folder", expected="a mesh is one file", remedy="name a file in it")
        kind = self.kind or KINDS[form][0]
        _known("kind", kind, ("layers", "surface"))
        if kind not in KINDS[form]:
            raise BadArgument(
                f"{form} was to hold {'layers' if kind == 'layers' else 'a surface'}",
                expected=f"{form} holds {'a surface' if kind == 'layers' else 'layers'} only",
                remedy="use glb, which takes both",
            )
        if form == "html" and suffix not in SUFFIXES:
            raise BadArgument(
                f"the page was to be {self.out}", expected="its name ends in .html", remedy="add that to --out"
            )
        object.__setattr__(self, "format", form)
        object.__setattr__(self, "kind", kind)
        textures = PAGE_TEXTURES if form == "html" else TEXTURES
        _within("texture size", self.texture_size, textures, "--texture-size")
        _within("resolution", self.resolution, RESOLUTIONS, "--resolution")
        _within("number of views", self.views, VIEWS, "--views")
        if self.decimate is not None and self.decimate < FEWEST_TRIANGLES:
            raise BadArgument(
                f"{self.decimate} triangles were asked for",
                expected=f"a head needs {FEWEST_TRIANGLES}",
                remedy="use a larger --decimate",
            )
        self._check_use(form, kind)

    def _check_use(self, form: str, kind: str) -> None:
        """Options without effect are refused."""
        idle = {
            "--views": kind == "layers" and self.views is not None,
            "--resolution": kind == "layers" and self.resolution is not None,
            "--decimate": kind == "layers" and self.decimate is not None,
            "--texture-size": kind == "surface" and self.texture_size is not None,
            "--no-background": not self.background and (kind == "surface" or form == "html"),
        }
        for option in (option for option, is_idle in idle.items() if is_idle):
            raise BadArgument(
                f"{option} was given for {kind} in {form}",
                expected="it does nothing there",
                remedy=f"drop it{' or add --kind surface' if kind == 'layers' and form == 'glb' else ''}",
            )


@dataclass(frozen=True)
class MeshFile:
    """What was written. levels: surfaces with something to see (layers); parts: meshes (none that count in a page);
    watertight: of a surface."""

    path: Path
    format: str
    kind: str
    bytes: int
    parts: int
    vertices: int
    triangles: int
    levels: tuple[int, ...] = ()
    textures: tuple[tuple[int, int], ...] = ()
    depth: str | None = None
    watertight: bool | None = None

    def document(self) -> dict[str, Any]:
        """The JSON document of `gramhd export-mesh --json`."""
        uncounted = ("parts", "vertices", "triangles") if self.format == "html" else ()
        told = {key: value for key, value in vars(self).items() if value not in (None, ()) and key not in uncounted}
        return told | {"path": str(self.path)}


def _known(what: str, name: str, names: tuple[str, ...]) -> None:
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    remedy = f"did you mean `{nearest[0]}`" if nearest else "use one of these"
    raise BadArgument(f"the {what} is `{name}`", expected=f"it must be one of {', '.join(names)}", remedy=remedy)


def _within(what: str, value: int | None, allowed: range, option: str) -> None:
    if value is not None and value not in allowed:
        raise BadArgument(
            f"the {what} is {value}",
            expected=f"it must lie between {allowed[0]} and {allowed[-1]}",
            remedy=f"use a {option} in that range",
        )
