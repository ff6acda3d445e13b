"""What the training loop hands to the objective: weights, masks, base and old log-probabilities, and the engine's turn.

Each would train another policy without an error if it were wired wrongly.
"""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.engines.base import SamplingSettings
from ops.engines.policy import TransformersPolicy
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.exploration import loop
from ops.exploration.counts import AnswerCounts
from ops.exploration.drawn import token_weights
from ops.exploration.loop import PolicyTraining, World
from ops.exploration.objective import policy_backward, token_logprobs
from ops.exploration.settings import Exploration
from ops.exploration.worth import worth_of
from ops.lab import Lab
from ops.progress import silent
from ops.stages.policy import train_policy
from ops.tasks.arithmetic import Arithmetic
from ops.types import Completion, Grade, Problem
from tests.exploration.tiny import tiny_exploration, with_base_model

TASK = Arithmetic(min_steps=2, max_steps=2, max_number=9)
PROBLEMS = TASK.generate("train", 2, seed=0)


def settings(**fields) -> Exploration:
    made = dict(steps=3, problems_per_step=2, responses_per_problem=4, learning_rate=1e-2, snapshots=1)
    return Exploration.model_validate({**made, **fields})


def test_the_bonus_is_added_outside_of_the_answer():
    """``3 + 4 = 7 .`` with the answer 7: six tokens of which the fifth is the answer."""
    tokenizer = new_tokenizer()
    text = "3 + 4 = 7"
    ids = tuple(tokenizer(f"{text} .", add_special_tokens=False)["input_ids"])
    one = Completion(text, len(ids), -1.0, "stop", ids)
    span = (8, 9)
    assert text[slice(*span)] == "7" and len(ids) == 6
    weight_T, n = token_weights(tokenizer, PROBLEMS[0], one, 2.0, 0.5, lambda problem, response: span)
    assert weight_T.tolist() == [2.5, 2.5, 2.5, 2.5, 2.0, 2.5] and n == 5
    weight_T, n = token_weights(tokenizer, PROBLEMS[0], one, 2.0, -0.5, None)
    assert weight_T.tolist() == [1.5] * 6 and n == 6
    weight_T, n = token_weights(tokenizer, PROBLEMS[0], one, 2.0, 0.0, None)
    assert weight_T.tolist() == [2.0] * 6 and n == 0


def test_the_worth_of_a_group():
    """Answers a, a, b and none, the first right; a was seen 4 times before and the group itself does not count yet.

    Rewards 1 0 0 0, mean 1/4, standard deviation with n - 1: sqrt((9 + 1 + 1 + 1) / 16 / 3) = 1/2, so advantages
    1.5 and -0.5 (to 1e-4 / (1/2)); UCB bonuses 1/2, 1/2, 1 and 1.
    """
    made = settings(bonus={"name": "ucb"})
    counts = AnswerCounts()
    counts.add("x", ("a",) * 4, made.bonus)
    said = [Completion("", 1, -float(i), "stop") for i in range(4)]
    grades = [Grade("correct", "correct", "a"), Grade("incorrect", "incorrect", "a")]
    grades += [Grade("incorrect", "incorrect", "b"), Grade("unparseable", "unparseable", None)]
    found = worth_of("x", said, grades, made, counts)
    assert found.group.seen_N.tolist() == [4, 4, 0, 0] and found.group.logprob_N.tolist() == [0, -1, -2, -3]
    assert found.reward_N.tolist() == [1, 0, 0, 0]
    assert found.advantage_N == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=4e-4)
    assert found.bonus_N.tolist() == [0.5, 0.5, 1.0, 1.0] and found.is_solved
    assert counts.seen("x", ("a", "b", None), made.bonus).tolist() == [6, 1, 1]
    assert not worth_of("y", said[:2], grades[2:], made, counts).is_solved


class Copying:
    """A policy engine with a copy of the weights, as vLLM has one."""

    holds_a_copy = True

    def __init__(self, model, tokenizer) -> None:
        self.copy = copy.deepcopy(model)
        self.inner = TransformersPolicy(self.copy, tokenizer, TransformersEngineSettings())
        self.engine, self.updates = self.inner.engine, 0

    def update(self, model) -> float:
        self.copy.load_state_dict(model.state_dict())
        self.updates += 1
        return 0.0

    def close(self) -> None:
        self.inner.close()


def world_of(tokenizer) -> World:
    from ops.prompts.compact import CompactFormat

    def grade(items: list[tuple[Problem, str, bool]]) -> list[Grade]:
        """By length, so that an untrained model is right now and then."""
        return [
            Grade("correct" if len(text) % 3 == 0 else "incorrect", "incorrect", str(len(text) % 5))
            for _, text, _ in items
        ]

    prompts = [CompactFormat().solve(problem) for problem in PROBLEMS]
    return World(PROBLEMS, prompts, SamplingSettings(1.0, 1.0, 8, with_tokens=True), grade, None)


