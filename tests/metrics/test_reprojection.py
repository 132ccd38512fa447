"""Reprojection: a wall by hand, true heads and spoilt ones; what a view hides is not asked of it."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from planes import views_of_wall
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.errors import BadDataset
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.metrics.reprojection import (
    ANY_SCALE,
    MOST,
    agreement,
    chosen,
    middle_view,
    neighbours,
    overlap,
    psnr,
    reprojection,
    ssim,
    warped,
)
from gramhd_core.metrics.views import ViewSet, around, views_of_head

SIZE = 32
PIXEL = 2 * math.tan(math.radians(6)) / SIZE  # world units, at distance 1


def beside(*places: float, size: int = SIZE) -> Camera:
    """Frontal cameras moved to the right by so many pixels."""
    pose = torch.eye(4).repeat(len(places), 1, 1)
    pose[:, 2, 3] = 1
    pose[:, 0, 3] = torch.tensor(places) * PIXEL
    return Camera(pose, torch.full((len(places),), 12.0), size, size)


def noise(cameras: Camera, *, shifts: tuple[int, ...]) -> ViewSet:
    """A wall at z = 0 with a texture of random pixels, as cameras see it that are whole pixels apart."""
    texture = torch.randint(0, 256, (3, SIZE, 2 * SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    rgb = torch.stack([texture[:, :, shift : shift + SIZE] for shift in shifts])
    return views_of_wall(cameras)._replace(rgb=rgb)


@pytest.fixture(scope="module")
def head() -> ViewSet:
    cameras = around(CameraPrior(), size=64)[torch.tensor([1, 4, 11, 13, 14, 15, 17, 24])]
    return views_of_head(HeadIdentity.from_seed(5_200_003), cameras, name="head")


def test_a_wall_seen_from_four_pixels_beside_moves_by_four_pixels() -> None:
    views = noise(beside(0, 4), shifts=(0, 4))
    made, wanted, both, share = overlap(chosen(views, torch.tensor([0])), chosen(views, torch.tensor([1])))
    assert share[0] == pytest.approx(28 / 32) and not both[..., 28:].any() and both[..., :28].all()
    assert (made - wanted)[..., :26].abs().max() < 0.2  # the bicubic filter reaches two pixels further at the border
    assert psnr(made, wanted, both & (torch.arange(SIZE) < 26))[0] > 60


def test_a_smooth_wall_agrees_from_everywhere_and_at_any_depth() -> None:
    for z in (0.0, 0.1):
        found = reprojection(views_of_wall(Camera.orbit(0.0, torch.linspace(-0.3, 0.3, 5), size=64), z=z))
        assert found.neighbours.psnr > 45 and found.frontal.psnr > 45
        assert found.neighbours.ssim > 0.99 and found.neighbours.percentage > 80


def test_a_view_moved_onto_itself_is_itself(head: ViewSet) -> None:
    made, wanted, both, share = overlap(head, head)
    assert psnr(made, wanted, both).min() > 60 and ssim(made, wanted, both).min() > 0.9999
    assert share.min() > 0.9


@pytest.mark.slow
def test_true_heads_agree_and_wrong_distances_and_other_heads_do_not(head: ViewSet) -> None:
    true = reprojection(head)
    assert head.distance is not None
    assert true.neighbours.psnr > 30 and true.frontal.psnr > 28
    assert true.neighbours.percentage > 75 > 100 - true.frontal.percentage
    flat = reprojection(head._replace(distance=torch.ones_like(head.distance)))
    assert flat.frontal.psnr < true.frontal.psnr - 5
    other = reprojection(head._replace(rgb=head.rgb.roll(1, 0)))
    assert other.neighbours.psnr < true.neighbours.psnr - 6


def test_pictures_show_the_farthest_view_what_was_moved_there_and_the_difference(head: ViewSet) -> None:
    there, moved, difference = reprojection(head).pictures
    assert torch.equal(there, head.rgb[0]) or torch.equal(there, head.rgb[-1])
    assert moved.shape == difference.shape == there.shape and difference.dtype == torch.uint8
    assert (difference == 128).float().mean() > 0.3 and difference.float().std() < 20
    grey = (moved == 128).all(dim=0)
    assert 0.3 < grey.float().mean() < 0.8 and (difference[:, grey] == 128).all()


def test_what_something_nearer_hides_is_not_compared() -> None:
    views = noise(beside(0, 0), shifts=(0, 0))
    assert views.distance is not None
    curtain = views.distance.clone()
    curtain[0, :, :16] -= 0.1
    warp = warped(*(chosen(views._replace(distance=curtain), torch.tensor([i])) for i in (0, 1)))
    assert not warp.visible[..., :15].any() and warp.visible[..., 17:].all()


def test_unknown_distances_are_not_compared() -> None:
    views = noise(beside(0, 0), shifts=(0, 0))
    assert views.distance is not None
    views.distance[1, 5, 7] = math.nan
    found = warped(*(chosen(views, torch.tensor([i])) for i in (0, 1)))
    assert not (found.visible & found.even)[0, 5, 7] and (found.visible & found.even).float().mean() > 0.98


def test_unknown_distances_take_nothing_from_the_score() -> None:
    wall = views_of_wall(Camera.orbit(0.0, torch.linspace(-0.3, 0.3, 5), size=64))
    assert wall.distance is not None
    holes = wall.distance.clone()
    holes[:, 20:25] = math.nan
    whole, found = reprojection(wall), reprojection(wall._replace(distance=holes))
    assert found.neighbours[:2] == pytest.approx(whole.neighbours[:2], rel=0.02)
    assert found.frontal[:2] == pytest.approx(whole.frontal[:2], rel=0.02)
    assert found.neighbours.percentage < whole.neighbours.percentage - 5


def test_what_is_seen_at_other_scales_is_compared_only_where_asked() -> None:
    views = views_of_wall(Camera.orbit(0.0, torch.tensor([0.0, 1.1]), size=64))  # cos 1.1 = 0.45
    pair = chosen(views, torch.tensor([0])), chosen(views, torch.tensor([1]))
    assert overlap(*pair).share[0] == 0 and overlap(*pair, rule=ANY_SCALE).share[0] > 0.3
    assert overlap(*pair, rule=ANY_SCALE._replace(stretch=4.0)).share[0] > 0.3


def test_only_the_head_counts(head: ViewSet) -> None:
    assert head.alpha is not None
    half = head.alpha.clone()
    half[:, :, 32:] = 0
    left = overlap(head, head._replace(alpha=half))
    assert not left.both[..., 32:].any() and left.share.min() > 0.8
    nothing = overlap(head, head._replace(alpha=0 * half))
    assert (nothing.share == 0).all() and psnr(*nothing[:3]).isnan().all() and ssim(*nothing[:3]).isnan().all()


@pytest.mark.slow
def test_neither_order_nor_batches_matter(head: ViewSet, monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.tensor([3, 1, 7, 5, 0, 2, 6, 4])
    before, after = reprojection(head), reprojection(chosen(head, order))
    for one, other in zip((*before.neighbours, *before.frontal), (*after.neighbours, *after.frontal), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    pairs = neighbours(head.cameras)
    monkeypatch.setattr(sys.modules[agreement.__module__], "AT_ONCE", 1)
    assert agreement(head, pairs) == pytest.approx(before.neighbours, abs=1e-5)


def test_neighbours_are_next_to_each_other_and_the_middle_is_frontal() -> None:
    cameras = around(CameraPrior(), size=8)  # three rows of ten
    found = {tuple(pair) for pair in neighbours(cameras).tolist()}
    assert found == {(s, t) for t in range(30) for s in (t - 1, t + 1) if 0 <= s < 30 and s // 10 == t // 10}
    assert middle_view(cameras) == 15  # of the two in the middle of the level row, the right one
    assert middle_view(cameras[torch.arange(29, -1, -1)]) == 14


def test_psnr_and_ssim_by_hand() -> None:
    one, two = torch.full((1, 3, 9, 9), 100.0), torch.full((1, 3, 9, 9), 120.0)
    every = torch.ones(1, 9, 9, dtype=torch.bool)
    assert psnr(one, two, every)[0] == pytest.approx(20 * math.log10(255 / 20))
    assert psnr(one, one, every)[0] == MOST
    c1 = (0.01 * 255) ** 2
    assert ssim(one, two, every)[0] == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-5)


def test_ssim_is_that_of_scikit_image_and_blind_to_what_does_not_count() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = torch.Generator().manual_seed(1)
    one = 255 * torch.rand(1, 3, 96, 96, generator=rng)
    two = (one + 40 * torch.randn(one.shape, generator=rng)).clamp(0, 255)

    def theirs(size: int) -> float:
        a, b = (t[0, :, :size].movedim(0, -1).double().numpy() for t in (one, two))
        return metrics.structural_similarity(a, b, channel_axis=2, data_range=255)

    every = torch.ones(1, 96, 96, dtype=torch.bool)
    assert ssim(one, two, every)[0] == pytest.approx(theirs(96), abs=3e-3)  # they leave out windows at the border
    some = every & (torch.arange(96) < 60)[:, None]
    before = ssim(one, two, some)
    two[:, :, 60:] = 0
    assert torch.equal(ssim(one, two, some), before) and before[0] == pytest.approx(theirs(60), abs=3e-3)


def test_views_without_distance_and_single_views_are_refused(head: ViewSet) -> None:
    with pytest.raises(BadDataset, match="depth_file_path"):
        reprojection(head._replace(distance=None))
    with pytest.raises(BadDataset, match="one view"):
        reprojection(chosen(head, torch.tensor([0])))


@pytest.mark.slow
def test_noise_lowers_every_score_and_more_noise_more(head: ViewSet) -> None:
    def spoilt(levels: float) -> Tensor:
        rng = torch.Generator().manual_seed(2)
        planted = head.rgb + levels * torch.randn(head.rgb.shape, generator=rng)
        found = reprojection(head._replace(rgb=planted.clamp(0, 255).byte()))
        return torch.tensor([*found.neighbours[:2], *found.frontal[:2]])

    scores = torch.stack([spoilt(levels) for levels in (0.0, 4.0, 12.0)])
    assert (scores.diff(dim=0) < 0).all()
