"""Numbers that are not finite: what they must not touch, and the way back when they keep coming."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import PLAIN, lines, losses, lr
from torch import Tensor, nn

from gramhd_core.checkpoints.checkpoint import Checkpoint, find_checkpoint
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import Diverged
from gramhd_core.geometry.camera import Camera
from gramhd_core.progress import Silent
from gramhd_core.training.config import RunConfig
from gramhd_core.training.gan_step import Fakes
from gramhd_core.training.guards import Guard, all_finite, backward, careful_update, optimiser_for
from gramhd_core.training.loop import train
from gramhd_core.training.recipe import Recipe
from gramhd_core.training.run import Run
from gramhd_core.training.train_lr import recipe_lr

BETAS = (0.9, 0.99)
SHORT = [*PLAIN, "train.images=24", "train.save_every=8", "train.bad_steps=3"]  # 12 steps, checkpoints 4, 8, 12


def fused(weights: list[nn.Parameter]) -> torch.optim.Adam:
    return optimiser_for(weights, lr=0.1, betas=BETAS)


def plain(weights: list[nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(weights, lr=0.1, betas=BETAS)


def walked(gradients: list[float], make: Callable = fused) -> tuple[Tensor, dict, list[bool]]:
    """Weights and optimiser state after updates with constant gradients; which updates were made."""
    weights = [nn.Parameter(torch.linspace(-1, 1, 5)), nn.Parameter(torch.ones(2, 2))]
    optimiser, made = make(weights), []
    for gradient in gradients:
        for p in weights:
            p.grad = torch.full_like(p, gradient)
        made.append(bool(careful_update(optimiser, weights, clip=0.3).made))
    return torch.cat([p.detach().flatten() for p in weights]), optimiser.state_dict()["state"], made


@pytest.mark.slow
@pytest.mark.parametrize("make", [fused, plain])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_an_update_left_out_is_as_if_it_had_never_been_asked_for(make: Callable, bad: float) -> None:
    with_it, without = walked([0.5, bad, bad, 0.25], make), walked([0.5, 0.25], make)
    assert with_it[2] == [True, False, False, True]
    assert torch.equal(with_it[0], without[0])
    for ours, theirs in zip(with_it[1].values(), without[1].values(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


@pytest.mark.slow
def test_both_kinds_of_adam_take_the_same_way() -> None:
    assert torch.allclose(walked([0.5, -0.25], fused)[0], walked([0.5, -0.25], plain)[0], atol=1e-6)


def test_an_update_that_depends_on_one_left_out_is_left_out() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    update = careful_update(fused([weight]), [weight], clip=1.0, if_made=torch.tensor(False))
    assert not update.made and update.norm.isfinite() and torch.equal(weight.detach(), torch.ones(2))


def test_a_loss_that_overflows_spoils_gradients_that_would_be_finite() -> None:
    x = torch.ones(1, requires_grad=True)
    backward(3 * x.sum())
    assert x.grad is not None and x.grad.item() == 3
    x.grad = None
    backward((x + math.inf).sum())
    assert x.grad is not None and not x.grad.isfinite().any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the host waits for a GPU only")
def test_an_update_is_decided_without_waiting_for_the_device() -> None:
    weight = nn.Parameter(torch.ones(5, device="cuda"))
    optimiser = fused([weight])
    for gradient in (1.0, math.nan):  # the first step makes the optimiser's state
        weight.grad = torch.full_like(weight, gradient)
        torch.cuda.set_sync_debug_mode("error" if math.isnan(gradient) else "default")
        try:
            backward((weight * gradient).sum())
            careful_update(optimiser, [weight], clip=1.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert weight.isfinite().all()


def test_a_guard_counts_and_loses_patience() -> None:
    guard = Guard(lr("train.bad_steps=2").train)
    for faulty in (True, False, True):
        guard.see(faulty=faulty)
    assert (guard.skipped, guard.in_row, guard.calm, guard.lost) == (2, 1, False, False)
    again = Guard(lr("train.bad_steps=2").train)
    again.restore(guard.state())
    again.see(faulty=True)
    assert again.lost and again.skipped == 3 and again.rate == 1
    again.returns = 2
    assert again.rate == 0.25


# ---- in a run ----


class Poison:
    """Makes the fakes of chosen draws worthless: draws count from 1, two to a step (D's and G's)."""

    def __init__(self, config: RunConfig, *, draws: Callable[[int], bool], value: float = math.nan):
        self.recipe, self.draws, self.value, self.count = recipe_lr(config), draws, value, 0

    def __call__(self, z: Tensor, camera: Camera) -> Fakes:
        self.count += 1
        fakes = self.recipe.draw(z, camera)
        return fakes._replace(image=fakes.image * self.value) if self.draws(self.count) else fakes


def poisoned(config: RunConfig, draws: Callable[[int], bool], value: float = math.nan) -> Recipe:
    poison = Poison(config, draws=draws, value=value)
    return replace(poison.recipe, draw=poison)


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def everything(run: Run) -> list[Tensor]:
    state = run.state()
    optimisers = [t for side in (run.g, run.d) for one in side.optimiser.state.values() for t in one.values()]
    networks = [t for name in ("generator", "discriminator", "ema") for t in state[name].values()]
    return [t.detach().clone() for t in [*networks, *optimisers]]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_faulty_step_touches_neither_weights_nor_optimisers_nor_averages(
    value: float, heads: Path, tmp_path: Path
) -> None:
    config = lr(*SHORT)
    recipe = poisoned(config, lambda draw: draw == 5, value)  # D's fakes of the third step
    run = Run(recipe, DatasetReader(heads, size=16), tmp_path / "run", device="cpu")
    known = [run.advance()["skipped"] for _ in range(2)]
    before, updates = everything(run), run.ema.updates
    assert run.advance()["skipped"] == 1 and known == [0, 0]
    assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))
    assert run.ema.updates == updates and run.step == 3
    assert run.advance()["skipped"] == 1 and run.guard.calm
    assert not all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))
    run.stream.close()


def test_faulty_losses_of_the_generator_leave_it_and_its_average_alone(heads: Path, tmp_path: Path) -> None:
    recipe = poisoned(lr(*SHORT), lambda draw: draw == 2)  # G's fakes of the first step
    run = Run(recipe, DatasetReader(heads, size=16), tmp_path / "run", device="cpu")
    before = {name: t.clone() for name, t in run.generator.state_dict().items()}
    assert run.advance()["skipped"] == 1
    for weights in (run.generator.state_dict(), run.ema.average.state_dict()):
        assert all(torch.equal(weights[name], t) for name, t in before.items())
    run.stream.close()


def test_a_few_faulty_steps_are_counted_and_the_run_goes_on(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    newest = train(poisoned(lr(*SHORT), lambda draw: draw in (5, 6, 15)), heads, out, device="cpu")
    known = losses(out)
    assert [line["step"] for line in known] == list(range(1, 13)) and Checkpoint.load(newest).step == 12
    assert [line["skipped"] for line in known] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert known[2]["d_fake"] is None and known[2]["d_real"] is not None
    assert all(value is not None for line in known for value in line.values() if line["step"] not in (3, 8))
    assert not lines(out / "alarms.jsonl")


def test_half_precision_in_search_of_its_scale_is_not_a_fault(heads: Path, tmp_path: Path) -> None:
    config = lr(*SHORT, "train.precision=fp16")
    run = Run(recipe_lr(config), DatasetReader(heads, size=16), tmp_path / "run", device="cpu")
    run.advance()
    run.scaler.update(2.0**120)
    before = everything(run)
    assert run.advance()["skipped"] == 0 and run.scaler.get_scale() == 2.0**119
    assert all(torch.equal(a, b) for a, b in zip(before[:5], everything(run)[:5], strict=True))
    run.scaler.update(1.0)
    run.recipe.draw = poisoned(config, lambda _: True).draw
    assert run.advance()["skipped"] == 1 and run.scaler.get_scale() == 1
    run.stream.close()


def test_too_many_faults_in_a_row_lead_back_to_the_last_checkpoint_at_half_the_rates(
    heads: Path, tmp_path: Path
) -> None:
    """Steps 6, 7, 8 are faulty: a checkpoint is due at 8, but what is gone back to is that of step 4."""
    out, heard = tmp_path / "run", Heard()
    recipe = poisoned(lr(*SHORT), lambda draw: 11 <= draw <= 16)
    train(recipe, heads, out, device="cpu", progress=heard)
    known = losses(out)
    assert [line["step"] for line in known] == list(range(1, 13))
    assert [line["skipped"] for line in known] == [0] * 4 + [3] * 8
    (told,) = lines(out / "alarms.jsonl")
    assert (told["name"], told["step"], told["lost"], told["returns"]) == ("return", 4, 8, 1)
    assert len(heard.said) == 1 and "back to the checkpoint of step 4, with learning rates x 0.5" in heard.said[0]
    again = Run(recipe_lr(lr(*SHORT)), DatasetReader(heads, size=16), out, device="cpu")
    again.resume()
    assert (again.guard.returns, again.g.optimiser.param_groups[0]["lr"]) == (1, 0.0005)
    assert again.d.optimiser.param_groups[0]["lr"] == 0.0005
    again.stream.close()


@pytest.mark.slow
def test_going_back_to_the_start_is_starting_with_half_the_rates(heads: Path, tmp_path: Path) -> None:
    train(poisoned(lr(*SHORT), lambda draw: 3 <= draw <= 8), heads, tmp_path / "back", device="cpu")
    slow = lr(*SHORT, "train.g_lr=0.0005", "train.d_lr=0.0005")
    train(recipe_lr(slow), heads, tmp_path / "slow", device="cpu")
    ours, theirs = ([{**line, "skipped": 0} for line in losses(tmp_path / name)] for name in ("back", "slow"))
    assert ours == theirs and losses(tmp_path / "back")[0]["skipped"] == 3


@pytest.mark.slow
def test_a_run_that_went_back_and_stops_goes_on_as_one_that_did_not_stop(heads: Path, tmp_path: Path) -> None:
    bad = range(11, 17)
    train(poisoned(lr(*SHORT), lambda draw: draw in bad), heads, tmp_path / "whole", device="cpu")
    half = poisoned(lr(*SHORT, "train.images=18"), lambda draw: draw in bad)
    train(half, heads, tmp_path / "parts", device="cpu")
    train(recipe_lr(lr(*SHORT)), heads, tmp_path / "parts", device="cpu")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert lines(tmp_path / "parts" / "alarms.jsonl") == lines(tmp_path / "whole" / "alarms.jsonl")


def test_a_run_that_cannot_be_helped_ends_in_a_sentence_and_keeps_its_last_good_checkpoint(
    heads: Path, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    with pytest.raises(Diverged, match=r"3 steps in a row at step 7; its last checkpoint is that of step 4") as error:
        train(poisoned(lr(*SHORT), lambda draw: draw > 8), heads, out, device="cpu", progress=heard)
    assert error.value.exit_code == 1 and len(heard.said) == 2 and "x 0.25" in heard.said[1]
    model = Checkpoint.load(find_checkpoint(out))
    assert model.step == 4 and all(t.isfinite().all() for t in model.weights.values())
    assert [line["returns"] for line in lines(out / "alarms.jsonl")] == [1, 2]
    assert [line["step"] for line in losses(out)] == list(range(1, 8))


@pytest.mark.slow
def test_weights_that_break_are_never_saved_and_mended_by_going_back(heads: Path, tmp_path: Path) -> None:
    class Breaks(Heard):
        """Spoils a weight of the generator after the fourth step, when a checkpoint is due."""

        steps = 0

        def advance(self, steps: int = 1, note: str = "") -> None:
            self.steps += 1
            if self.steps == 8:
                with torch.no_grad():
                    recipe.trainable[-1].fill_(math.nan)

    recipe, progress = recipe_lr(lr(*SHORT)), Breaks()
    newest = train(recipe, heads, tmp_path / "run", device="cpu", progress=progress)
    assert "back to the checkpoint of step 4" in progress.said[0]
    assert Checkpoint.load(newest).step == 12 and all_finite(recipe.generator)


def test_broken_weights_at_the_end_are_a_sentence(heads: Path, tmp_path: Path) -> None:
    run = Run(recipe_lr(lr(*SHORT)), DatasetReader(heads, size=16), tmp_path / "run", device="cpu")
    run.advance()
    with torch.no_grad():
        run.recipe.trainable[0].view(-1)[0] = math.inf
    with pytest.raises(Diverged, match=r"weights that are not finite at step 1, but"):
        run.save()
    assert not (tmp_path / "run").exists()
    run.stream.close()


def test_learning_from_photographs_is_guarded_as_well(heads: Path, tmp_path: Path) -> None:
    alone = ["train.reconstruction=1", "train.discriminator_from=1000", "train.adversarial_from=1000"]
    recipe = poisoned(lr(*SHORT, *alone), lambda draw: draw == 2)  # one draw to a step
    run = Run(recipe, DatasetReader(heads, size=16), tmp_path / "run", device="cpu")
    assert run.encoder is not None and run.advance()["skipped"] == 0
    before = [p.detach().clone() for p in [*run.generator.parameters(), *run.encoder.parameters()]]
    values = run.advance()
    assert values["skipped"] == 1 and math.isnan(values["reconstruction"]) and run.ema.updates == 1
    assert all(map(torch.equal, before, [*run.generator.parameters(), *run.encoder.parameters()]))
    assert run.advance()["skipped"] == 1 and run.ema.updates == 2
    assert not all(map(torch.equal, before, [*run.generator.parameters(), *run.encoder.parameters()]))
    run.stream.close()
