"""Whether a face stays who it is while it is turned, as a network for recognising people sees it.

T heads, V views, B pictures. The network is IResNet-50 (ArcFace: residual network). Its weights are not ours to ship;
they are found or asked for in a sentence. Names of layers are those of the published file. Procedural heads have
better: `identity.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.checkpoints.importers import read_pickled
from gramhd_core.data.landmarks import FACE_5
from gramhd_core.data.subjects import FACES
from gramhd_core.data.templates import template_for
from gramhd_core.errors import BadCheckpoint, MissingDependency
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.views import ViewSet

FILE = "ms1mv3_arcface_r50_fp16.pth"
ADDRESS = "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch (its backbone.pth)"
UNITS, WIDTHS = (3, 4, 14, 3), (64, 128, 256, 512)
SIDE, EMBEDDING = 112, 512
FINER = 3  # samples per pixel of a face and direction: faces are smaller than the pictures they are cut from
# Where eyes, nose and corners of the mouth are in pictures the network was trained on, pixels.
PLACES = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


class Recognition(NamedTuple):
    """similarity: mean cosine between two views of one head (1: the same person), each: of every head; others: between
    two heads in the same view, None for one head."""

    similarity: float
    each: list[float]
    others: float | None


def recognition(views: Sequence[ViewSet]) -> Recognition:
    """How alike the faces of T sets are between the views of each (two or more; their order does not matter).

    Faces are where the cameras say: heads have to be at the origin, as those of every `ViewSet` are. MissingDependency
    without the weights.
    """
    assert views and all(len(one.rgb) > 1 for one in views)
    network = load_recogniser()
    seen = [_embedded(network, faces_of(one)) for one in views]
    each = [_pairs(one @ one.T) for one in seen]
    others = None
    if len(seen) > 1:
        shared = min(map(len, seen))
        beside = torch.stack([one[:shared] for one in seen], dim=1)  # [V, T, E]
        others = sum(_pairs(heads @ heads.T) for heads in beside) / shared
    return Recognition(sum(each) / len(each), each, others)


def weights_path() -> Path:
    """Where the weights are looked for."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE


def load_recogniser() -> Recogniser:
    """The network, ready to use. MissingDependency without its weights, BadCheckpoint for others."""
    path = weights_path()
    if not path.is_file():
        raise MissingDependency(
            f"{FILE} is not in {path.parent}",
            expected="recognising the faces of photographs needs the weights of ArcFace",
            remedy=f"get them from {ADDRESS} into that folder, or use procedural heads, whose identity is known",
        )
    network = Recogniser(UNITS, WIDTHS)
    try:
        network.load_state_dict(read_pickled(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise BadCheckpoint(
            f"{path} does not fit ({str(error).splitlines()[0]})",
            expected="the weights of IResNet-50 are needed, without a head",
            remedy=f"get {ADDRESS} of ms1mv3_arcface_r50_fp16",
        ) from error
    return network.float().eval().requires_grad_(False)


class Recogniser(nn.Module):
    """Faces [B, 3, 112, 112] in [-1, 1] -> [B, 512]. units: per stage; widths: channels of the stages."""

    def __init__(self, units: Sequence[int], widths: Sequence[int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        before = [widths[0], *widths[:-1]]
        for stage, (count, fan_in, fan_out) in enumerate(zip(units, before, widths, strict=True), start=1):
            blocks = [_Unit(fan_out if index else fan_in, fan_out, halve=not index) for index in range(count)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1] * (SIDE // 2 ** len(widths)) ** 2, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)
        self.stages = len(widths)

    def forward(self, faces: Tensor) -> Tensor:
        """[B, 3, 112, 112] -> [B, 512]"""
        x = self.prelu(self.bn1(self.conv1(faces)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


class _Unit(nn.Module):
    """A residual unit; the first of a stage halves the picture."""

    def __init__(self, fan_in: int, fan_out: int, *, halve: bool):
        super().__init__()
        stride = 2 if halve else 1
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.prelu = nn.PReLU(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(fan_out)
        self.downsample = None
        if halve:
            short = nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        return around + self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))


def faces_of(views: ViewSet) -> Tensor:
    """[V, 3, 112, 112] in [-1, 1]: the faces of a set, where its cameras see those of the average head."""
    size = views.rgb.shape[-1]
    steps = (torch.arange(SIDE * FINER) + 0.5) / FINER
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    scale, shift = similarity_to_picture(views.cameras)
    points = torch.complex(x, y).to(scale.dtype)[None] * scale[:, None, None] + shift[:, None, None]
    grid = 2 * torch.stack([points.real, points.imag], dim=-1).float() / size - 1
    images = views.rgb.float() / 127.5 - 1
    fine = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, FINER)


def similarity_to_picture(cameras: Camera) -> tuple[Tensor, Tensor]:
    """scale, shift [V], complex: a point x + iy of a face picture (pixels) is scale (x + iy) + shift in the view's.

    The least-squares similarity between the five points of an average head, as each camera sees them, and `PLACES`.
    """
    points = torch.from_numpy(template_for(FACE_5, FACES).points).to(cameras.world_from_camera)
    seen = torch.view_as_complex(cameras.project(points.expand(len(cameras), -1, -1)).double().contiguous())
    wanted = torch.view_as_complex(torch.tensor(PLACES, dtype=torch.float64))
    from_middle = wanted - wanted.mean()
    scale = (seen * from_middle.conj()).sum(dim=1) / from_middle.abs().square().sum()
    return scale, seen.mean(dim=1) - scale * wanted.mean()


@torch.no_grad()
def _embedded(network: Recogniser, faces: Tensor) -> Tensor:
    return F.normalize(torch.cat([network(part) for part in faces.split(16)]), dim=1)


def _pairs(cosines: Tensor) -> float:
    """The mean of [n, n] beside its diagonal."""
    n = len(cosines)
    return float((cosines.sum() - cosines.diagonal().sum()) / (n * (n - 1)))
