"""Triangle meshes out of volumes: marching cubes, the largest part, fewer triangles, normals, closedness.

V vertices, F triangles; triangles are anticlockwise seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gramhd_core.errors import MissingDependency


class Triangles(NamedTuple):
    """vertices float [V, 3]; faces int [F, 3]."""

    vertices: np.ndarray
    faces: np.ndarray


def zero_surface(volume: np.ndarray, *, low: float, spacing: float) -> Triangles:
    """Where volume [G, G, G] (x, y, z; negative inside) is zero, by marching cubes: its largest connected part.

    low: coordinate of the first grid point along every axis; spacing: from one to the next.
    """
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="ascent", allow_degenerate=False)
    vertices, faces = _largest_part(vertices * spacing + low, faces.astype(np.int64))
    a, b, c = vertices[faces].transpose(1, 0, 2)
    if (np.cross(a, b) * c).sum() < 0:  # six times the volume
        faces = faces[:, ::-1]
    return Triangles(vertices, faces)


def _largest_part(vertices: np.ndarray, faces: np.ndarray) -> Triangles:
    """The connected part with most triangles, renumbered."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_matrix((np.ones(len(edges), np.int8), edges.T), shape=(len(vertices), len(vertices)))
    part = connected_components(links, directed=False)[1][faces[:, 0]]
    faces = faces[part == np.bincount(part).argmax()]
    used, faces = np.unique(faces, return_inverse=True)
    return Triangles(vertices[used], faces.reshape(-1, 3))


def decimation() -> Callable[..., tuple[np.ndarray, ...]]:
    """`simplify` of fast-simplification, or MissingDependency: to be asked for before what takes minutes."""
    try:
        from fast_simplification import simplify  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency(
            "fewer triangles were asked for",
            expected="that needs the library fast-simplification",
            remedy="install it with pip install 'gramhd[mesh]', or drop --decimate",
        ) from error
    return simplify


def decimated(mesh: Triangles, count: int) -> Triangles:
    """At most about `count` triangles, by quadric edge collapse."""
    simplify = decimation()
    vertices, faces = simplify(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=count)[:2]
    return Triangles(vertices.astype(np.float64), faces.astype(np.int64))


def vertex_normals(mesh: Triangles) -> np.ndarray:
    """[V, 3] unit normals, triangles weighed by their area."""
    vertices, faces = mesh
    a, b, c = vertices[faces].transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    normals = np.stack(
        [sum(np.bincount(faces[:, i], face[:, k], len(vertices)) for i in range(3)) for k in range(3)], axis=1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def is_watertight(faces: np.ndarray) -> bool:
    """Whether every edge [F, 3] lies between exactly two triangles that run along it in opposite directions."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    codes = edges[:, 0] * (edges.max() + 1) + edges[:, 1]
    back = edges[:, 1] * (edges.max() + 1) + edges[:, 0]
    return len(np.unique(codes)) == len(codes) and bool(np.array_equal(np.sort(codes), np.sort(back)))
