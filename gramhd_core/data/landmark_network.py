"""The `procedural` backend: two small networks that find the 68 landmarks of procedural heads in a photograph.

The *finder* looks at the whole photograph, reduced to `finder_size` pixels, and answers for every cell of a grid
whether a head is centred there, and in which frame. The *pointer* looks at a crop of a frame and answers with heat
maps, whose means are the landmarks, and with how far it may be wrong. They give a better frame; it looks again.

B pictures, S x S pixels, K = 68 landmarks in iBUG order, G x G cells of the finder, M x M pixels of a heat map. Pixels
count as in `landmarks`; network images are in [-1, 1], and 0 outside the photograph. A *frame* is a similarity: centre
(pixels), side (pixels: the width of the crop that a camera with the published angle of view would make) and roll
(radians, positive is clockwise in the picture). Frame units: -1/2 to 1/2 across the side, x right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.configs import at_least, from_dict, to_dict
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.tensor_files import load_tensors, save_tensors

ASSET = Path(__file__).resolve().parents[1] / "assets" / "procedural_landmarks.safetensors"
KIND = "landmark network"
COUNT = 68
PATCH = 4  # pixels: side of the squares whose colours enter as channels
SLOPE = 0.2
CELL = 8  # pixels of the finder's picture behind one cell
SURE = 0.03  # sides of the frame: confidence is the chance that a landmark is this near
CLOSEST, WIDEST = 0.002, 0.3  # sides of the frame: bounds of the expected error


@dataclass(frozen=True)
class LandmarkConfig:
    """finder_widths: channels at 1/4 of finder_size and after each halving; pointer_widths: the same of crop_size.

    gathered: numbers that say what the pointer's whole crop shows. crop: width of that crop, in sides of the frame.
    """

    finder_size: int = 128
    finder_widths: tuple[int, ...] = (24, 32, 48, 64)
    crop_size: int = 96
    pointer_widths: tuple[int, ...] = (32, 64, 88, 104)
    gathered: int = 64
    crop: float = 0.8

    def __post_init__(self) -> None:
        at_least(self, 1, "finder_size", "crop_size", "gathered")
        for name in ("finder", "crop"):
            widths = self.finder_widths if name == "finder" else self.pointer_widths
            size, step = getattr(self, f"{name}_size"), PATCH * 2 ** (max(len(widths), 1) - 1)
            if len(widths) < 2 or min(widths) < 1 or size % step:
                raise BadConfig(
                    f"{name}_size={size} with the widths {widths}",
                    expected="there are two positive widths or more, and every halving leaves whole pixels",
                    remedy=f"choose a multiple of {step}",
                )


class Frames(NamedTuple):
    """centre [B, 2] pixels, side [B] pixels, roll [B] radians."""

    centre: Tensor
    side: Tensor
    roll: Tensor

    def photo_from_unit(self, points: Tensor) -> Tensor:
        """[B, ..., 2] in frame units -> pixels of the photograph."""
        shape = (-1, *(1,) * (points.ndim - 2))
        c, s = (self.side * self.roll.cos()).view(shape), (self.side * self.roll.sin()).view(shape)
        x, y = points.unbind(-1)
        turned = torch.stack([c * x - s * y, s * x + c * y], dim=-1)
        return turned + self.centre.view(len(points), *(1,) * (points.ndim - 2), 2)

    def unit_from_photo(self, points: Tensor) -> Tensor:
        """`photo_from_unit` undone."""
        back = Frames(torch.zeros_like(self.centre), 1 / self.side, -self.roll)
        return back.photo_from_unit(points - self.centre.view(len(points), *(1,) * (points.ndim - 2), 2))

    def take(self, index: Tensor) -> Frames:
        """Some of them."""
        return Frames(self.centre[index], self.side[index], self.roll[index])


def frames_of(points: Tensor, mean_shape: Tensor) -> Frames:
    """The similarity that brings the mean shape [K, 2] (frame units) nearest to landmarks [B, K, 2] (pixels)."""
    middle, shape = points.mean(dim=1), mean_shape - mean_shape.mean(dim=0)
    x, y = (points - middle[:, None]).unbind(-1)
    norm = shape.square().sum()
    real = (shape[:, 0] * x + shape[:, 1] * y).sum(-1) / norm
    imaginary = (shape[:, 0] * y - shape[:, 1] * x).sum(-1) / norm
    frames = Frames(middle, torch.hypot(real, imaginary), torch.atan2(imaginary, real))
    return frames._replace(centre=frames.photo_from_unit(-mean_shape.mean(dim=0).expand(len(points), 2)))


def crops_of(images: Tensor, frames: Frames, *, size: int, width: float = 1.0, outside: str = "border") -> Tensor:
    """[B, C, H, W] -> [B, C, size, size]: `width` sides of each frame, upright, bilinear (reduce the picture first
    where a crop has fewer pixels than what it shows). outside: `border` repeats the edge, `zeros` is 0."""
    steps = ((torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size - 0.5) * width
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = frames.photo_from_unit(torch.stack([x, y], dim=-1).expand(len(images), size, size, 2))
    extent = torch.tensor([images.shape[3], images.shape[2]], device=images.device, dtype=images.dtype)
    return F.grid_sample(images, 2 * places / extent - 1, mode="bilinear", padding_mode=outside, align_corners=False)


class _Halve(nn.Module):
    """Half the resolution, then refined with a skip."""

    def __init__(self, fan_in: int, fan_out: int):
        super().__init__()
        self.halve = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(fan_out)
        self.refine = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm2d(fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.halve(x)), SLOPE)
        return x + F.leaky_relu(self.refine_norm(self.refine(x)), SLOPE)


class _Pyramid(nn.Module):
    """[B, 3, S, S] -> what is seen with widths[1], an eighth of the resolution, knowing what all coarser levels saw:
    [B, widths[1], S / 8, S / 8]; and the coarsest level itself."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.enter = nn.Conv2d(3 * PATCH**2 + 2, widths[0], 3, padding=1, bias=False)
        self.enter_norm = nn.BatchNorm2d(widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(_Halve(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs[1:])
        self.mix = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1, bias=False) for a, _ in pairs[1:])
        self.mix_norm = nn.ModuleList(nn.BatchNorm2d(a) for a, _ in pairs[1:])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        patches = F.pixel_unshuffle(image, PATCH)
        x = torch.cat([patches, grid_like(patches)], dim=1)
        x = F.leaky_relu(self.enter_norm(self.enter(x)), SLOPE)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for i in reversed(range(len(self.up))):
            wide = F.interpolate(self.up[i](x), scale_factor=2, mode="nearest")
            x = levels[i] + F.leaky_relu(self.mix_norm[i](self.mix[i](levels[i] + wide)), SLOPE)
        return x, levels[-1]


