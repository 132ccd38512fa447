"""The GPU kernel draws what the readable path draws.

With a GPU the cases run there; without one they run in triton's interpreter, in one process of their own (this file as
a program), because triton must be told before it is imported. Without triton everything here is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from gramhd_core.geometry.camera import Camera
from gramhd_core.scenes import fast_gpu
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.surfaces import HeightFields
from gramhd_core.scenes.views import RenderConvention

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: pip install triton")
pytestmark = pytest.mark.slow  # the interpreter is: half a second a picture


class Case(NamedTuple):
    """One picture to take both ways; poison: words of the prepared maps to be overwritten with not-a-number."""

    scene: RadianceManifolds
    camera: Camera
    precision: fast_gpu.Precision = "float32"
    tile: int = 32
    poison: tuple = ()


def surfaces(levels: int = 3, *, waves: float = 20) -> HeightFields:
    """Nested wavy surfaces from the front of the slab to its back."""
    a = torch.linspace(-0.126, 0.126, 40)
    y, x = torch.meshgrid(a, a, indexing="ij")
    front = torch.linspace(0.07, -0.11, levels).reshape(-1, 1, 1)
    return HeightFields(front + 0.012 * torch.sin(waves * x + 11 * y + 1) - 1.5 * (x * x + y * y), 0.126, 0.12)


def scene(
    identities: int = 1, levels: int = 3, *, size: int = 20, convention: RenderConvention = RenderConvention()
) -> RadianceManifolds:
    """Random maps; every layer hides some of what is behind it."""
    rng = torch.Generator().manual_seed(levels)
    maps = torch.rand(identities, levels, 4, size, size, generator=rng)
    background = torch.rand(identities, 3, size, size, generator=rng)
    return RadianceManifolds(surfaces(levels), maps, background, 0.1, -0.12, convention)


def with_alpha(made: RadianceManifolds, keep: Callable[[torch.Tensor], object]) -> RadianceManifolds:
    """The scene after `keep` has changed its alpha [N, L, M, M] in place."""
    keep(made.maps[:, :, 3])
    return made


def left_fifth(alpha: torch.Tensor) -> None:
    alpha[..., alpha.shape[-1] // 5 :] = 0


FRONT = Camera.orbit(0.1, 0.2, size=24)
SMALL = FRONT.with_size(16)
PAIR = Camera.orbit(torch.tensor([0.2, -0.1]), torch.tensor([-0.5, 0.3]), size=24)
CUT = RenderConvention(edge="cut", pixel_sampling="endpoints", depth="sum")
CASES: dict[str, Callable[[], Case]] = {
    "random maps": lambda: Case(scene(), FRONT),
    "half floats": lambda: Case(scene(), FRONT, "float16"),
    "8 bits": lambda: Case(scene(), FRONT, "uint8"),
    "cut edges, published pixels, summed depth": lambda: Case(scene(convention=CUT), FRONT),
    "two identities with a camera each": lambda: Case(scene(2), PAIR),
    "one identity seen by two cameras": lambda: Case(scene(), PAIR),
    "a steep camera": lambda: Case(scene(), Camera.orbit(-0.5, 1.0, size=24)),
    "waves that rays may cross twice": lambda: Case(
        replace(scene(), surfaces=surfaces(waves=50)), Camera.orbit(0.1, 0.8, size=24)
    ),
    "a wide lens, past the mirrored background": lambda: Case(scene(), Camera.orbit(0.0, 0.1, fov_degrees=60, size=24)),
    "an empty scene": lambda: Case(with_alpha(scene(), lambda a: a.zero_()), FRONT),
    "an opaque front": lambda: Case(with_alpha(scene(), lambda a: a[:, 0].fill_(1)), FRONT),
    "a single layer": lambda: Case(scene(levels=1), FRONT),
    "many layers": lambda: Case(scene(levels=24), FRONT, "float16"),
    "tiles that reach over the border": lambda: Case(scene(levels=1), replace(FRONT, height=5, width=11), tile=8),
    "one pixel": lambda: Case(scene(), Camera.orbit(0.0, 0.1, size=1)),
    "filled texels in a few tiles only": lambda: Case(with_alpha(scene(levels=2, size=64), left_fifth), SMALL, tile=8),
    "an empty layer that is poisoned": lambda: Case(
        with_alpha(scene(), lambda a: a[:, 1].zero_()), FRONT, poison=(slice(None), 1)
    ),
    "layers behind an opaque front that are poisoned": lambda: Case(
        with_alpha(scene(), lambda a: a[:, 0].fill_(1)), replace(SMALL, fov_degrees=torch.tensor([6.0])), tile=8,
        poison=(slice(None), slice(1, None)),
    ),
    "poisoned texels far from the only filled ones": lambda: Case(
        with_alpha(scene(size=64), left_fifth), SMALL, tile=8, poison=(..., slice(54, 66), slice(None))
    ),
}  # fmt: skip


def errors(case: Case, device: str) -> dict[str, float]:
    """Greatest differences between kernel and readable path, and how opaque the picture is."""
    fields = case.scene.surfaces
    assert isinstance(fields, HeightFields)
    here = replace(
        case.scene,
        surfaces=replace(fields, z=fields.z.to(device)),
        maps=case.scene.maps.to(device),
        background=case.scene.background.to(device),
    )
    tracked = replace(fields, z=fields.z.clone().requires_grad_())  # the readable path, whatever else there is
    readable = replace(case.scene, surfaces=tracked).render(case.camera)
    assert readable.distance is not None and fast_gpu.supports(here)
    prepared = fast_gpu.prepare(here, case.precision)
    if case.poison:
        prepared.texels[case.poison] = -1
    fast = fast_gpu.render_prepared(prepared, case.camera, tile=case.tile)
    assert fast.distance is not None
    pairs = {
        "rgb": (fast.rgb, readable.rgb),
        "alpha": (fast.alpha, readable.alpha),
        "distance": (fast.distance, readable.distance),
    }
    found = {name: float((a.cpu() - b.detach()).abs().max()) for name, (a, b) in pairs.items()}
    return {**found, "opacity": float(readable.alpha.detach().mean())}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """All cases, on the GPU or in the interpreter."""
    if torch.cuda.is_available():
        return {name: errors(case(), "cuda") for name, case in CASES.items()}
    return json.loads(fresh_process("errors", TRITON_INTERPRET="1"))


def fresh_process(job: str, **environment: str) -> str:
    """What this file prints as a program."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, __file__, job],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def compiled(precision: str, ones: tuple[str, ...]) -> bytes:
    """Machine code of the kernel for an H100 or H200; triton treats arguments that are 1 as known."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gramhd_core.scenes.fast_gpu_kernel import picture

    words = "*i32" if precision == "uint8" else "*i64"
    numbers = ("step", "start", "half_width", "slab", "background_z")
    known = {"FADE": 0.1, "MEAN": True, "KIND": precision, "LEVELS": 32, "TILE": 8, "DEPTH": 6, "STEPS": 24}
    known |= dict.fromkeys(ones, 1)
    types = dict.fromkeys(("rgb", "alpha", "distance", "pose", "fov_degrees", "heights", "pyramids", "ends"), "*fp32")
    types |= {"texels": words, "background": words, "occupied": "*i32"}
    types |= {name: "fp32" for name in picture.arg_names if name.endswith(numbers)}
    signature = {name: "constexpr" if name in known else types.get(name, "i32") for name in picture.arg_names}
    source = ASTSource(picture, signature, constexprs=known)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["cubin"]


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_draws_the_readable_picture(name: str, measured: dict[str, dict[str, float]]) -> None:
    found = measured[name]
    if CASES[name]().precision == "uint8":  # half a step of colour, half a step of alpha
        assert found["rgb"] <= 2 / 255 and found["alpha"] < 1 / 255
    else:
        assert found["rgb"] < 1e-3 and found["alpha"] < 1e-4 and found["distance"] < 1e-5


@needs_triton
def test_the_kernel_compiles_for_a_gpu_that_is_not_there() -> None:
    """The interpreter is Python and allows more than the compiler."""
    assert json.loads(fresh_process("compile")) > 10_000


@needs_triton
def test_float32_maps_lose_nothing(measured: dict[str, dict[str, float]]) -> None:
    assert measured["random maps"]["rgb"] < 5e-5 < measured["half floats"]["rgb"] < measured["8 bits"]["rgb"]


@needs_triton
def test_the_cases_show_something(measured: dict[str, dict[str, float]]) -> None:
    opacity = {name: found["opacity"] for name, found in measured.items()}
    assert opacity.pop("an empty scene") == 0 and min(opacity.values()) > 0.02


@pytest.mark.parametrize(
    "other",
    [
        {"surfaces": replace(surfaces(), z=surfaces().z.flip(0))},
        {"convention": RenderConvention(hits="upsampled")},
        {"surfaces": surfaces(65), "maps": torch.zeros(1, 65, 4, 2, 2)},
        {},
    ],
    ids=["not nested", "upsampled hits", "too many levels", "no GPU"],
)
def test_other_scenes_are_left_to_the_readable_path(other: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    if other:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    else:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not fast_gpu.supports(replace(scene(), **other))


def test_machines_without_triton_can_ask() -> None:
    code = "import sys, gramhd_core.scenes.fast_gpu; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


if __name__ == "__main__":
    if sys.argv[1] == "compile":
        json.dump(len(compiled("float16", ("own_maps",))), sys.stdout)
    else:
        json.dump({name: errors(case(), "cpu") for name, case in CASES.items()}, sys.stdout)
