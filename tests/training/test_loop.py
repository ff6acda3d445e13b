"""The loop: the old weights at defaults, schedules by hand, held-out problems, early stop, buckets, logged steps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.errors import DatasetError, ModelError
from ops.training.batches import count_steps, examples_of_step, validation_steps
from ops.training.loss import TokenDocument, check_precision, cut, mean_loss, weighted_backward
from ops.training.schedule import held_out_problems, learning_rate_at
from ops.training.sft import to_document
from ops.training.sft_settings import FilteredSft
from ops.types import TrainingExample
from tests.training.examples import EXAMPLES, finetune, weights

TOKENIZER = new_tokenizer()


def run(settings: FilteredSft, work: Path, examples=EXAMPLES, replay=None):
    model = new_model("a", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        result = finetune(model, TOKENIZER, examples, settings, replay=replay, work=work)
    return model, result


def replayed(step: int, count: int) -> list[TokenDocument]:
    return [TokenDocument([1, 5 + (step + i) % 7, 9, 10 + i % 3], [0.0, 1.0, 0.5, 1.0]) for i in range(count)]


def first_loop(settings: FilteredSft, examples) -> torch.Tensor:
    """The loop as it was before schedules, validation and adapters: one padded batch, linear decay, AdamW."""
    model = new_model("a", 0)
    documents = [to_document(TOKENIZER, example) for example in examples]
    steps, own, again = count_steps(len(documents), settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    share = again / (own + again)
    model.train()

    def backward(batch, parts, scale):
        ordered = sorted(batch, key=lambda document: len(document.ids))
        total = sum(sum(document.weights[1:]) for document in ordered)
        size = math.ceil(len(ordered) / parts)
        for start in range(0, len(ordered), size):
            part = ordered[start : start + size]
            longest = len(part[-1].ids)
            tokens = torch.tensor([[*d.ids, *[0] * (longest - len(d.ids))] for d in part])
            weight = torch.tensor([[*d.weights, *[0.0] * (longest - len(d.ids))] for d in part])
            hidden = model.base_model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
            learnt = weight[:, 1:] != 0
            logits = model.get_output_embeddings()(hidden[learnt]).float()
            losses = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][learnt], reduction="none")
            ((losses * weight[:, 1:][learnt]).sum() / total * scale).backward()

    for step in range(steps):
        warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup * (steps - step) / steps
        optimizer.zero_grad(set_to_none=True)
        backward([documents[i] for i in examples_of_step(step, own, len(documents), settings.seed)], 1, 1.0 - share)
        if again:
            backward(replayed(step, again), 2, share)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
    return weights(model)


@pytest.mark.parametrize("replay_fraction", [0.0, 0.4])
def test_at_defaults_the_weights_are_those_of_the_first_loop(tmp_path, replay_fraction):
    examples = [
        TrainingExample(e.problem_id, e.sample_index, e.prompt, e.completion, 0.1 + (e.sample_index % 7) / 3)
        for e in EXAMPLES
    ]
    settings = FilteredSft(batch_size=6, epochs=2, replay_fraction=replay_fraction, weight_decay=0.01, seed=3)
    model, result = run(settings, tmp_path, examples, replayed)
    assert torch.equal(weights(model), first_loop(settings, examples))
    assert result.forward_tokens == 0 and result.kept_step == result.steps


def test_schedules_by_hand():
    """10 steps, 4 of warm-up, largest rate 1. Linear at step 5: (10 − 5)/10; cosine: (1 + cos(π/2))/2."""

    def rate(schedule: str, step: int) -> float:
        return learning_rate_at(step, 10, FilteredSft(learning_rate=1.0, warmup_steps=4, schedule=schedule))

    assert [rate("constant", step) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert [rate("linear", step) for step in (0, 5, 9)] == pytest.approx([0.25, 0.5, 0.1])
    assert [rate("cosine", step) for step in (0, 5, 8)] == pytest.approx(
        [0.25, 0.5, 0.5 * (1 + math.cos(0.8 * math.pi))]
    )


def test_held_out_are_problems_never_responses():
    ids = [f"p{j % 20}" for j in range(100)]
    held = held_out_problems(ids, 0.25, 0)
    assert len(held) == 5 and held < set(ids)
    assert held == held_out_problems(reversed(ids), 0.25, 0)
    assert held != held_out_problems(ids, 0.25, 1)
    assert held_out_problems(ids, 0.0, 0) == frozenset()
    assert len(held_out_problems(ids, 0.001, 0)) == 1 and len(held_out_problems(ids, 0.999, 0)) == 19
    with pytest.raises(DatasetError, match="validation_fraction"):
        held_out_problems(["p", "p"], 0.5, 0)


def test_held_out_problems_are_not_trained_on(tmp_path):
    """Whatever the held-out completions are, the weights are those of training on the others alone."""
    settings = FilteredSft(batch_size=8, epochs=2, validation_fraction=0.3)
    held = held_out_problems([e.problem_id for e in EXAMPLES], 0.3, 0)
    model, result = run(settings, tmp_path / "a")
    others = [e for e in EXAMPLES if e.problem_id not in held]
    alone, _ = run(FilteredSft(batch_size=8, epochs=2), tmp_path / "b", others)
    assert torch.equal(weights(model), weights(alone))
    measured = [row for row in result.rows if row["validation_loss"] is not None]
    assert [row["validation_problems"] for row in measured] == [3, 3]
    documents = [to_document(TOKENIZER, e) for e in EXAMPLES if e.problem_id in held]
    again = mean_loss(model, documents, pad_id=0, micro_batches=1, max_tokens=None, precision="float32")
    assert measured[-1]["validation_loss"] == pytest.approx(again, abs=1e-5)
    assert result.forward_tokens == 2 * sum(len(d.ids) for d in documents)


def test_the_steps_of_validation():
    settings = FilteredSft(epochs=3, batch_size=4, validation_fraction=0.5)
    assert validation_steps(8, 4, 10, settings) == {3, 5, 8}  # 10, 20 and 30 examples, 4 at a time
    every = FilteredSft(epochs=3, batch_size=4, validation_fraction=0.5, validation_every_steps=3)
    assert validation_steps(8, 4, 10, every) == {3, 6, 8}


def test_early_stop_keeps_the_best_weights(tmp_path):
    """A learning rate that ruins the model: the validation loss soon rises, and the weights before that are kept."""
    fields = dict(
        batch_size=8, epochs=60, learning_rate=0.03, warmup_steps=0, schedule="constant", validation_fraction=0.3
    )
    model, result = run(FilteredSft(**fields, patience=3), tmp_path / "a")
    measured = {row["step"]: row["validation_loss"] for row in result.rows if row["validation_loss"] is not None}
    best = min(measured, key=measured.get)
    assert result.kept_step == best and [row["step"] for row in result.rows if row["kept"]] == [best]
    assert result.steps < 200
    assert [step for step in measured if step > best] == list(measured)[-3:]  # three without improvement, then the end
    held = held_out_problems([e.problem_id for e in EXAMPLES], 0.3, 0)
    documents = [to_document(TOKENIZER, e) for e in EXAMPLES if e.problem_id in held]
    again = mean_loss(model, documents, pad_id=0, micro_batches=1, max_tokens=None, precision="float32")
    assert again == pytest.approx(measured[best], abs=1e-5)
    _, without = run(FilteredSft(**{**fields, "epochs": 5}), tmp_path / "b")
    assert without.kept_step == without.steps == max(row["step"] for row in without.rows)


def test_logged_steps(tmp_path):
    """28 examples of 8 a step, 2 epochs: 7 steps, each logged; the loss of a row is the mean since the row before."""
    _, result = run(FilteredSft(batch_size=8, epochs=2, warmup_steps=0, learning_rate=0.01), tmp_path, EXAMPLES[:28])
    assert [row["step"] for row in result.rows] == list(range(1, 8))
    assert [row["epoch"] for row in result.rows] == pytest.approx([8 * step / 28 for step in range(1, 8)])
    assert [row["learning_rate"] for row in result.rows] == pytest.approx([0.01 * (7 - s) / 7 for s in range(7)])
    assert result.rows[-1]["tokens"] == result.tokens
    assert [row["kept"] for row in result.rows] == [False] * 6 + [True]
    assert result.final_loss == pytest.approx(sum(row["loss"] for row in result.rows[-3:]) / 3)
    _, long = run(FilteredSft(batch_size=1, epochs=15), tmp_path / "long", EXAMPLES[:28])
    assert long.steps == 420 and [row["step"] for row in long.rows] == list(range(2, 421, 2))


def test_buckets_bound_the_tokens():
    lengths = [5, 9, 3, 20, 4, 9]
    parts = cut(lengths, 1, 18)
    assert sorted(i for part in parts for i in part) == list(range(6))
    assert parts == [[2, 4, 0], [1, 5], [3]]  # 3 × 5 = 15, 2 × 9 = 18, and a document longer than the bound
    assert all(len(part) * max(lengths[i] for i in part) <= 18 or len(part) == 1 for part in parts)
    assert cut(lengths, 2, None) == [[2, 4, 0], [1, 5, 3]]


def test_micro_batches_accumulate_the_same_gradient(tmp_path):
    """Bounded memory and recomputed activations change rounding only."""
    fields = dict(batch_size=16, epochs=1, warmup_steps=0)
    plain, result = run(FilteredSft(**fields), tmp_path / "a")
    for name, changed in {"b": {"tokens_per_micro_batch": 40}, "c": {"activation_checkpointing": True}}.items():
        other, again = run(FilteredSft(**fields, **changed), tmp_path / name)
        assert torch.allclose(weights(plain), weights(other), atol=2e-5)
        assert again.tokens == result.tokens and again.final_loss == pytest.approx(result.final_loss, abs=1e-4)
        assert not other.is_gradient_checkpointing
    documents = [to_document(TOKENIZER, example) for example in EXAMPLES]
    gradients = []
    for bound in (None, 60):
        model = new_model("a", 0)
        weighted_backward(model, documents, pad_id=0, max_tokens=bound)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_bfloat16_rounds_products_and_keeps_float32_weights(tmp_path):
    fields = dict(batch_size=8, epochs=4, learning_rate=3e-3)
    full, exact = run(FilteredSft(**fields), tmp_path / "a")
    rounded, result = run(FilteredSft(**fields, precision="bfloat16"), tmp_path / "b")
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.float32}
    assert not torch.equal(weights(full), weights(rounded))
    assert result.final_loss == pytest.approx(exact.final_loss, rel=0.05)


def test_a_precision_that_the_device_does_not_compute_in_is_refused(monkeypatch):
    check_precision("cpu", "bfloat16")
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    check_precision("cuda", "float32")
    with pytest.raises(ModelError, match="does not compute in bfloat16") as error:
        check_precision("cuda", "bfloat16")
    assert error.value.field == "training.precision"
