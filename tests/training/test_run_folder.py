"""Which checkpoints stay, and whose a folder is."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_runs import lines, lr

from gramhd_core.errors import BadConfig
from gramhd_core.training.config import TrainConfig
from gramhd_core.training.loop import train
from gramhd_core.training.run_folder import RunFolder
from gramhd_core.training.run_log import RunLog
from gramhd_core.training.train_lr import recipe_lr


def written(folder: RunFolder, steps: list[int], train: TrainConfig, scores: dict[int, float] | None = None) -> None:
    """Save at these steps as a run does: state, model, score, pruning."""
    (folder.path / "checkpoints").mkdir(parents=True, exist_ok=True)
    for step in steps:
        folder.saved(step).state.touch()
        folder.saved(step).model.touch()
        if scores:
            folder.scored(step, scores[step])
        folder.prune(train)


def there(folder: RunFolder) -> tuple[list[int], list[int]]:
    """Steps of models, steps of states."""
    names = sorted(p.name for p in (folder.path / "checkpoints").glob("step*"))
    models, states = (
        [int(n[4:12]) for n in names if n.endswith(".state.safetensors") is kind] for kind in (False, True)
    )
    return models, states


def test_the_newest_stay_with_their_states(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written(folder, list(range(10, 100, 10)), TrainConfig(keep=3))
    assert there(folder) == ([70, 80, 90], [70, 80, 90]) and folder.resumable() == [70, 80, 90]


@pytest.mark.parametrize(
    ("keep_every", "kept"),
    [(400, [40, 80]), (300, [30, 60, 90]), (250, [30, 50, 80]), (10_000, []), (100, list(range(10, 100, 10)))],
)
def test_the_first_model_after_every_so_many_images_stays(tmp_path: Path, keep_every: int, kept: list[int]) -> None:
    folder = RunFolder(tmp_path)
    written(folder, list(range(10, 110, 10)), TrainConfig(keep=1, batch=10, keep_every=keep_every))
    assert there(folder) == (sorted({*kept, 100}), [100])


def test_the_best_model_stays_while_it_is_the_best(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    scores = {10: 5.0, 20: 3.0, 30: 4.0, 40: 3.5, 50: 6.0}
    written(folder, list(scores), TrainConfig(keep=1), scores)
    assert there(folder) == ([20, 50], [50]) and folder.best() == (20, 3.0)
    written(folder, [60, 70], TrainConfig(keep=1), {60: 2.0, 70: 9.0})
    assert there(folder) == ([60, 70], [70]) and folder.best() == (60, 2.0)


def test_a_best_model_that_was_taken_away_is_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written(folder, [10, 20], TrainConfig(keep=1), {10: 1.0, 20: 2.0})
    folder.saved(10).model.unlink()
    assert folder.best()[0] == -1
    folder.scored(20, 2.0)
    assert folder.best() == (20, 2.0)


def test_a_recipe_that_can_score_keeps_the_best(heads: Path, tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0, 4.0])
    recipe = replace(
        recipe_lr(lr("train.batch=2", "train.images=8", "train.save_every=2", "train.keep=1", "train.sample_every=99")),
        score=lambda generator: next(scores) + 0 * generator.latent_dim,
    )
    train(recipe, heads, tmp_path / "run", device="cpu")
    assert there(RunFolder(tmp_path / "run")) == ([2, 4], [4])


def test_leftovers_of_killed_writers_go_and_what_is_whole_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written(folder, [10], TrainConfig())
    checkpoints = tmp_path / "checkpoints"
    folder.saved(20).state.touch()  # killed before its model was there
    left = [tmp_path / ".config.999999999.part.json", checkpoints / ".step00000020.999999999.part.safetensors"]
    for file in left:
        file.touch()
    folder.sweep()
    assert there(folder) == ([10], [10])
    assert not any(file.exists() for file in left) and not folder.saved(20).state.exists()


def test_a_run_killed_before_it_had_a_config_can_be_started_again(tmp_path: Path) -> None:
    config = lr()
    (tmp_path / ".config.999999999.part.json").touch()
    RunFolder(tmp_path).claim(config)
    (tmp_path / "letter.txt").touch()
    with pytest.raises(BadConfig, match="holds no run"):
        RunFolder(tmp_path).claim(config)


def test_what_concerns_only_the_sitting_may_change_between_sittings(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(lr())
    written(folder, [10], TrainConfig())
    folder.claim(lr("train.keep_every=64", "train.bad_steps=3", "train.returns=1", "train.keep=5"))
    with pytest.raises(BadConfig, match=r"train\.batch was 16, now 8"):
        folder.claim(lr("train.batch=8"))
    known = json.loads((tmp_path / "config.json").read_text())
    for name in ("keep_every", "bad_steps", "returns"):  # a run of an earlier version
        del known["train"][name]
    (tmp_path / "config.json").write_text(json.dumps(known))
    folder.claim(lr())


@pytest.mark.parametrize("field", ["keep=0", "keep_every=-1", "bad_steps=0", "returns=-1"])
def test_rules_that_keep_nothing_or_wait_for_nothing_are_refused(field: str) -> None:
    with pytest.raises(BadConfig, match=field.split("=")[0]):
        lr(f"train.{field}")


def test_a_log_is_cut_back_to_where_the_run_stands(tmp_path: Path) -> None:
    config = lr().train
    log = RunLog(tmp_path, config, step=0, returns=0)
    for step in range(1, 6):
        log.write({"step": step, "images": step, "loss": math.nan if step == 2 else 0.5})
    log.went_back(lost=5, step=3, returns=1, sentence="back")
    log.write({"step": 4, "images": 4, "loss": 0.25})
    log.close()
    known = lines(tmp_path / "stats.jsonl")
    assert [(line["step"], line["loss"]) for line in known] == [(1, 0.5), (2, None), (3, 0.5), (4, 0.25)]
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write('{"step": 5, "im')  # cut off by a kill
    RunLog(tmp_path, config, step=4, returns=1).close()
    assert lines(tmp_path / "stats.jsonl") == known
    assert [line["returns"] for line in lines(tmp_path / "alarms.jsonl")] == [1]
    RunLog(tmp_path, config, step=3, returns=0).close()  # the return is still to come
    assert len(lines(tmp_path / "stats.jsonl")) == 3 and not lines(tmp_path / "alarms.jsonl")


def test_curves_are_read_by_tensorboard_and_what_was_done_again_counts_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, lr().train, step=0, returns=0)
    for step in range(1, 6):
        log.write({"step": step, "images": 2 * step, "loss": math.nan if step == 1 else step})
    log.went_back(lost=5, step=3, returns=1, sentence="back")
    log.write({"step": 4, "images": 8, "loss": 40.0})
    log.close()
    known = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in known] == [(2, 2.0), (3, 3.0), (4, 40.0)]
