"""Many depth maps of a scene fused into one coloured surface (truncated signed distances, marching cubes).

K views of S x S pixels, G x G x G grid points, V vertices; world units. Depth is the *median* along a ray:
the mean of a soft edge floats in the air between head and wall. The grid spans the map and the slab of the scene.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from gramhd_core.errors import BadArgument
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.outputs.triangles import decimated, decimation, vertex_normals, zero_surface
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.manifolds import FADE, RadianceManifolds
from gramhd_core.scenes.scene import Scene

SPREAD = 1.3  # standard deviations of the training cameras that the views cover
SOLID = 0.5  # opacity from which a pixel shows the head
SLAB = 8  # grid planes fused at once
TRUNCATION = 4.0  # grid spacings within which a depth map says how far the surface is
OCCLUDED = 3.0  # grid spacings behind a depth map from which a vertex does not see the camera
FACING = 4  # power of the cosine by which views are blended into a colour
HALF_WIDTH = 0.13  # of the grid where the scene does not say
AROUND = 64  # seen vertices that lend their colours to one that is not
LOOKED_AT = 0.2  # smallest cosine under which a view says anything of a colour
PURE = 8  # power of the opacity by which views are blended: at edges the background shows through
GRAZING = 0.1  # smallest cosine that counts
EMPTY = 0.1  # weight of a picture that shows the background where a point is
BACK = 0.01  # depth of the cap behind the deepest point seen


class DepthViews(NamedTuple):
    """cameras K; distance [K, S, S] along the ray, infinite where there is no head; rgb [K, 3, S, S] in [0, 1];
    alpha [K, S, S] in [0, 1], the least around each pixel; normal [K, S, S, 3] in the world, zero without a surface."""

    cameras: Camera
    distance: Tensor
    rgb: Tensor
    alpha: Tensor
    normal: Tensor


class FusedSurface(NamedTuple):
    """vertices [V, 3]; faces [F, 3], anticlockwise from outside; colours [V, 3] sRGB in [0, 1]; seen bool [V]: shown
    to some camera (the rest closes the surface behind)."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    seen: np.ndarray


def fuse(
    scene: Scene,
    cameras: CameraPrior,
    *,
    views: int = 24,
    resolution: int = 192,
    decimate: int | None = None,
    progress: Progress | None = None,
) -> FusedSurface:
    """The surface that `views` pictures of a scene of one identity agree on, on a grid of `resolution` points a side.

    decimate: at most this many triangles (needs fast-simplification). Depth is the median where the scene is
    `RadianceManifolds`, else what `render` calls distance. Raises BadArgument where no pixel is solid.
    """
    progress = progress or Silent()
    if decimate is not None:
        decimation()
    half = scene.half_width if isinstance(scene, RadianceManifolds) else HALF_WIDTH
    grid = _Grid.around(half, resolution)
    fov = max(cameras.fov_degrees, 2 * math.degrees(math.atan(half / cameras.radius)))
    spread = spread_cameras(cameras, views, size=resolution, fov_degrees=fov)
    progress.start("looking from all sides", views)
    try:
        seen = depth_views(scene, spread, progress=progress)
    finally:
        progress.finish()
    if not seen.distance.isfinite().any():
        raise BadArgument(
            "no pixel of this head is solid",
            expected="a surface is where opacity passes 1/2",
            remedy="export its layers instead (--kind layers) or use another seed",
        )
    volume = integrate(seen, grid, progress=progress)
    if not (volume < 0).any():
        raise BadArgument(
            "this head is thinner than the grid",
            expected="a surface encloses grid points",
            remedy="use a larger --resolution or another seed",
        )
    mesh = zero_surface(volume, low=grid.low, spacing=grid.spacing)
    if decimate is not None and len(mesh.faces) > decimate:
        mesh = decimated(mesh, decimate)
    colours, known = vertex_colours(mesh.vertices, vertex_normals(mesh), seen, spacing=grid.spacing)
    return FusedSurface(mesh.vertices, mesh.faces, colours, known)


