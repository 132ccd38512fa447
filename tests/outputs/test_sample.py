"""`sample` on an analytic world: one network pass per identity, honest geometry, stable files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gramhd_core.errors import BadArgument, CannotWrite
from gramhd_core.generators.generator import Latent
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.outputs import trajectories
from gramhd_core.outputs.sample import latent_of_seed, render_shots, sample
from gramhd_core.outputs.sample_request import MOVIES, STILLS, VIEWS, SampleRequest
from gramhd_core.scenes.scene import Rendering

HALF = 0.06  # the card in front: |x|, |y| <= HALF, z = 0, with a white upright line at x = LINE
LINE, LINE_HALF = 0.03, 0.002
WALL, WALL_LINE = -0.12, 0.09  # z of the wall behind it, and x of the white line on that


class Card:
    """A coloured card in front of a grey wall, hit exactly by the rays through the pixel centres."""

    def __init__(self, colour: Tensor, distance: bool = True):
        self.colour, self.has_distance = colour, distance

    def render(self, camera: Camera) -> Rendering:
        half = (torch.arange(camera.width) + 0.5) / camera.width * 2 - 1
        y, x = torch.meshgrid(-half, half, indexing="ij")
        focal = 1 / torch.tan(torch.deg2rad(camera.fov_degrees) / 2)
        local = torch.stack([x, y, torch.zeros_like(x)], dim=-1) - focal[:, None, None, None] * torch.tensor(
            [0, 0, 1.0]
        )
        ray = torch.einsum("nij,nhwj->nhwi", camera.world_from_camera[:, :3, :3], local)
        ray = ray / ray.norm(dim=-1, keepdim=True)  # [N, H, W, 3]
        origin = camera.position[:, None, None]
        to_card, to_wall = -origin[..., 2] / ray[..., 2], (WALL - origin[..., 2]) / ray[..., 2]
        card, wall = origin + to_card[..., None] * ray, origin + to_wall[..., None] * ray
        inside = (card[..., :2].abs() <= HALF).all(dim=-1)
        line = (torch.where(inside, card[..., 0] - LINE, wall[..., 0] - WALL_LINE)).abs() <= LINE_HALF
        rgb = torch.where(inside[..., None], self.colour, torch.full((3,), -0.5))
        rgb = torch.where(line[..., None], torch.ones(3), rgb).permute(0, 3, 1, 2)
        distance = torch.where(inside, to_card, to_wall)[:, None] if self.has_distance else None
        return Rendering(rgb, inside[:, None].float(), distance)


class Cards:
    """A generator of cards whose colour is the first three numbers of the latent. It counts what it is asked for."""

    config, latent_dim, image_size, cameras = None, 16, 64, CameraPrior()

    def __init__(self, distance: bool = True):
        self.distance = distance
        self.views_from: list[Camera | None] = []

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        return Latent(film=truncation * z[:, None, None, :].expand(-1, 1, 2, -1), style=z[:, :0])

    def scene(self, latent: Latent, view_from: Camera | None = None) -> Card:
        assert len(latent) == 1
        self.views_from.append(view_from)
        return Card((0.3 * latent.film[0, 0, 0, :3]).tanh() * 0.8, self.distance)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def sampled(tmp_path: Path, generator: Cards | None = None, **request):
    return sample(generator or Cards(), SampleRequest(**request), tmp_path)


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "interpolation"])
def test_one_scene_per_seed_whatever_the_number_of_views(tmp_path, view):
    cards = Cards()
    done = sampled(tmp_path, cards, seeds=(5, 2), view=view, size=16, frames=None if view == "epi" else 12)
    assert len(cards.views_from) == done.scenes == 2
    assert done.pictures == 2 * {
        "image": 1,
        "rand": 1,
        "multiview1x3": 3,
        "multiview3x7": 21,
        "grid": 5,
        "epi": 129,
    }.get(view, 12)


def test_an_interpolation_takes_one_scene_per_frame(tmp_path):
    done = sampled(tmp_path, seeds=(0, 1, 2), view="interpolation", size=16, frames=4)
    assert done.scenes == done.pictures == 12


@pytest.mark.parametrize("view", ["image", "rand", "multiview1x3"])
def test_the_same_seed_gives_the_same_file_whatever_the_batch(tmp_path, view):
    alone = sampled(tmp_path / "a", seeds=(3,), view=view, size=32)
    together = sampled(tmp_path / "b", seeds=(1, 3, 7), view=view, size=32)
    name = alone.files[0].path.name
    assert alone.files[0].path.read_bytes() == (tmp_path / "b" / name).read_bytes()
    first, second, third = (read(file.path) for file in together.files[:3])
    assert not np.array_equal(first, second) and not np.array_equal(second, third)


def test_views_do_not_depend_on_how_many_are_rendered_at_once(monkeypatch):
    cameras = trajectories.multiview3x7(CameraPrior(), size=16)
    card = Card(torch.zeros(3))
    together = next(render_shots(card, cameras))
    monkeypatch.setattr("gramhd_core.outputs.shots.PIXELS_AT_ONCE", 1)
    single = list(render_shots(card, cameras))
    assert len(together.rgb) == 21 and len(single) == 21
    for part in ("rgb", "alpha", "distance"):
        np.testing.assert_array_equal(np.concatenate([getattr(shot, part) for shot in single]), getattr(together, part))


def test_a_random_view_is_drawn_from_the_prior_and_known_to_the_scene(tmp_path):
    cards = Cards()
    done = sampled(tmp_path, cards, seeds=tuple(range(40)), view="rand", size=8)
    pitch, yaw = np.array([(file.pitch[0], file.yaw[0]) for file in done.files if file.kind == "image"]).T
    assert 0.2 < yaw.std() < 0.4 and 0.1 < pitch.std() < 0.22
    z = np.stack([latent_of_seed(cards, seed, truncation=1.0)[0].film[0, 0, 0].numpy() for seed in range(40)])
    assert abs(np.corrcoef(z[:, 0], pitch)[0, 1]) < 0.5, "the pose is not a part of z"
    np.testing.assert_allclose([float(view.yaw) for view in cards.views_from if view is not None], yaw, atol=1e-5)


def test_other_views_leave_the_colours_fixed(tmp_path):
    cards = Cards()
    sampled(tmp_path, cards, seeds=(0,), view="multiview1x3", size=8)
    assert cards.views_from == [None]


def test_zero_truncation_gives_everybody_the_same_face(tmp_path):
    done = sampled(tmp_path, seeds=(0, 1), truncation=0.0, size=16)
    np.testing.assert_array_equal(read(done.files[0].path), read(done.files[1].path))


def test_every_tile_of_a_multiview_sheet_is_the_card_from_its_camera(tmp_path):
    done = sampled(tmp_path, seeds=(0,), view="multiview3x7", size=32, depth=True, alpha=True)
    picture = done.files[0]
    cameras = Camera.orbit(torch.tensor(picture.pitch), torch.tensor(picture.yaw), size=32)
    colour, depth, alpha = (read(tmp_path / f"seed0000_multiview3x7{part}.png") for part in ("", "_depth", "_alpha"))
    assert colour.shape == (96, 224, 3) and depth.shape == (96, 224) and alpha.shape == (96, 224, 4)
    expected = next(render_shots(Cards().scene(latent_of_seed(Cards(), 0, truncation=0.7)[0]), cameras))
    assert expected.distance is not None
    for view in (0, 9, 20):
        row, column = divmod(view, 7)
        tile = slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32)
        differing = (colour[tile] != expected.rgb[view]).any(axis=-1)
        assert differing.mean() < 0.01, "up to pixels on an edge (angles are rounded in the record)"
        np.testing.assert_array_equal(alpha[tile][..., :3], colour[tile])
        assert set(np.unique(alpha[tile][..., 3])) == {0, 255}
        same = ~differing
        np.testing.assert_allclose(depth[tile][same] / 32768, expected.distance[view][same], atol=5e-5)


def test_depth_preview_is_lighter_on_the_card_than_on_the_wall(tmp_path):
    done = sampled(tmp_path, seeds=(0,), size=32, depth=True)
    preview = {file.kind: file for file in done.files}["depth_preview"]
    colours = read(preview.path).astype(int).sum(axis=-1)
    assert colours[16, 16] > 600 and colours[0, 0] < 120
    assert preview.near is not None and preview.far is not None
    assert 1 <= preview.near < preview.far < 1.01, "the range of the card"


@pytest.mark.slow
def test_trails_of_an_epi_strip_follow_the_geometry(tmp_path):
    done = sampled(tmp_path, seeds=(0,), view="epi", size=256)
    picture = read(done.files[0].path)
    strip = picture[-129:, 14:-14]
    cameras = trajectories.epi(CameraPrior(), size=256)
    for x, z, least_motion in ((LINE, 0.0, 1), (WALL_LINE, WALL, 15)):
        predicted = cameras.project(torch.tensor([x, 0.0, z]).expand(129, 1, 3))[:, 0, 0].numpy()
        visible = [view for view in range(129) if z == 0 or _shows_wall(cameras[view], predicted[view])]
        assert len(visible) > 50 and np.ptp(predicted[visible]) > least_motion
        for view in visible:
            white = np.flatnonzero((strip[view] == 255).all(axis=-1))
            near = white[np.abs(white + 0.5 - predicted[view]) < 6]
            assert abs(near.mean() + 0.5 - predicted[view]) < 0.75, (z, view)


def _shows_wall(camera: Camera, column: float) -> bool:
    """Is the wall visible at this column, clear of the card's edges?"""
    corners = torch.tensor([[-HALF, 0.0, 0.0], [HALF, 0.0, 0.0]])[None]
    left, right = camera.project(corners)[0, :, 0].tolist()
    return 6 < column < 250 and not left - 6 < column < right + 6


