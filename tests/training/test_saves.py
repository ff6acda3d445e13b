"""When an unfinished training is saved: by steps, by time, and never for more than a tenth of it."""

from __future__ import annotations

import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.training import saves
from ops.training.saves import Saves
from ops.training.sft_settings import FilteredSft
from tests.training.examples import EXAMPLES, finetune, weights


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def saved_at(step_seconds: float, save_seconds: float, steps: int, first: int = 0) -> list[int]:
    """The steps after which it is saved."""
    clock = Clock()
    times, found = Saves(first, clock), []

    def write() -> None:
        found.append(step)
        clock.now += save_seconds

    for step in range(first + 1, steps + 1):
        clock.now += step_seconds
        if times.due(step):
            times.save(step, write)
    return found


def test_fast_steps_are_saved_by_number():
    assert saved_at(0.1, 0.01, 170) == [50, 100, 150]
    assert saved_at(0.1, 0.01, 170, first=30) == [80, 130]


def test_slow_steps_are_saved_by_time():
    """At 120 s a step, 300 s are over after 3 steps."""
    assert saved_at(120.0, 1.0, 10) == [3, 6, 9]
    assert saved_at(400.0, 1.0, 3) == [1, 2, 3]


def test_a_large_model_is_saved_less_often():
    """1 s a step and 90 s a save: at first after 50 steps, then 10 x 90 = 900 s later."""
    assert saved_at(1.0, 90.0, 2000) == [50, 950, 1850]


@pytest.mark.parametrize("limits", [{"SAVE_SECONDS": 0.0, "REST": 0.0}, {"SAVE_STEPS": 3, "REST": 0.0}])
def test_the_weights_do_not_depend_on_when_it_is_saved(tmp_path, monkeypatch, limits):
    """Saved after every step, or every third, killed, resumed: the weights of a run that was never saved."""
    settings = FilteredSft(batch_size=8, epochs=3, learning_rate=5e-3, lora={"rank": 2, "dropout": 0.2})
    models = []
    for name, changed in {"plain": {}, "saved": limits}.items():
        for key, value in changed.items():
            monkeypatch.setattr(saves, key, value)
        for stop in (7, 12, None) if changed else (None,):
            model = new_model("a", 0)
            torch.manual_seed(settings.seed)

            def progress(what, done, total, numbers, stop=stop):
                if done == stop:
                    raise KeyboardInterrupt

            try:
                finetune(model, new_tokenizer(), EXAMPLES, settings, work=tmp_path / name, progress=progress)
            except KeyboardInterrupt:
                step = stop - 1 if "SAVE_SECONDS" in changed else (stop - 1) // 3 * 3
                assert [path.name for path in (tmp_path / name).iterdir()] == [f"step-{step:08d}"]
        models.append(weights(model))
    assert torch.equal(*models)
