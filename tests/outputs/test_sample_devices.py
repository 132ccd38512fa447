"""Seeds shared among devices: the same files with the same content, named in the same order."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from gramhd_cli import launch
from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram import Gram
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampleRequest

REQUESTS = {
    "image": SampleRequest((3, 1, 2), size=16, depth=True, html=True),
    "rand": SampleRequest((5, 4), view="rand", size=16),
    "grid": SampleRequest((2, 0, 1), view="grid", size=16, alpha=True),
    "epi": SampleRequest((0,), view="epi", size=16, frames=5, save_scene=True),
}
SHARED = """
import json, os, sys
from pathlib import Path
import torch
from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.world import joined

torch.set_num_threads(1)
generator, out = load_generator(sys.argv[1]), Path(sys.argv[2])
with joined("cpu", rank=int(os.environ["RANK"]), size=2, meeting=os.environ["GRAMHD_MEETING"]) as world:
    for name, request in json.loads(sys.argv[3]).items():
        done = sample(generator, SampleRequest(**request), out / name, world=world)
        if world.first:
            (out / f"{name}.json").write_text(json.dumps(done.document()))
"""


@pytest.mark.slow
def test_two_devices_make_the_files_of_one(small_gram: Gram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.safetensors"
    Checkpoint("gram", small_gram.config, dict(small_gram.state_dict()), 0, 0, {}).save(model)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    requests = json.dumps({name: asdict(request) for name, request in REQUESTS.items()})
    assert launch.run_on(2, [sys.executable, "-c", SHARED, str(model), str(tmp_path / "two"), requests]) == 0
    generator, threads = load_generator(str(model)), torch.get_num_threads()
    torch.set_num_threads(1)
    for name, request in REQUESTS.items():
        alone = sample(generator, request, tmp_path / "one" / name).document()
        shared = json.loads((tmp_path / "two" / f"{name}.json").read_text())
        alone_paths, shared_paths = ([file.pop("path") for file in made["files"]] for made in (alone, shared))
        assert [os.path.basename(path) for path in alone_paths] == [os.path.basename(path) for path in shared_paths]
        assert {**json.loads(json.dumps(alone)), "seconds": 0} == {**shared, "seconds": 0}
        for ours, theirs in zip(alone_paths, shared_paths, strict=True):
            assert Path(ours).read_bytes() == Path(theirs).read_bytes(), ours
    torch.set_num_threads(threads)


def test_one_film_cannot_be_shared() -> None:
    request = SampleRequest((0, 1), view="interpolation")
    request.check_devices(1)
    with pytest.raises(BadArgument, match="2 devices were given for --view interpolation"):
        request.check_devices(2)
