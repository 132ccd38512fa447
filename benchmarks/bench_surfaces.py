"""How exactly height fields stand for the surfaces of a predictor, and what tabulating them costs.

    python benchmarks/bench_surfaces.py [gramhd256-ffhq|demo|...] [--ckpt RUN|FILE] [--seed 0] [--size 24]

The predictor is that of a configuration with random weights, or of --ckpt. Hits of the rays of four cameras (up to yaw
0.6) are compared with roots found by looking at 1440 places of each ray and halving, in float64. Compared are hits
valid in both; rays that cross a level more than once are counted ("folded_rays") and compared with their first crossing
too. Prints one JSON line: mean, 99.9 % quantile and largest error in world units, of all and of hits on slopes below
1/2; "seconds" to tabulate (a network per node, once per model), and the "ratio" of that to 128 x 128 nodes.
"""

from __future__ import annotations

import argparse
import copy
import time

from report import report

from gramhd_cli import allocator

allocator.install()  # as the program does, before torch is loaded

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from gramhd_core.checkpoints.checkpoint import load_generator  # noqa: E402
from gramhd_core.generators import PUBLISHED  # noqa: E402
from gramhd_core.generators.gram import Gram, GramConfig  # noqa: E402
from gramhd_core.generators.gram_hd import GramHd  # noqa: E402
from gramhd_core.geometry.camera import Camera  # noqa: E402
from gramhd_core.geometry.rays import Rays, camera_rays  # noqa: E402
from gramhd_core.networks.predictors import MlpPredictor, SpherePredictor, build_predictor  # noqa: E402
from gramhd_core.scenes.surfaces import GRID, HeightFields, tabulate  # noqa: E402
from gramhd_core.training.presets import PRESETS  # noqa: E402

CONFIGS = {name: run.generator for (name, _), run in PRESETS.items()} | PUBLISHED
PITCH, YAW = (0.0, 0.2, -0.3, 0.0), (0.0, 0.4, -0.6, 0.6)
LOOKS, HALVINGS, EDGE = 1440, 30, 1e-4  # EDGE: hits so near the end of the slab are valid or not by rounding


def gram_config(options: argparse.Namespace) -> GramConfig:
    """The configuration of the stage that has the predictor."""
    config = CONFIGS[options.preset]
    return config if isinstance(config, GramConfig) else config.low


def predictor_of(options: argparse.Namespace) -> tuple[MlpPredictor | SpherePredictor, float]:
    """The predictor, and half the width of the maps on its surfaces."""
    if options.ckpt is None:
        config = gram_config(options)
        torch.manual_seed(options.seed)
        return build_predictor(config.manifolds), config.half_width
    generator = load_generator(options.ckpt)
    low = generator.low if isinstance(generator, GramHd) else generator
    assert isinstance(low, Gram)
    return low.predictor, low.config.half_width


def dense_roots(predictor: MlpPredictor | SpherePredictor, rays: Rays) -> tuple[Tensor, Tensor]:
    """[R, L] distances of first crossings and how many there are, float64."""
    exact = copy.deepcopy(predictor).double()
    origins, directions = rays.origins[0].double(), rays.directions[0].double()
    at = torch.linspace(0.84, 1.2, LOOKS, dtype=torch.double)
    steps = zip(origins.split(32), directions.split(32), strict=True)
    values = torch.cat([exact(o[:, None] + at[:, None] * d[:, None]) for o, d in steps])
    roots, counts = [], []
    for level in predictor.config.levels(like=at):
        falls = (values[:, :-1] >= level) & (values[:, 1:] < level)
        k = falls.to(torch.uint8).argmax(dim=1)
        near, far = at[k], at[k + 1]
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            before = exact(origins + middle[:, None] * directions) >= level
            near, far = torch.where(before, middle, near), torch.where(before, far, middle)
        roots.append(near)
        counts.append(falls.sum(dim=1))
    return torch.stack(roots, dim=1), torch.stack(counts, dim=1)


def slopes(fields: HeightFields, points: Tensor) -> Tensor:
    """[R, L] steepness of the surfaces at points [R, L, 3]."""
    step = 2 * fields.half_width / (fields.z.shape[-1] - 1)
    steep = torch.stack(torch.gradient(fields.z, spacing=step, dim=(1, 2))).norm(dim=0)
    node = ((points[..., :2] + fields.half_width) / step).round().long().clamp(0, fields.z.shape[-1] - 1)
    return steep[torch.arange(len(fields.z)), node[..., 1], node[..., 0]]


def timed(predictor: MlpPredictor | SpherePredictor, half_width: float, size: int) -> tuple[HeightFields, float]:
    """Height fields and the seconds they take."""
    started = time.perf_counter()
    fields = tabulate(predictor, half_width=half_width, size=size, like=torch.zeros(1))
    return fields, time.perf_counter() - started


@torch.no_grad()
def main(options: argparse.Namespace) -> None:
    predictor, half_width = predictor_of(options)
    predictor.requires_grad_(False)
    timed(predictor, half_width, 64)  # what torch does on first use belongs to nobody
    fields, seconds = timed(predictor, half_width, options.grid)
    _, coarse = timed(predictor, half_width, 128)
    errors, steep, crossed = [], [], []
    for pitch, yaw in zip(PITCH, YAW, strict=True):
        rays = camera_rays(Camera.orbit(pitch, yaw, size=options.size))
        hits = fields.hits(rays)
        roots, count = dense_roots(predictor, rays)
        points = rays.origins[0, :, None].double() + roots[..., None] * rays.directions[0, :, None].double()
        inside = (points[..., :2].abs().amax(dim=-1) < half_width) & (points[..., 2].abs() < fields.slab - EDGE)
        valid = hits.valid[0] & inside & (count > 0)
        errors.append((hits.distance[0] - roots).abs()[valid])
        steep.append(slopes(fields, points)[valid])
        crossed.append((count > 1)[valid])
    error, slope = torch.cat(errors), torch.cat(steep)
    report(
        benchmark="surfaces",
        predictor=options.ckpt or options.preset,
        kind=type(predictor).__name__,
        grid=options.grid,
        compared=len(error),
        errors={"all": summary(error), "slopes below 1/2": summary(error[slope < 0.5])},
        folded_rays=float(f"{torch.cat(crossed).float().mean():.2g}"),
        folded_columns=float(f"{fields.folded:.2g}"),
        seconds=round(seconds, 3),
        ratio=round(seconds / coarse, 2),
    )


def summary(error: Tensor) -> dict[str, float]:
    """World units."""
    ordered = error.sort().values
    found = {"mean": error.mean(), "p99.9": ordered[int(0.999 * (len(error) - 1))], "max": ordered[-1]}
    return {name: float(f"{value:.2g}") for name, value in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="gramhd256-ffhq", choices=sorted(CONFIGS))
    parser.add_argument("--ckpt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=24, help="rays are size x size per camera")
    parser.add_argument("--grid", type=int, default=GRID)
    main(parser.parse_args())