def trained(tmp_path, made: Exploration, *, copying: bool, base=None, seen=None, monkeypatch=None):
    """The trained model, its result, and the engine."""
    model, tokenizer = new_model("a", 0), new_tokenizer()
    engine = (
        Copying(model, tokenizer) if copying else TransformersPolicy(model, tokenizer, TransformersEngineSettings())
    )
    if seen is not None:
        real = policy_backward

        def spy(model, samples, *args, **kwargs):
            seen.append((copy.deepcopy(model.state_dict()), samples))
            return real(model, samples, *args, **kwargs)

        monkeypatch.setattr(loop, "policy_backward", spy)
    result = PolicyTraining(
        model=model,
        tokenizer=tokenizer,
        engine=engine,
        base=base,
        world=world_of(tokenizer),
        settings=made,
        pad_id=tokenizer.pad_token_id or 0,
        work=tmp_path,
        progress=silent,
        live=lambda step, numbers: None,
        snapshot=lambda step, so_far: None,
        label="test",
    ).to_the_end()
    return model, result, engine


def test_an_engine_with_a_copy_trains_the_same_policy(tmp_path):
    """It would not if its weights were handed over too late, or never."""
    made = settings(bonus={"name": "batch"})
    one, first, _ = trained(tmp_path / "one", made, copying=False)
    other, second, engine = trained(tmp_path / "other", made, copying=True)
    assert engine.updates == made.steps - 1  # the first step draws from the weights that it was made with
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), new_model("a", 0).parameters(), strict=True))
    assert [row["engine_logprob_difference"] for row in first.rows] == [None] * 3
    assert all(row["engine_logprob_difference"] < 1e-5 for row in second.rows)


def test_a_step_is_adamw_on_what_the_samples_say(tmp_path, monkeypatch):
    """One step by hand: A + c b on every token, the gradient of the objective, clipped, and AdamW."""
    made = settings(steps=1, bonus={"name": "batch", "coefficient": 0.7}, clip_norm=0.3)
    seen: list = []
    model, _, _ = trained(tmp_path, made, copying=False, seen=seen, monkeypatch=monkeypatch)
    (_, samples) = seen[0]
    world = world_of(new_tokenizer())
    own = new_model("a", 0)
    optimizer = torch.optim.AdamW(own.parameters(), lr=made.learning_rate, weight_decay=0.0)
    own.train()
    policy_backward(own, samples, made, temperature=1.0, max_tokens=8, pad_id=0, tokens_per_micro_batch=None)
    torch.nn.utils.clip_grad_norm_(own.parameters(), 0.3)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))
    # the weights themselves, from the responses' own texts
    tokenizer = new_tokenizer()
    for start in (0, 4):
        group = samples[start : start + 4]
        texts = [tokenizer.decode(one.response_ids, skip_special_tokens=True) for one in group]
        texts = [text.removesuffix(" .") for text in texts]
        grades = world.grade([(PROBLEMS[0], text, True) for text in texts])
        right = np.array([grade.verdict == "correct" for grade in grades], dtype=float)
        advantage = (right - right.mean()) / (right.std(ddof=1) + 1e-4)
        same = np.array([sum(a.answer == b.answer for b in grades) - 1 for a in grades])
        bonus = np.zeros(4) if right.all() else -same / 4
        for one, a, b in zip(group, advantage, bonus, strict=True):
            assert one.weight_T == pytest.approx(np.full(len(one.response_ids), a + 0.7 * b))


def test_base_and_old_log_probabilities_are_of_the_right_models(tmp_path, monkeypatch):
    """After two steps the policy is no longer the base model; within a step the old policy is that which drew."""
    made = settings(kl_coefficient=0.1, mini_batches=2, passes=2)
    base = new_model("a", 0).requires_grad_(False)
    seen: list = []
    _, result, _ = trained(tmp_path, made, copying=False, base=base, seen=seen, monkeypatch=monkeypatch)
    assert len(seen) == 3 * 4
    reading = dict(temperature=1.0, pad_id=0, precision="float32", tokens_per_micro_batch=None)
    last = [samples for _, samples in seen[8:]]  # the third step: two passes of two mini-batches
    drew = new_model("a", 0)
    drew.load_state_dict(seen[8][0])
    for samples in last:
        bases, _ = token_logprobs(base, samples, **reading)
        olds, _ = token_logprobs(drew, samples, **reading)
        for sample, of_base, of_old in zip(samples, bases, olds, strict=True):
            assert sample.base_logprob_T == pytest.approx(of_base, abs=1e-5)
            assert sample.old_logprob_T == pytest.approx(of_old, abs=1e-5)
            assert np.abs(sample.base_logprob_T - sample.old_logprob_T).max() > 1e-3
    assert result.rows[-1]["kl_to_base_nats"] > 1e-4


@pytest.mark.slow
def test_two_processes_train_a_policy_once(tmp_path):
    """The second one waits, and finds it there: as threads, whose file locks exclude each other as processes' do."""
    experiment = tiny_exploration(exploration={"steps": 4, "snapshots": 1})
    lab = with_base_model(experiment, tmp_path)
    numbers: list = []

    def one() -> None:
        own = Lab.open(experiment, home=tmp_path)
        numbers.append(train_policy(own))
        own.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found["reused"] for found in numbers) == [False, True]
    assert next(found for found in numbers if not found["reused"])["responses"] == 64
    lab.close()