def test_the_epi_line_is_chosen_as_a_fraction_of_the_height(tmp_path):
    done = sampled(tmp_path, seeds=(0,), view="epi", size=64, frames=5, epi_line=0.01)
    strip = read(done.files[0].path)[-5:, 14:-14]
    assert set(np.unique(strip)) <= {64, 255}, "above the card there is wall only"


def test_a_grid_has_one_row_per_seed_and_one_column_per_yaw(tmp_path):
    done = sampled(tmp_path, seeds=(4, 9), view="grid", size=16)
    grid = read(tmp_path / "grid.png")
    assert grid.shape == (32, 80, 3)
    assert done.files[0].seeds == (4, 9) and len(done.files[0].yaw) == 10
    front = sampled(tmp_path, seeds=(4, 9), size=16)
    for row in range(2):
        np.testing.assert_array_equal(grid[16 * row : 16 * row + 16, 32:48], read(front.files[row].path))


def test_several_single_pictures_come_with_a_contact_sheet_and_one_does_not(tmp_path):
    many = sampled(tmp_path / "many", seeds=(0, 1, 2), size=16)
    assert [file.path.name for file in many.files] == ["seed0000.png", "seed0001.png", "seed0002.png", "sheet.png"]
    assert (many.files[-1].kind, many.files[-1].seeds) == ("contact_sheet", (0, 1, 2))
    one = sampled(tmp_path / "one", seeds=(0,), size=16)
    assert [file.path.name for file in one.files] == ["seed0000.png"]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "frames"), [("orbit", 24), ("pingpong", 60), ("still", 3)])
