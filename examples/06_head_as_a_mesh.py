"""A head for other 3D programs: textured layers, and one surface fused from depth whose error is known.

    python examples/06_head_as_a_mesh.py OUT [--seed 3] [--size 256] [--resolution 128]

The scene is a procedural head, so its true surface is known; `gramhd export-mesh` does the same with a model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.outputs.depth_fusion import fuse
from gramhd_core.outputs.mesh import write_mesh
from gramhd_core.outputs.mesh_request import MeshRequest
from gramhd_core.scenes.head_manifolds import head_manifolds


def main(out: Path, *, seed: int, size: int, resolution: int) -> None:
    identity = HeadIdentity.from_seed(seed)
    scene = head_manifolds(identity, size=size)
    layers = write_mesh(scene, MeshRequest(out / "layers.glb"))
    print(f"{layers.path}: {layers.parts} meshes, {layers.triangles} triangles, {layers.bytes / 1e6:.1f} MB")
    solid = write_mesh(scene, MeshRequest(out / "surface.ply", resolution=resolution))
    print(f"{solid.path}: {solid.triangles} triangles, {'closed' if solid.watertight else 'open'}")

    surface = fuse(scene, CameraPrior(), resolution=resolution)
    camera = Camera.orbit(0.0, 0.0, size=128)
    truth, rays = render_head(identity, camera), camera_rays(camera)
    points = rays.at(torch.from_numpy(truth.distance).reshape(1, -1, 1))[0, :, 0].numpy()[truth.mask.reshape(-1)]
    error, _ = KDTree(surface.vertices).query(points)
    head = points[points[:, 1] > -0.06]  # above the shoulders
    width = np.ptp(head[:, 0])
    print(f"distance from the true surface to the fused one: {100 * error.mean() / width:.2f} % of the head's width")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--size", type=int, default=256, help="cells along a map")
    parser.add_argument("--resolution", type=int, default=128, help="grid points along a side of the fused surface")
    arguments = parser.parse_args()
    main(arguments.out, seed=arguments.seed, size=arguments.size, resolution=arguments.resolution)
