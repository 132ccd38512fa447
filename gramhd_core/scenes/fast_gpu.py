"""Fused twin of `RadianceManifolds.render` for GPUs: prepare a scene once, then one kernel per picture.

N identities, K cameras, L level sets, G x G heights, M x M maps, S = M + 2. The readable path is `look` in
scenes/manifolds.py with `HeightFields.distance`; tests/scenes/test_fast_gpu.py compares them. No gradients.
The kernel is in fast_gpu_kernel.py, which is imported (and triton with it) when the first picture is taken.
"""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.geometry.camera import Camera
from gramhd_core.scenes.manifolds import FADE, RadianceManifolds
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import STEPS, HeightFields
from gramhd_core.scenes.views import RenderConvention

Precision = Literal["uint8", "float16", "float32"]

BLOCK, CELLS = 8, 4  # as in fast_gpu_sight.py
TILE = 8  # pixels: one warp, two pixels a thread, so that no reduction needs a barrier
MOST_LEVELS = 64  # a bit per layer
FINE = 2.0  # colours up to which half floats are finer than 1e-3 of the range [-1, 1]
FAINT = 1e-5  # alpha up to which a texel counts as empty: 64 such layers change no colour by 1e-3


class Prepared(NamedTuple):
    """A scene as the kernel reads it.

    heights [L, G, G]; pyramids [3, L, P]: highest z, highest -z and steepest slope of blocks of CELLS x CELLS cells, of
    2 x 2 such blocks, and so on up to one block; ends [2, L]: heights in front of and behind each surface;
    texels [N, L, S, S, words], background [N, Sb, Sb, words]: r, g, b, alpha packed into an int32 (8 bits each), an
    int64 (half floats and 16 bits of alpha) or two int64 (floats), with a border;
    occupied int32 [N, L, B, B]: summed table of the blocks that are not empty.
    """

    heights: Tensor
    pyramids: Tensor
    ends: Tensor
    texels: Tensor
    background: Tensor
    occupied: Tensor
    field_half_width: float
    slab: float
    half_width: float
    background_z: float
    convention: RenderConvention
    precision: Precision


def supports(scene: RadianceManifolds) -> bool:
    """Whether the kernel makes this scene's pictures: nested height fields, rays met per pixel, on a GPU with triton
    (or triton's interpreter). Reads the heights: ask once per scene, not once per picture."""
    fields = scene.surfaces
    if not isinstance(fields, HeightFields) or scene.convention.hits != "full" or len(fields.z) > MOST_LEVELS:
        return False
    tensors = (fields.z, scene.maps, scene.background)
    return (
        find_spec("triton") is not None
        and all(t.is_cuda or (_interpreted() and t.device.type == "cpu") for t in tensors)
        and len({t.device for t in tensors}) == 1
        and fields.z.shape[-1] > 1
        and fields.nested
    )


def prepare(scene: RadianceManifolds, precision: Precision | None = None) -> Prepared:
    """Everything the kernel needs, on the scene's device; ask `supports` first.

    precision: float16 if not given, float32 where colours are beyond `FINE`. float16 keeps colours to 1e-3 (of
    [-1, 1]) and distances to 1e-5; uint8 clips colours to [0, 1] and rounds them, and alpha, to 1/255; float32 keeps
    everything. The scene's tensors are copied: prepare again when they have changed.
    """
    fields = scene.surfaces
    assert isinstance(fields, HeightFields), "only height fields: scene.baked()"
    with torch.no_grad():
        if precision is None:
            brightest = max(float(t.abs().max()) for t in (scene.maps, scene.background))
            precision = "float16" if brightest <= FINE else "float32"
        heights = fields.z.detach().float().contiguous()
        channels = scene.maps.detach().movedim(2, -1)  # [N, L, M, M, 4]
        flat = scene.background.detach().movedim(1, -1)
        flat = torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1)
        return Prepared(
            heights,
            _pyramids(fields),
            torch.stack(fields.ends).float(),
            _packed(_bordered(channels, repeat=scene.convention.edge == "fade"), precision),
            _packed(_bordered(flat, repeat=True), precision),
            _summed_blocks(scene.maps.detach()[:, :, 3], repeat=scene.convention.edge == "fade", precision=precision),
            fields.half_width,
            fields.slab,
            scene.half_width,
            scene.background_z,
            scene.convention,
            precision,
        )


