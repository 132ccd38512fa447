"""Reading a data set: random access, labels, mirrored pairs, and the endless shuffled batches that training sees.

    gramhd prep-data --procedural 64 --size 64 --out heads
    python examples/02_read_a_dataset.py heads OUT

Folders and uncompressed zips with an EG3D `dataset.json` are read alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from gramhd_core.data.dataset import BatchStream, DatasetReader
from gramhd_core.outputs.images import contact_sheet, save_png, thumbnail


def main(data: Path, out: Path) -> None:
    reader = DatasetReader(data, mirror=True)
    print(f"{reader.stored} images of {reader.resolution} pixels, {len(reader)} items with their mirror images")
    print(f"fingerprint {reader.fingerprint}: the same in a folder and in a zip")

    first, mirrored = reader[0], reader[reader.stored]  # item n + i is item i mirrored, camera and all
    assert torch.equal(first.image.flip(-1), mirrored.image) and first.yaw == -mirrored.yaw
    pitch, yaw = reader.angles.T
    print(f"pitch {pitch.mean():+.3f} +- {pitch.std():.3f} rad, yaw {yaw.mean():+.3f} +- {yaw.std():.3f} rad")

    chosen = [reader[i] for i in range(min(6, reader.stored))]
    tiles = [thumbnail(sample.image.permute(1, 2, 0).numpy()) for sample in chosen]
    save_png(out / "first.png", contact_sheet(tiles, [f"yaw {sample.yaw:+.2f}" for sample in chosen]))
    print(out / "first.png")

    stream = BatchStream(reader, batch=4, seed=0)  # a pure function of (data set, batch, seed, position)
    third = [next(stream) for _ in range(3)][-1]
    stream.seek(8)  # go on after two batches, as a resumed training does
    assert torch.equal(next(stream).images, third.images)
    stream.close()
    print(f"a batch: images {tuple(third.images.shape)} {third.images.dtype}, yaw {third.yaw.numpy().round(2)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.data, arguments.out)