def spread_cameras(prior: CameraPrior, views: int, *, size: int, fov_degrees: float) -> Camera:
    """Frontal first, then a sunflower over the ellipse of `SPREAD` deviations of the training cameras."""
    k = torch.arange(views, dtype=torch.float64)
    r, turn = (k / max(views - 1, 1)).sqrt() * SPREAD, k * (math.pi * (3 - math.sqrt(5)))
    pitch, yaw = prior.pitch_mean + r * prior.pitch_sd * turn.sin(), prior.yaw_mean + r * prior.yaw_sd * turn.cos()
    return Camera.orbit(pitch.float(), yaw.float(), radius=prior.radius, fov_degrees=fov_degrees, size=size)


def median_distance(scene: RadianceManifolds, rays: Rays) -> Tensor:
    """[N, R] distance at which half of the foreground's opacity along each ray has been passed; infinite without any.

    The opacity of every layer counts half at its hit, the rest after it, and opacity grows evenly between the hits of
    neighbouring levels: a single opaque layer is met exactly, a half-transparent one and an opaque one behind it in
    between. Rays [n, R] for a scene of n identities.
    """
    hits = scene.surfaces.hits(rays)
    behind = (scene.background_z - rays.origins[..., 2:]) / rays.directions[..., 2:]  # [N, R, 1]
    seen = hits.valid & (hits.distance <= behind)
    order = torch.where(seen, hits.distance, torch.inf).argsort(dim=-1, stable=True)
    opacity = torch.stack(
        [layer_opacity(scene, level, hits.points[:, :, level, :2]) for level in range(seen.shape[-1])], dim=-1
    )
    alpha = (opacity * seen).gather(-1, order)
    t = torch.where(seen, hits.distance, -torch.inf).gather(-1, order)
    left = torch.cat([torch.ones_like(alpha[..., :1]), (1 - alpha).cumprod(dim=-1)], dim=-1)  # T_i, front to back
    passed = 1 - (left[..., :-1] + left[..., 1:]) / 2  # opacity up to the middle of layer i
    half = (1 - left[..., -1:]) / 2
    i = ((passed >= half - 1e-6) & (alpha > 0)).to(torch.uint8).argmax(dim=-1, keepdim=True)
    before = (i - 1).clamp_min(0)
    p0, p1 = passed.gather(-1, before), passed.gather(-1, i)
    t0, t1 = t.gather(-1, before), t.gather(-1, i)
    share = torch.where((i > 0) & (p1 > p0), (half - p0) / (p1 - p0).clamp_min(1e-12), 1.0).clamp(0, 1)
    return torch.where(half > 0, t0 + share * (t1 - t0), torch.inf)[..., 0]


def layer_opacity(scene: RadianceManifolds, level: int, xy: Tensor) -> Tensor:
    """[N, R] alpha of one map at world xy [N, R, 2], as the renderer looks it up."""
    cells = xy / scene.half_width
    limit = 1.0 if scene.convention.edge == "cut" else 1 - 1 / scene.maps.shape[-1]
    where = cells if scene.convention.edge == "cut" else cells.clamp(-limit, limit)
    alpha = F.grid_sample(scene.maps[:, level, 3:].float(), where[:, :, None], align_corners=False)[:, 0, :, 0]
    fade = 1.0 if scene.convention.edge == "cut" else ((1 - cells.abs().amax(dim=-1)) / FADE).clamp(0, 1)
    return alpha * fade