def grid_like(x: Tensor) -> Tensor:
    """Where each pixel of [B, C, H, W] is: [B, 2, H, W], x then y in [-1, 1]."""
    rows, columns = ((torch.arange(n, device=x.device, dtype=x.dtype) + 0.5) * 2 / n - 1 for n in x.shape[2:])
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x_, y]).expand(len(x), -1, -1, -1)


class Grid(NamedTuple):
    """presence [B, G, G] logits; frames [B, G, G, 5]: centre in pixels of the finder's picture, log of side / size,
    cosine and sine of the roll (their length is free)."""

    presence: Tensor
    frames: Tensor


class Finder(nn.Module):
    """The whole photograph -> where heads are."""

    def __init__(self, config: LandmarkConfig):
        super().__init__()
        self.pyramid = _Pyramid(config.finder_widths)
        self.answer = nn.Conv2d(config.finder_widths[1], 6, 1)

    def forward(self, image: Tensor) -> Grid:
        """[B, 3, S, S] in [-1, 1] -> Grid."""
        answer = self.answer(self.pyramid(image)[0])
        cells = (grid_like(answer) + 1) / 2 * image.shape[-1]  # [B, 2, G, G]
        centre = cells + CELL * answer[:, 1:3]
        return Grid(answer[:, 0], torch.cat([centre, answer[:, 3:]], dim=1).permute(0, 2, 3, 1))


