"""Photographs into latents and weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SMALL_HIGH, thicken

from gramhd_core.checkpoints.saved_latent import PhotoCamera, latent_space
from gramhd_core.checkpoints.training_state import save_state
from gramhd_core.configs import to_dict
from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.discriminators import Discriminator, DiscriminatorConfig
from gramhd_core.outputs.inversion import stages
from gramhd_core.outputs.inversion.losses import find_features, perceptual, pixels
from gramhd_core.outputs.inversion.photo_camera import camera_of, degrees_between, photo_camera, pose_of
from gramhd_core.outputs.inversion.scores import psnr
from gramhd_core.outputs.inversion.spaces import spaces_of
from gramhd_core.outputs.inversion.start import Candidates, draft_scene, search
from gramhd_core.outputs.inversion.tuning import guard_of, tune, tuned_names

QUICK = stages.InversionConfig(
    seeds=6,
    candidates=2,
    draft_steps=8,
    draft_size=16,
    w_steps=25,
    plus_draft_steps=5,
    plus_steps=25,
    tune_steps=20,
    map_steps=20,
    perceptual=0.0,
)


def photo_of(generator: GramHd, *, seed: int, camera: PhotoCamera) -> torch.Tensor:
    z = torch.randn(1, generator.latent_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        scene = generator.scene(generator.latent(z))
        return scene.render(camera_of(pose_of(camera), generator.cameras, size=generator.image_size)).rgb


@pytest.fixture
def frozen() -> GramHd:
    """Stage 2 on spheres, which rays meet without searching; super-resolution adds a little, as a trained one does."""
    torch.manual_seed(0)
    manifolds = replace(SMALL_HIGH.low.manifolds, predictor="spheres")
    low, sr = replace(SMALL_HIGH.low, manifolds=manifolds), replace(SMALL_HIGH.sr, start="residual")
    generator = GramHd(replace(SMALL_HIGH, low=low, sr=sr))
    thicken(generator)
    generator.foreground.detail.data.fill_(0.1)
    return generator.eval().requires_grad_(False)


def test_a_shift_of_the_pose_moves_the_head_by_that_share_of_the_picture(frozen: GramHd) -> None:
    camera = camera_of(pose_of(PhotoCamera(0.1, -0.2, 0.3, 1.1, 0.05, -0.1)), frozen.cameras, size=100)
    origin = camera.project(torch.zeros(1, 1, 3))[0, 0]
    assert torch.allclose(origin, torch.tensor([55.0, 40.0]), atol=1e-3)


def test_scale_and_roll_enlarge_and_turn_the_picture_about_its_centre(frozen: GramHd) -> None:
    points = torch.tensor([[[0.02, 0.03, 0.0], [-0.04, 0.01, 0.0]]])
    plain, changed = (
        camera_of(pose_of(PhotoCamera(0.0, 0.0, roll, scale)), frozen.cameras, size=100).project(points)[0] - 50
        for roll, scale in ((0.0, 1.0), (math.pi / 2, 1.2))
    )
    # a camera turned clockwise by a right angle: what was up is now on the left
    assert torch.allclose(changed, 1.2 * torch.stack([plain[:, 1], -plain[:, 0]], dim=1), atol=1e-3)


def test_poses_are_written_down_and_read_again() -> None:
    camera = PhotoCamera(0.1, -0.2, 0.3, 1.1, 0.05, -0.1)
    again = photo_camera(pose_of(camera))
    assert all(
        math.isclose(a, b, abs_tol=1e-6) for a, b in zip(vars(camera).values(), vars(again).values(), strict=True)
    )
    assert degrees_between(PhotoCamera(0.0, 0.1), PhotoCamera(0.0, -0.1)) == pytest.approx(math.degrees(0.2))


def test_the_camera_of_a_photo_has_gradients_in_all_six_numbers(frozen: GramHd) -> None:
    photo = photo_of(frozen, seed=1, camera=PhotoCamera(0.1, 0.2))
    pose = pose_of(PhotoCamera(0.0, 0.1, 0.02, 1.05, 0.01, 0.01)).requires_grad_()
    task = stages.problem(frozen, photo)
    task.likeness(task.look(frozen.latent(torch.zeros(1, 8)), pose).rgb).sum().backward()
    assert pose.grad is not None and bool(pose.grad.isfinite().all()) and bool((pose.grad != 0).all())


def test_w_holds_every_latent_of_the_model(frozen: GramHd) -> None:
    spaces = spaces_of(frozen)
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    made, wanted = spaces.latent(spaces.coordinates(spaces.hidden(z))), frozen.latent(z)
    assert torch.allclose(made.film, wanted.film, atol=1e-3)
    assert torch.allclose(made.style, wanted.style, atol=1e-3)


def test_coordinates_of_w_have_unit_variance(frozen: GramHd) -> None:
    spaces = spaces_of(frozen)
    z = torch.randn(2000, 8, generator=torch.Generator().manual_seed(3))
    first = spaces.coordinates(spaces.hidden(z))[:, :4]
    assert torch.allclose(first.var(dim=0), torch.ones(4), atol=0.15)


def test_pixel_loss_is_zero_for_equal_pictures_and_separate_for_each(frozen: GramHd) -> None:
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4)) * 2 - 1
    assert float(pixels(pictures, pictures).sum()) == 0
    together = pixels(pictures, pictures.roll(1, 0))
    alone = torch.cat([pixels(a[None], b[None]) for a, b in zip(pictures, pictures.roll(1, 0), strict=True)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_perceptual_loss_sees_structure(frozen: GramHd) -> None:
    features = find_features("procedural", checkpoint=None, is_procedural=True)
    assert features is not None
    assert find_features("auto", checkpoint=None, is_procedural=False) is None
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    assert len({tuple(m.shape) for m in features(image)}) > 2


def test_the_discriminator_beside_a_checkpoint_is_found_and_sees_structure(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(image_size=16)
    checkpoint = tmp_path / "run" / "checkpoints" / "step00000001.safetensors"
    checkpoint.parent.mkdir(parents=True)
    with pytest.raises(BadArgument, match="training state"):
        find_features("discriminator", checkpoint=checkpoint, is_procedural=False)
    state = {"discriminator": dict(Discriminator(config).state_dict())}
    save_state(checkpoint.with_name("step00000001.state.safetensors"), state)
    (tmp_path / "run" / "config.json").write_text(json.dumps({"discriminator": to_dict(config)}))
    features = find_features("auto", checkpoint=checkpoint, is_procedural=False)
    assert features is not None
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
    assert float(perceptual(features, image, image).sum()) == 0
    assert bool((perceptual(features, image, image.flip(-1)) > 0).all())
    with pytest.raises(BadArgument, match="--perceptual vgg"):
        find_features("vgg", checkpoint=None, is_procedural=False)


def test_search_finds_the_head_among_its_own_seeds(frozen: GramHd) -> None:
    rng = torch.Generator().manual_seed(6)
    z = torch.randn(6, 8, generator=rng)
    with torch.no_grad():
        camera = camera_of(pose_of(PhotoCamera(0.0, 0.24)), frozen.cameras, size=32)
        photo = draft_scene(frozen, frozen.latent(z[3:4]), size=32).render(camera).rgb
    spaces = spaces_of(frozen)
    found = search(frozen, spaces, photo, seeds=6, keep=1, known=None, rng=torch.Generator().manual_seed(6))
    assert torch.allclose(found.w[0], spaces.coordinates(spaces.hidden(z[3:4]))[0])
    assert found.pose[0, :2].tolist() == pytest.approx([0.0, 0.24])


@pytest.mark.slow
def test_every_stage_is_nearer_to_the_photo_and_tuning_keeps_other_views(frozen: GramHd) -> None:
    photo = photo_of(frozen, seed=7, camera=PhotoCamera(0.05, 0.1))
    task = stages.problem(frozen, photo, config=QUICK)
    rng = torch.Generator().manual_seed(0)
    before = {name: t.clone() for name, t in frozen.state_dict().items()}
    start = stages.start(task, rng=rng)
    w = stages.into_w(task, start)
    plus = stages.into_w_plus(task, w)
    tuned = tune(task, plus, rng=rng)
    reached = [psnr(stage.picture.rgb, photo) for stage in (start, w, plus, tuned.stage)]
    assert reached == sorted(reached), reached
    assert all(torch.equal(t, before[name]) for name, t in frozen.state_dict().items())
    assert reached[3] > reached[2] + 3, "maps of its own hold what no latent says"
    assert latent_space(tuned.generator) == latent_space(frozen)
    assert isinstance(tuned.generator, GramHd)
    after = tuned.generator.state_dict()
    assert {name for name, t in before.items() if not torch.equal(t, after[name])} <= set(tuned_names(frozen))


@pytest.mark.slow
def test_the_guard_keeps_other_views_nearer_to_what_they_were(frozen: GramHd) -> None:
    photo = photo_of(frozen, seed=7, camera=PhotoCamera(0.0, 0.0))
    task = stages.problem(frozen, photo, config=QUICK)
    spaces, side = task.spaces, frozen.cameras.at(0.1, 0.4, size=32)
    pivot = stages.finished(task, "w+", torch.zeros(1, spaces.dimensions), None, pose_of(PhotoCamera(0.0, 0.0)), 0.0)
    with torch.no_grad():
        before = frozen.scene(pivot.latent).render(side)
    off = []
    for guard in (0.0, 30.0):
        loose = replace(task, config=replace(QUICK, guard=guard, locality=0.0))
        tuned = tune(loose, pivot, rng=torch.Generator().manual_seed(0))
        with torch.no_grad():
            off.append(float((tuned.generator.scene(pivot.latent).render(side).alpha - before.alpha).abs().mean()))
    assert off[1] < 0.6 * off[0]


@pytest.mark.slow
def test_the_guard_of_colours_holds_other_views_to_what_they_should_show(frozen: GramHd) -> None:
    front = PhotoCamera(0.0, 0.0)
    photo = photo_of(frozen, seed=7, camera=front)
    task = stages.problem(frozen, photo, config=replace(QUICK, locality=0.0))
    pivot = stages.finished(task, "w+", torch.zeros(1, task.spaces.dimensions), None, pose_of(front), 0.0)
    with torch.no_grad():
        scene, camera = frozen.scene(pivot.latent), camera_of(pose_of(front), frozen.cameras, size=32)
        guard = guard_of(task, scene, camera, rng=torch.Generator().manual_seed(0))
    off = []
    for colour in (0.0, 10.0):
        held = replace(task, config=replace(task.config, guard_colour=colour))
        tuned = tune(held, pivot, rng=torch.Generator().manual_seed(0)).generator
        with torch.no_grad():
            seen = tuned.scene(pivot.latent).render(guard.cameras).rgb
        off.append(float(((seen - guard.colours).abs() * guard.counts).mean()))
    assert off[1] < 0.8 * off[0], off


def test_a_guarded_view_expects_the_photographs_colours_where_it_shows_them_and_its_own_elsewhere(frozen: GramHd):
    front = PhotoCamera(0.0, 0.0)
    photo = photo_of(frozen, seed=7, camera=front)
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(7))
    camera = camera_of(pose_of(front), frozen.cameras, size=32)
    with torch.no_grad():
        scene = frozen.scene(frozen.latent(z))
        own, brighter = (
            guard_of(replace(stages.problem(frozen, picture, config=QUICK)), scene, camera, rng=torch.Generator())
            for picture in (photo, photo + 0.5)
        )
    kept = torch.cat([view.rgb for view in own.kept])
    still = torch.nn.functional.interpolate(photo, size=kept.shape[-2:], mode="area")
    moved, unmoved = (((t - kept).abs() * own.counts).mean() for t in (own.colours, still))
    change = (brighter.colours - own.colours).mean(dim=1)
    assert moved < 0.7 * unmoved, "the model's own picture, moved along its distances, is what it shows there"
    shown = (change - 0.5).abs() < 1e-5
    assert bool((shown | (change == 0)).all()) and 0.3 < shown.float().mean() <= 1


def test_a_known_camera_stays_where_it_is(frozen: GramHd) -> None:
    camera = PhotoCamera(0.05, 0.1)
    photo = photo_of(frozen, seed=7, camera=camera)
    task = stages.problem(frozen, photo, config=QUICK, known=pose_of(camera), is_fixed=True)
    end = stages.into_w(task, stages.start(task, rng=torch.Generator().manual_seed(0)))
    assert torch.allclose(end.pose, pose_of(camera), atol=1e-6)


def test_a_guess_takes_the_place_of_the_search(frozen: GramHd) -> None:
    photo = photo_of(frozen, seed=7, camera=PhotoCamera(0.05, 0.1))
    task = stages.problem(frozen, photo, config=replace(QUICK, draft_steps=0))
    guess = Candidates(torch.ones(1, task.spaces.dimensions), pose_of(PhotoCamera(0.05, 0.1)), torch.zeros(1))
    start = stages.start(task, rng=torch.Generator().manual_seed(0), guesses=guess)
    assert torch.equal(start.w, guess.w)
    assert torch.allclose(start.pose, guess.pose, atol=1e-6)
