"""Heads as meshes: layers as textured shells, or one fused surface; GLB, PLY, OBJ (and the HTML page).

World units are metres in the file, +y is up, the face looks along +z. A layer's node sits at the middle of its surface,
and nodes come farthest first: programs that sort transparent objects by their origin, or draw them in the order of the
file, then composite as the renderer does (seen from the front, where the surfaces are in that order).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from gramhd_core import files
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.errors import BadArgument, MissingDependency
from gramhd_core.generators.generator import Generator
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs.depth_fusion import FusedSurface, fuse
from gramhd_core.outputs.glb import Part, write_glb
from gramhd_core.outputs.mesh_request import MeshFile, MeshRequest
from gramhd_core.outputs.shells import TexturedMesh, shells
from gramhd_core.outputs.shots import latent_of_seed
from gramhd_core.outputs.triangles import is_watertight
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene
from gramhd_core.scenes.surfaces import HeightFields

PAGE_TEXTURES = 512  # cells along a map in a page


@torch.no_grad()
def export_mesh(
    generator: Generator,
    request: MeshRequest,
    *,
    seed: int = 0,
    truncation: float = 0.7,
    progress: Progress | None = None,
) -> MeshFile:
    """Make the head of a seed and write it as `request` says."""
    scene = generator.scene(latent_of_seed(generator, seed, truncation=truncation)[0])
    extras = {"seed": seed, "truncation": truncation}
    if isinstance(generator, SavedScene):  # whose file may not say
        extras = {name: value for name, value in extras.items() if name in generator.config.provenance}
    return write_mesh(scene, request, cameras=generator.cameras, extras=extras, progress=progress)


@torch.no_grad()
def write_mesh(
    scene: Scene,
    request: MeshRequest,
    *,
    cameras: CameraPrior | None = None,
    extras: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> MeshFile:
    """Write a scene of one identity. cameras: those it was trained for (default: the published prior).

    Raises BadArgument for layers of a scene without maps and for numbers that are not finite.
    """
    cameras, progress = cameras or CameraPrior(), progress or Silent()
    if isinstance(scene, RadianceManifolds):
        scene = scene.baked()
        _refuse_infinite(scene)
    if request.kind == "surface":
        return _write_surface(scene, request, cameras, extras or {}, progress)
    if not isinstance(scene, RadianceManifolds):
        raise BadArgument(
            "this generator's scenes have no surfaces with pictures (its colours are asked for ray by ray)",
            expected="layers are such surfaces",
            remedy="use --kind surface, or a model whose generator.scene is baked",
        )
    if request.format == "html":
        return _write_page(scene, request, cameras, extras or {}, progress)
    return _write_layers(scene, request, extras or {})


def _write_layers(scene: RadianceManifolds, request: MeshRequest, extras: dict[str, Any]) -> MeshFile:
    made = shells(scene, texture_size=request.texture_size, background=request.background)
    if not made.meshes:
        raise BadArgument(
            "nothing of this head can be seen", expected="a mesh shows something", remedy="use another seed"
        )
    parts = [_layer(mesh, order) for order, mesh in enumerate(made.meshes)]
    write_glb(request.out, parts, pictures=made.atlases, extras=extras)
    levels = tuple(sorted(mesh.level for mesh in made.meshes if mesh.level >= 0))
    textures = tuple((picture.shape[1], picture.shape[0]) for picture in made.atlases)
    return _written(request, parts, levels=levels, textures=textures)


def _layer(mesh: TexturedMesh, order: int) -> Part:
    """`layer_00` is the nearest surface; draw_order counts from the farthest."""
    middle = (0.0, 0.0, float(mesh.vertices[np.argmin(np.hypot(*mesh.vertices[:, :2].T)), 2]))
    name = "background" if mesh.level < 0 else f"layer_{mesh.level:02d}"
    notes = {"draw_order": order} | ({} if mesh.level < 0 else {"level": mesh.level})
    return Part(name, mesh.vertices - middle, mesh.faces, mesh.uv, None, mesh.atlas, middle, notes)


def _write_surface(
    scene: Scene, request: MeshRequest, cameras: CameraPrior, extras: dict[str, Any], progress: Progress
) -> MeshFile:
    if request.format != "glb":
        _trimesh(request.format or "ply")  # before minutes of rendering, not after
    surface = fuse(
        scene,
        cameras,
        views=request.views or 24,
        resolution=request.resolution or 192,
        decimate=request.decimate,
        progress=progress,
    )
    part = Part("head", surface.vertices, surface.faces, None, surface.colours)
    if request.format == "glb":
        write_glb(request.out, [part], extras=extras)
    else:
        write_with_trimesh(request.out, surface, kind=request.format or "ply")
    depth = "median" if isinstance(scene, RadianceManifolds) else "mean"
    return _written(request, [part], depth=depth, watertight=is_watertight(surface.faces))


def _trimesh(kind: str) -> ModuleType:
    """The library, or MissingDependency."""
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependency(
            f"{kind} was asked for",
            expected="that needs the library trimesh",
            remedy="install it with pip install trimesh, or write a .glb",
        ) from error
    return trimesh


def write_with_trimesh(path: Path, surface: FusedSurface, *, kind: str) -> None:
    """A surface with 8-bit sRGB vertex colours as PLY (binary) or OBJ (colours after the coordinates)."""
    trimesh = _trimesh(kind)
    colours = (surface.colours * 255).round().clip(0, 255).astype(np.uint8)
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, vertex_colors=colours, process=False)
    text: Any = mesh.export(file_type=kind)
    with files.atomic(path) as temporary:
        temporary.write_bytes(text.encode() if isinstance(text, str) else text)


def _write_page(
    scene: RadianceManifolds, request: MeshRequest, cameras: CameraPrior, extras: dict[str, Any], progress: Progress
) -> MeshFile:
    from gramhd_core.outputs.viewer import write_viewer

    name = f"Seed {extras['seed']}" if "seed" in extras else request.out.stem
    size = request.texture_size or PAGE_TEXTURES
    write_viewer([scene], [name], request.out, cameras=cameras, size=size, progress=progress)
    visible = (scene.maps[0, :, 3].amax(dim=(1, 2)) > 0.5 / 255).tolist()
    return _written(request, [], levels=tuple(level for level, seen in enumerate(visible) if seen))


def _written(request: MeshRequest, parts: list[Part], **more: Any) -> MeshFile:
    return MeshFile(
        request.out,
        request.format or "",
        request.kind or "",
        request.out.stat().st_size,
        len(parts),
        sum(len(part.positions) for part in parts),
        sum(len(part.faces) for part in parts),
        **more,
    )


def _refuse_infinite(scene: RadianceManifolds) -> None:
    assert isinstance(scene.surfaces, HeightFields), "a baked scene has height fields"
    tensors = (scene.maps, scene.background, scene.surfaces.z)
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise BadArgument(
            "the scene holds numbers that are not finite",
            expected="a mesh is made of finite ones",
            remedy="make it again from a checkpoint whose training did not diverge",
        )