@torch.no_grad()
def depth_views(scene: Scene, cameras: Camera, *, progress: Progress) -> DepthViews:
    """Look from every camera, one at a time."""
    device = scene.maps.device if isinstance(scene, RadianceManifolds) else torch.device("cpu")
    distances, colours, alphas, normals = [], [], [], []
    size = cameras.width
    for index in range(len(cameras)):
        camera = cameras[index].to(device)
        picture = scene.render(camera)
        rays = camera_rays(camera)
        if isinstance(scene, RadianceManifolds):
            distance = median_distance(scene, rays).reshape(size, size)
        else:
            assert picture.distance is not None, "a scene without depth has no surface"
            distance = picture.distance[0, 0]
        distance = torch.where(picture.alpha[0, 0] > SOLID, distance, torch.inf).cpu()
        points = rays.origins.cpu().reshape(size, size, 3) + distance[..., None] * rays.directions.cpu().reshape(
            size, size, 3
        )
        distances.append(distance)
        colours.append(((picture.rgb[0] + 1) / 2).clamp(0, 1).cpu())
        alphas.append(-F.max_pool2d(-picture.alpha, 5, stride=1, padding=2)[0, 0].cpu())
        normals.append(_normals(points))
        progress.advance()
    return DepthViews(cameras, *(torch.stack(parts) for parts in (distances, colours, alphas, normals)))


def _normals(points: Tensor) -> Tensor:
    """Unit normals [S, S, 3] towards the camera of a picture of points (central differences); zero at the border and
    beside pixels without a point."""
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normal = torch.linalg.cross(down, across)
    normal = torch.nan_to_num(normal / normal.norm(dim=-1, keepdim=True), nan=0.0, posinf=0.0, neginf=0.0)
    return F.pad(normal, (0, 0, 1, 1, 1, 1))


class _Grid(NamedTuple):
    """`size` grid points along x, y and z, from `low` on."""

    low: float
    size: int
    spacing: float

    @staticmethod
    def around(half: float, resolution: int) -> _Grid:
        return _Grid(-half, resolution, 2 * half / (resolution - 1))


def integrate(views: DepthViews, grid: _Grid, *, progress: Progress) -> np.ndarray:
    """[G, G, G] (x, y, z) mean distance in front of the surface, in truncations, -1 inside to 1 outside.

    Every view says of every point that is not hidden from it how far the surface behind it is, along its normal; views
    that face the surface count most. What is hidden from all views is inside, down to `BACK` behind the deepest
    surface seen: there the head is closed.
    """
    focal = 1 / np.tan(np.radians(views.cameras.fov_degrees.double().numpy()) / 2)
    poses = views.cameras.world_from_camera.double().numpy()
    cameras = np.concatenate([poses[:, :3], np.broadcast_to(focal[:, None, None], (len(poses), 3, 1))], axis=2)
    distance, normal = views.distance.numpy(), views.normal.numpy()
    axis = grid.low + grid.spacing * np.arange(grid.size)
    volume = np.empty((grid.size,) * 3, np.float32)

    def fill(start: int) -> None:
        part = slice(start, start + SLAB)
        _integrate(volume[part], axis[part], axis, cameras, distance, normal, TRUNCATION * grid.spacing)

    starts = range(0, grid.size, SLAB)
    progress.start("fusing", len(starts))
    try:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for _ in pool.map(fill, starts):
                progress.advance()
    finally:
        progress.finish()
    behind = axis < _deepest(views) - BACK
    volume[:, :, behind] = 1
    ends = [0, -1]
    volume[ends], volume[:, ends], volume[:, :, ends] = 1, 1, 1
    return volume


def _deepest(views: DepthViews) -> float:
    """World z that all but one in a thousand of the seen points are in front of."""
    rays = camera_rays(views.cameras)
    z = rays.origins[..., 2] + views.distance.flatten(1) * rays.directions[..., 2]
    return float(np.quantile(z[views.distance.flatten(1).isfinite()].numpy(), 0.001))


