"""What a view of a finished scene costs: the compiled twin, and the readable one beside it.

    python benchmarks/bench_render.py [--ckpt RUN|FILE] [--seed 0] [--maps 1024] [--sizes 256 512 1024] [--repeats 5]

The scene is a procedural head on 24 surfaces with 1024-square maps, or a seed of --ckpt; either is saved and loaded,
as a user's would be. Five views over the range of training cameras; the best of the repeats of each counts (one repeat
of the readable twin), and both twins take turns. Prints one JSON line, per size: "fps" (mean over the views, and of the
slowest), "seconds" of a view, "readable_seconds", their "ratio", the largest differences of the twins (of rgb in
[-1, 1]; of distances, for 99.9 % of the pixels); "prepare_seconds", once per scene; "peak_mb" of a process that loads
the scene, and of one that also renders it at each size. On a GPU frames are queued, then waited for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import peak_mb, report

from gramhd_cli import allocator

allocator.install()  # as the program does, before torch is loaded

import torch  # noqa: E402

from gramhd_core.checkpoints.checkpoint import load_generator  # noqa: E402
from gramhd_core.data.head_identity import HeadIdentity  # noqa: E402
from gramhd_core.geometry.camera import Camera  # noqa: E402
from gramhd_core.outputs.shots import latent_of_seed  # noqa: E402
from gramhd_core.scenes.head_manifolds import head_manifolds  # noqa: E402
from gramhd_core.scenes.manifolds import RadianceManifolds, Twin  # noqa: E402

PITCH, YAW = (0.0, 0.2, 0.0, -0.2, 0.0), (-0.4, -0.2, 0.0, 0.2, 0.4)  # within the views of multiview3x7


def save_scene(path: Path, *, ckpt: str | None, seed: int, levels: int, maps: int) -> None:
    """The scene that is looked at."""
    if ckpt is None:
        head_manifolds(HeadIdentity.from_seed(seed), levels=levels, size=maps).save(path)
        return
    generator = load_generator(ckpt)
    scene = generator.scene(latent_of_seed(generator, seed, truncation=0.7)[0])
    if not isinstance(scene, RadianceManifolds):
        raise SystemExit(f"{ckpt} makes no radiance manifolds")
    scene.save(path)


def seconds(scene: RadianceManifolds, camera: Camera, twin: Twin, *, frames: int) -> float:
    """Of one frame."""
    started = time.perf_counter()
    for _ in range(frames):
        scene.render(camera, twin=twin)
    if scene.maps.is_cuda:
        torch.cuda.synchronize(scene.maps.device)
    return (time.perf_counter() - started) / frames


def measure(scene: RadianceManifolds, size: int, *, repeats: int) -> dict[str, Any]:
    """Both twins at one size."""
    cameras = Camera.orbit(torch.tensor(PITCH), torch.tensor(YAW), size=size).to(scene.maps.device)
    frames = 50 if scene.maps.is_cuda else 1
    fast, readable, rgb, distance = [], [], 0.0, 0.0
    for camera in (cameras[i] for i in range(len(cameras))):
        times = [seconds(scene, camera, "auto", frames=frames) for _ in range(repeats)]
        readable.append(seconds(scene, camera, "readable", frames=1))
        times += [seconds(scene, camera, "auto", frames=frames) for _ in range(repeats)]
        fast.append(min(times))
        a, b = scene.render(camera), scene.render(camera, twin="readable")
        assert a.distance is not None and b.distance is not None
        rgb = max(rgb, float((a.rgb - b.rgb).abs().max()))
        apart = (a.distance - b.distance).abs().flatten()
        distance = max(distance, float(apart.kthvalue(int(0.999 * (len(apart) - 1)) + 1).values))
    mean, plain = sum(fast) / len(fast), sum(readable) / len(readable)
    return {
        "fps": round(1 / mean, 1),
        "slowest_fps": round(1 / max(fast), 1),
        "seconds": round(mean, 5),
        "readable_seconds": round(plain, 4),
        "ratio": round(plain / mean, 1),
        "rgb_difference": float(f"{rgb:.1e}"),
        "distance_difference": float(f"{distance:.1e}"),
    }


def peak(path: Path, sizes: list[int], device: str) -> float:
    """MB that a process of its own needs for one view at each of the sizes."""
    command = [sys.executable, __file__, "--peak", str(path), "--device", device, "--sizes", *map(str, sizes)]
    return round(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


@torch.no_grad()
def print_peak(path: Path, sizes: list[int], device: str) -> None:
    """What such a process does."""
    scene = RadianceManifolds.load(path, device=device)
    for size in sizes:
        scene.render(Camera.orbit(0.0, 0.4, size=size).to(device))
    print(torch.cuda.max_memory_allocated() / 1e6 if device.startswith("cuda") else peak_mb())


@torch.no_grad()
def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.scene.safetensors"
        save_scene(path, ckpt=options.ckpt, seed=options.seed, levels=options.levels, maps=options.maps)
        sizes = [int(size) for size in options.sizes]
        memory = {"loaded": peak(path, [], options.device)}
        memory |= {str(size): peak(path, [size], options.device) for size in sizes}
        scene = RadianceManifolds.load(path, device=options.device)
        tiny = Camera.orbit(0.0, 0.0, size=8).to(options.device)
        seconds(RadianceManifolds.load(path, device=options.device), tiny, "auto", frames=1)  # compiles what is not yet
        prepared = seconds(scene, tiny, "auto", frames=1)
        found = {str(size): measure(scene, size, repeats=options.repeats) for size in sizes}
    report(
        benchmark="render",
        scene=options.ckpt or "procedural head",
        seed=options.seed,
        device=options.device,
        surfaces=scene.maps.shape[1],
        maps=scene.maps.shape[-1],
        **{name: {size: one[name] for size, one in found.items()} for name in found[str(sizes[0])]},
        prepare_seconds=round(prepared, 3),
        peak_mb=memory,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", type=int, default=24, help="of the procedural head")
    parser.add_argument("--maps", type=int, default=1024, help="side of the maps of the procedural head")
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print_peak(given.peak, given.sizes, given.device)
    else:
        main(given)