def render_prepared(scene: Prepared, camera: Camera, *, tile: int = TILE) -> Rendering:
    """K cameras of one identity, or N cameras of N identities: `RadianceManifolds.render`. Never waits for the GPU.

    tile: pixels to a side of what one program of the kernel draws, a power of two.
    """
    from gramhd_core.scenes import fast_gpu_kernel  # imports triton

    n, k, h, w = len(scene.texels), len(camera), camera.height, camera.width
    assert n in (1, k), f"{n} identities cannot be seen by {k} cameras"
    device = scene.heights.device
    pose = camera.world_from_camera.to(device, torch.float32).contiguous()
    fov = camera.fov_degrees.to(device, torch.float32).contiguous()
    rgb, alpha, distance = (torch.empty(k, c, h, w, device=device) for c in (3, 1, 1))
    kernel: Any = fast_gpu_kernel.picture[(math.ceil(h / tile) * math.ceil(w / tile), k)]
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel(
            rgb,
            alpha,
            distance,
            pose,
            fov,
            scene.heights,
            scene.pyramids,
            scene.ends,
            scene.texels,
            scene.occupied,
            scene.background,
            h,
            w,
            *_axis(w, scene.convention),
            *_axis(h, scene.convention),
            scene.heights.shape[0],
            scene.heights.shape[-1],
            scene.texels.shape[2],
            scene.background.shape[1],
            scene.occupied.shape[-1],
            int(n > 1),
            scene.field_half_width,
            scene.slab,
            scene.half_width,
            scene.background_z,
            FADE=FADE if scene.convention.edge == "fade" else 0.0,
            MEAN=scene.convention.depth == "mean",
            KIND=scene.precision,
            LEVELS=_power_of_two(max(2, len(scene.heights))),
            TILE=tile,
            DEPTH=round(math.log(3 * scene.pyramids.shape[-1] + 1, 4)) - 1,
            STEPS=STEPS,
            num_warps=min(max(1, tile * tile // 64), 16),
            num_stages=1,
        )
    return Rendering(rgb, alpha, distance)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _axis(size: int, convention: RenderConvention) -> tuple[float, float]:
    """Step and start of `geometry.rays.axis`."""
    if convention.pixel_sampling == "endpoints":
        return 2 / max(size - 1, 1), -1.0
    return 2 / size, 1 / size - 1


def _pyramids(fields: HeightFields) -> Tensor:
    """[3, L, P] highest z, highest -z, and an upper bound of the slope |grad z|, of `Prepared`."""
    z = fields.z.detach().float()
    cells = z.shape[-1] - 1
    rise_x, rise_y = z.diff(dim=2).abs(), z.diff(dim=1).abs()
    slope = torch.hypot(torch.maximum(rise_x[:, 1:], rise_x[:, :-1]), torch.maximum(rise_y[..., 1:], rise_y[..., :-1]))
    corners = (z[:, :-1, :-1], z[:, :-1, 1:], z[:, 1:, :-1], z[:, 1:, 1:])
    highest = torch.stack(corners).amax(dim=0)
    deepest = -torch.stack(corners).amin(dim=0)
    of_cells = torch.stack([highest, deepest, slope * (cells / (2 * fields.half_width))])  # [3, L, G - 1, G - 1]
    side = _power_of_two(math.ceil(cells / CELLS))
    padding = side * CELLS - cells
    storey = F.max_pool2d(F.pad(of_cells, (0, padding, 0, padding), mode="replicate"), CELLS)
    storeys = [storey.flatten(2)]
    while storey.shape[-1] > 1:
        storey = F.max_pool2d(storey, 2)
        storeys.append(storey.flatten(2))
    return torch.cat(storeys, dim=2).contiguous()


def _bordered(pictures: Tensor, *, repeat: bool) -> Tensor:
    """[..., M, M, C] -> [..., M + 2, M + 2, C]: the edge repeated, or zeros."""
    *lead, m, _, c = pictures.shape
    out = pictures.new_zeros(*lead, m + 2, m + 2, c)
    out[..., 1:-1, 1:-1, :] = pictures
    if repeat:
        out[..., 0, :, :], out[..., -1, :, :] = out[..., 1, :, :], out[..., -2, :, :]
        out[..., :, 0, :], out[..., :, -1, :] = out[..., :, 1, :], out[..., :, -2, :]
    return out


def _packed(texels: Tensor, precision: Precision) -> Tensor:
    """[..., 4] -> [..., words]."""
    if precision == "uint8":
        return (texels.float().clamp(0, 1) * 255).round().to(torch.uint8).contiguous().view(torch.int32)
    if precision == "float16":
        alpha = (texels[..., 3:].float().clamp(0, 1) * 65535).round().to(torch.int32)
        alpha = torch.where(alpha > 32767, alpha - 65536, alpha).to(torch.int16)  # the same 16 bits, signed
        return torch.cat([texels[..., :3].half().view(torch.int16), alpha], dim=-1).view(torch.int64)
    return texels.float().contiguous().view(torch.int64)


def _summed_blocks(alpha: Tensor, *, repeat: bool, precision: Precision) -> Tensor:
    """alpha [N, L, M, M] -> int32 [N, L, B, B]: entry (i, j) counts the filled blocks of rows < i, columns < j."""
    n, levels = alpha.shape[:2]
    bordered = _bordered(alpha[..., None], repeat=repeat)[..., 0]
    faint = 0.5 / 255 if precision == "uint8" else FAINT
    most = F.max_pool2d(bordered.float(), BLOCK, BLOCK, ceil_mode=True)
    counts = (most > faint).int().cumsum(dim=2, dtype=torch.int32).cumsum(dim=3, dtype=torch.int32)
    return F.pad(counts, (1, 0, 1, 0)).reshape(n, levels, most.shape[2] + 1, most.shape[3] + 1).contiguous()


def _power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()