def test_videos_have_the_frames_that_were_asked_for_and_their_depth(tmp_path, path, frames):
    av = pytest.importorskip("av", reason="videos need PyAV")
    done = sampled(tmp_path, seeds=(0,), view="video", camera_path=path, frames=frames, fps=24, size=32, depth=True)
    assert [file.kind for file in done.files] == ["video", "depth_video"]
    for file in done.files:
        with av.open(str(file.path)) as container:
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(shown) == frames == len(file.yaw) and shown[0].shape == (256, 256, 3)


@pytest.mark.slow
def test_the_orbit_video_closes_its_loop(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    done = sampled(tmp_path, seeds=(0,), view="video", size=256)
    with av.open(str(done.files[0].path)) as container:
        shown = np.stack([frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)])
    change = np.abs(shown - np.roll(shown, -1, axis=0)).mean(axis=(1, 2, 3))
    assert len(shown) == 60 and change.max() > 0.5, "it moves"
    assert change[-1] < 1.1 * change[:-1].max(), "from the last frame to the first no more than elsewhere"


def test_an_interpolation_passes_through_its_seeds_and_returns(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    done = sampled(tmp_path, seeds=(1, 2), view="interpolation", camera_path="still", frames=6, size=256)
    assert done.files[0].path.name == "interpolation.mp4"
    with av.open(str(done.files[0].path)) as container:
        shown = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    stills = [read(file.path).astype(float) for file in sampled(tmp_path, seeds=(1, 2), size=256).files[:2]]
    assert len(shown) == 12
    assert np.abs(shown[0] - stills[0]).mean() < 3 and np.abs(shown[6] - stills[1]).mean() < 3
    change = [np.abs(shown[i] - shown[i - 1]).mean() for i in range(12)]
    assert change[0] <= max(change[1:]) and change[1] < change[3], "it slows down at a seed"


def test_the_document_names_every_file_that_exists_and_is_json(tmp_path):
    done = sampled(tmp_path, seeds=(0, 1), view="rand", depth=True, alpha=True, size=16)
    document = json.loads(json.dumps(done.document()))
    assert sorted(file["path"] for file in document["files"]) == sorted(str(path) for path in tmp_path.iterdir())
    assert (document["view"], document["scenes"], document["size"], document["seeds"]) == ("rand", 2, 16, [0, 1])
    assert {file["kind"] for file in document["files"]} == {"image", "alpha", "depth", "depth_preview", "contact_sheet"}


def test_the_size_defaults_to_that_of_training(tmp_path):
    assert read(sampled(tmp_path, seeds=(0,)).files[0].path).shape == (64, 64, 3)


def test_old_files_are_replaced(tmp_path):
    (tmp_path / "seed0000.png").write_text("old")
    assert read(sampled(tmp_path, seeds=(0,), size=16).files[0].path).shape == (16, 16, 3)
    assert len(list(tmp_path.iterdir())) == 1


def test_progress_counts_every_view_and_ends_even_after_a_failure(tmp_path):
    class Tally:
        total = done = finished = 0

        def start(self, title: str, total: int, *, done: int = 0) -> None:
            self.total = total

        def advance(self, steps: int = 1, note: str = "") -> None:
            self.done += steps

        def say(self, line: str) -> None: ...

        def finish(self) -> None:
            self.finished += 1

    for view in VIEWS:
        tally = Tally()
        sample(Cards(), SampleRequest(seeds=(0, 1), view=view, size=8, frames=4), tmp_path, progress=tally)
        assert tally.total == tally.done > 0 and tally.finished == 1, view
    tally = Tally()
    with pytest.raises(BadArgument):
        sample(Cards(distance=False), SampleRequest(seeds=(0,), depth=True), tmp_path, progress=tally)
    assert tally.finished == 1


def test_no_gradient_is_kept(tmp_path):
    class Learning(Cards):
        def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
            assert not torch.is_grad_enabled()
            return super().latent(z, truncation)

    sampled(tmp_path, Learning(), seeds=(0,), size=8)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"view": "multiveiw3x7"}, "the view is `multiveiw3x7`.*did you mean `multiview3x7`"),
        ({"view": "video", "camera_path": "orbti"}, "did you mean `orbit`"),
        ({"size": 7}, "the size is 7 pixels.*8 to 4096"),
        ({"seeds": ()}, "no seed"),
        ({"seeds": (-1,)}, "the seed is -1"),
        ({"seeds": (2**63,)}, "seeds are whole numbers"),
        ({"truncation": 1.5}, "the truncation is 1.5"),
        ({"truncation": float("nan")}, "the truncation is nan"),
        ({"frames": 1}, "1 frames"),
        ({"fps": 0}, "the frame rate is 0"),
        ({"epi_line": 1.2}, "the line is at 1.2"),
        ({"view": "interpolation"}, "one seed was given"),
        ({"view": "interpolation", "seeds": (3, 3)}, "one seed was given"),
        ({"view": "video", "alpha": True}, "--alpha was asked for with --view video"),
        ({"view": "epi", "depth": True}, "--depth was asked for with --view epi"),
        (
            {"view": "interpolation", "seeds": (0, 1), "save_scene": True},
            "--save-scene was asked for with --view",
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(request_, sentence):
    with pytest.raises(BadArgument, match=sentence) as caught:
        SampleRequest(**({"seeds": (0,)} | request_))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_grid_too_large_for_a_picture_is_refused_before_any_work(tmp_path):
    cards = Cards()
    with pytest.raises(BadArgument, match="at most 25 rows"):
        sampled(tmp_path, cards, seeds=tuple(range(26)), view="grid", size=1024)
    assert not cards.views_from


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    cards = Cards()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite):
        sampled(tmp_path / "file", cards, seeds=(0,))
    assert not cards.views_from


