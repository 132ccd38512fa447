"""Meshes out of volumes are closed, turned outwards and where the volume says."""

from __future__ import annotations

import numpy as np

from gramhd_core.outputs.triangles import Triangles, is_watertight, vertex_normals, zero_surface


def ball(centre: tuple[float, float, float], radius: float, *, size: int = 33) -> np.ndarray:
    """[G, G, G] distance to a sphere over [-1, 1]^3."""
    axes = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    return np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))) - radius


def spheres(*volumes: np.ndarray) -> Triangles:
    return zero_surface(np.minimum.reduce(volumes), low=-1.0, spacing=2 / (len(volumes[0]) - 1))


def test_a_ball_gives_its_sphere_with_normals_outwards() -> None:
    mesh = spheres(ball((0.1, 0.2, -0.1), 0.5))
    out = mesh.vertices - [0.1, 0.2, -0.1]
    radius = np.linalg.norm(out, axis=1)
    assert np.abs(radius - 0.5).max() < 2e-3 and is_watertight(mesh.faces)
    assert ((vertex_normals(mesh) * out).sum(axis=1) / radius).min() > 0.95


def test_only_the_largest_part_is_kept() -> None:
    mesh = spheres(ball((-0.5, 0, 0), 0.3), ball((0.6, 0, 0), 0.2))
    assert mesh.vertices[:, 0].max() < 0 and np.unique(mesh.faces).size == len(mesh.vertices)


def test_a_closed_box_is_watertight_and_an_open_or_inconsistent_one_is_not() -> None:
    tetrahedron = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
    assert is_watertight(tetrahedron)
    assert not is_watertight(tetrahedron[:3])
    assert not is_watertight(np.concatenate([tetrahedron[:3], tetrahedron[3:, ::-1]]))
