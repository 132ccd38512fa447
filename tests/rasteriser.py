"""A small software rasteriser, so that meshes can be looked at in tests."""

from __future__ import annotations

import numpy as np
from numba import njit

from gramhd_core.geometry.camera import Camera


def rasterise(vertices: np.ndarray, faces: np.ndarray, values: np.ndarray, camera: Camera) -> tuple[np.ndarray, ...]:
    """values [V, C] of the nearest triangle seen through each pixel's centre [S, S, C], and whether there is one."""
    pose = camera.world_from_camera[0].double().numpy()
    local = (vertices.astype(np.float64) - pose[:3, 3]) @ pose[:3, :3]
    focal = 1 / np.tan(np.radians(float(camera.fov_degrees[0])) / 2)
    size = camera.width
    depth = -local[:, 2]
    x = (focal * local[:, 0] / depth + 1) * size / 2
    y = (1 - focal * local[:, 1] / depth) * size / 2
    nearest = np.full((size, size), np.inf)
    picture = np.zeros((size, size, values.shape[1]))
    _fill(np.stack([x, y, depth], axis=1), faces.astype(np.int64), values.astype(np.float64), nearest, picture)
    return picture, np.isfinite(nearest)


@njit(cache=True)
def _fill(points, faces, values, nearest, picture):
    size = len(nearest)
    for face in faces:
        a, b, c = points[face[0]], points[face[1]], points[face[2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-12:
            continue
        left = max(0, int(np.ceil(min(a[0], b[0], c[0]) - 0.5)))
        right = min(size - 1, int(np.floor(max(a[0], b[0], c[0]) - 0.5)))
        top = max(0, int(np.ceil(min(a[1], b[1], c[1]) - 0.5)))
        bottom = min(size - 1, int(np.floor(max(a[1], b[1], c[1]) - 0.5)))
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                x, y = column + 0.5, row + 0.5
                u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                w = 1.0 - u - v
                if u < -1e-9 or v < -1e-9 or w < -1e-9:
                    continue
                u, v, w = u / a[2], v / b[2], w / c[2]  # perspective
                depth = 1.0 / (u + v + w)
                if depth < nearest[row, column]:
                    nearest[row, column] = depth
                    for k in range(values.shape[1]):
                        mixed = u * values[face[0], k] + v * values[face[1], k] + w * values[face[2], k]
                        picture[row, column, k] = mixed * depth


def look_up(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear texture look-up as graphics cards do it: uint8 [H, W, C] at uv [..., 2], (0, 0) at the top left."""
    h, w = texture.shape[:2]
    x, y = uv[..., 0] * w - 0.5, uv[..., 1] * h - 0.5
    j, i = np.clip(np.floor(x).astype(int), 0, w - 2), np.clip(np.floor(y).astype(int), 0, h - 2)
    fx, fy = np.clip(x - j, 0, 1)[..., None], np.clip(y - i, 0, 1)[..., None]
    t = texture.astype(np.float64) / 255
    upper, lower = t[i, j] * (1 - fx) + t[i, j + 1] * fx, t[i + 1, j] * (1 - fx) + t[i + 1, j + 1] * fx
    return upper * (1 - fy) + lower * fy