def test_every_view_is_a_still_a_strip_or_a_movie():
    assert set(VIEWS) == {*STILLS, "epi", *MOVIES}


def test_the_command_line_offers_exactly_what_the_library_makes():
    from gramhd_cli import sample as command

    assert command.VIEWS == VIEWS and tuple(trajectories.PATHS) == command.PATHS


def test_the_command_prints_its_document_and_nothing_else(monkeypatch, tmp_path, capsys):
    from gramhd_cli.app import run

    monkeypatch.setattr("gramhd_core.checkpoints.checkpoint.load_generator", lambda ckpt, *, device: Cards())
    arguments = ["sample", "--ckpt", "x", "--seeds", "0,3-4", "--view", "multiview1x3", "--out", str(tmp_path)]
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["seeds"], document["scenes"], document["pictures"]) == ([0, 3, 4], 3, 9)
    assert run(arguments) == 0
    assert capsys.readouterr().out.split() == [file["path"] for file in document["files"]]


@pytest.mark.parametrize("bad", [["--view", "vidoe"], ["--size", "7"], ["--trunc", "2"], ["--seeds", "3-"]])
def test_the_command_refuses_in_one_sentence_with_exit_code_2(tmp_path, capsys, bad):
    from gramhd_cli.app import run

    assert run(["sample", "--ckpt", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *bad]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and bad[1] in output.err