class Points(NamedTuple):
    """points [B, K, 2] in frame units; error [B, K]: how far they may be wrong (mean distance), frame units."""

    points: Tensor
    error: Tensor

    @property
    def confidence(self) -> Tensor:
        """[B, K] the chance of being within SURE, were distances exponentially distributed around `error`."""
        return 1 - torch.exp(-SURE / self.error)


class Pointer(nn.Module):
    """A crop -> landmarks: the mean of each heat map, and a share of what the whole crop says about it."""

    def __init__(self, config: LandmarkConfig):
        super().__init__()
        self.crop = config.crop
        widths = config.pointer_widths
        self.pyramid = _Pyramid(widths)
        self.heat = nn.Conv2d(widths[1], COUNT, 1)
        side = config.crop_size // PATCH // 2 ** (len(widths) - 1)
        self.gather = nn.Linear(widths[-1] * side**2, config.gathered)
        self.whole = nn.Linear(config.gathered, 3 * COUNT)

    def forward(self, image: Tensor) -> Points:
        """[B, 3, S, S] in [-1, 1] -> Points."""
        seen, coarsest = self.pyramid(image)
        heat = self.heat(seen).flatten(2).softmax(dim=-1)  # [B, K, M^2]
        means = heat @ grid_like(seen)[0].flatten(1).T  # [B, K, 2] in [-1, 1]
        gathered = F.leaky_relu(self.gather(coarsest.flatten(1)), SLOPE)
        whole = self.whole(gathered).view(len(image), COUNT, 3)
        error = whole[..., 2].exp() * SURE
        return Points((means + whole[..., :2]) * (self.crop / 2), error.clamp(CLOSEST, WIDEST))


class LandmarkNetwork(nn.Module):
    """Finder and pointer. mean_shape: [K, 2], the average landmarks in frame units."""

    def __init__(self, config: LandmarkConfig):
        super().__init__()
        self.config = config
        self.finder, self.pointer = Finder(config), Pointer(config)
        self.register_buffer("mean_shape", torch.zeros(COUNT, 2))
        self.mean_shape: Tensor


def save_landmark_network(path: Path | str, network: LandmarkNetwork, provenance: dict[str, Any]) -> None:
    """One safetensors file, weights as 16-bit floats."""
    tensors = {name: t.half() if name.endswith("weight") else t for name, t in network.state_dict().items()}
    save_tensors(path, tensors, {"kind": KIND, "config": to_dict(network.config), "provenance": provenance})


class LoadedLandmarks(NamedTuple):
    """The network, ready to use, and where it came from: its recipe and its errors on heads it had not seen."""

    network: LandmarkNetwork
    provenance: dict[str, Any]


def load_landmark_network(path: Path | str = ASSET) -> LoadedLandmarks:
    """`save_landmark_network` undone; by default the network of the package. BadCheckpoint for other files."""
    tensors, header = load_tensors(path)
    try:
        network = LandmarkNetwork(from_dict(LandmarkConfig, header["config"]))
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
        return LoadedLandmarks(network.eval().requires_grad_(False), dict(header["provenance"]))
    except (KeyError, TypeError, RuntimeError, BadConfig) as error:
        raise BadCheckpoint(
            f"{path} holds no landmark network ({str(error).splitlines()[0]})",
            expected="the file that `make landmarks` writes is needed",
            remedy="install gramhd again, or make the file anew",
        ) from error


def start_weights(network: LandmarkNetwork, rng: torch.Generator) -> None:
    """He's start for every matrix, each draw from `rng`; biases of zero; answers begin small."""
    with torch.no_grad():
        for layer in (m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
            if layer.bias is not None:
                layer.bias.zero_()
            deviation = math.sqrt(2 / (1 + SLOPE**2) / layer.weight[0].numel())
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=rng) * deviation)
        for layer in (network.finder.answer, network.pointer.heat, network.pointer.whole):
            layer.weight.mul_(0.1)