@njit(cache=True, nogil=True)
def _integrate(volume, across, axis, cameras, distance, normal, truncation):
    """The loop of `integrate` for some x: volume [A, G, G], across [A], axis [G]; cameras [K, 3, 5]: right, up, back,
    position, focal length in half pictures; distance [K, S, S], normal [K, S, S, 3]."""
    g, size = len(axis), distance.shape[1]
    for ix in range(len(across)):
        for iy in range(g):
            for iz in range(g):
                total, mass, hidden = 0.0, 0.0, False
                for k in range(len(cameras)):
                    pose = cameras[k]
                    dx, dy, dz = across[ix] - pose[0, 3], axis[iy] - pose[1, 3], axis[iz] - pose[2, 3]
                    depth = -(dx * pose[0, 2] + dy * pose[1, 2] + dz * pose[2, 2])
                    u = (dx * pose[0, 0] + dy * pose[1, 0] + dz * pose[2, 0]) / depth * pose[0, 4]
                    v = (dx * pose[0, 1] + dy * pose[1, 1] + dz * pose[2, 1]) / depth * pose[0, 4]
                    u, v = (u + 1.0) * 0.5 * size - 0.5, (1.0 - v) * 0.5 * size - 0.5
                    column, row = int(u + 0.5), int(v + 0.5)
                    if u < 0.0 or v < 0.0 or u > size - 1.0 or v > size - 1.0:
                        continue
                    met = distance[k, row, column]
                    if met == np.inf:
                        total += EMPTY
                        mass += EMPTY
                        continue
                    j, i = min(int(u), size - 2), min(int(v), size - 2)
                    fu, fv = u - j, v - i
                    a, b = distance[k, i, j], distance[k, i, j + 1]
                    c, d = distance[k, i + 1, j], distance[k, i + 1, j + 1]
                    if max(a, b, c, d) - min(a, b, c, d) < truncation:
                        met = (1.0 - fv) * ((1.0 - fu) * a + fu * b) + fv * ((1.0 - fu) * c + fu * d)
                    t = math.sqrt(dx * dx + dy * dy + dz * dz)
                    n = normal[k, row, column]
                    facing = max(-(n[0] * dx + n[1] * dy + n[2] * dz) / t, GRAZING)
                    ahead = (met - t) * facing / truncation
                    if ahead < -1.0:
                        hidden = True
                        continue
                    share = facing * facing
                    total += share * min(ahead, 1.0)
                    mass += share
                if mass > 0.0:
                    volume[ix, iy, iz] = total / mass
                else:
                    volume[ix, iy, iz] = -1.0 if hidden else 1.0


def vertex_colours(
    vertices: np.ndarray, normals: np.ndarray, views: DepthViews, *, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [V, 3] blended over the views a vertex faces and is not hidden from; bool [V], whether there is one.

    Vertices that no view sees take the colours of those that are seen around them.
    """
    from scipy.spatial import KDTree

    points, normal = torch.from_numpy(vertices).float(), torch.from_numpy(normals).float()
    total, mass = torch.zeros(len(points), 3), torch.zeros(len(points))
    for k in range(len(views.cameras)):
        camera = views.cameras[k]
        pixel = camera.project(points[None])[0]
        ray = points - camera.position[0]
        t = ray.norm(dim=-1)
        inside = ((pixel > 1) & (pixel < camera.width - 1)).all(dim=-1)
        column, row = pixel.clamp(0, camera.width - 1).long().T
        met = views.distance[k, row, column]
        facing = -(ray * normal).sum(dim=-1) / t
        shown = inside & (facing > LOOKED_AT) & ((t - met).abs() < OCCLUDED * spacing)
        where = (2 * pixel / camera.width - 1)[None, None]
        picture = torch.cat([views.rgb[k], views.alpha[k][None]])[None]
        found = F.grid_sample(picture, where, padding_mode="border", align_corners=False)[0, :, 0]
        share = shown * facing**FACING * found[3] ** PURE
        total += share[:, None] * found[:3].T
        mass += share
    known = mass.numpy() > 1e-6
    colours = (total / mass.clamp_min(1e-9)[:, None]).numpy()
    if known.any() and not known.all():
        far, nearest = KDTree(vertices[known]).query(vertices[~known], k=min(AROUND, int(known.sum())))
        weight = 1 / (far.reshape(len(far), -1) + spacing)
        weight /= weight.sum(axis=1, keepdims=True)
        colours[~known] = np.einsum("vk,vkc->vc", weight, colours[known][nearest.reshape(len(far), -1)])
    return colours, known
