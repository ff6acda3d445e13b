"""Losses by hand, examples in a fixed order, and training that resumes to the bit."""

import math

import pytest
import torch

from ops.builtin.model import count_parameters, new_model, new_tokenizer
from ops.builtin.pretrain import learning_rate_factor, make_batch, phase_of, pretrain
from ops.builtin.sizes import SIZES
from ops.errors import DatasetError, ModelError
from ops.progress import silent
from ops.tasks.countdown import keys_of
from ops.training.batches import count_steps, examples_of_step
from ops.training.loss import TokenDocument, weighted_backward
from ops.training.sft import to_document
from ops.training.sft_settings import FilteredSft
from ops.types import TrainingExample
from tests.training.examples import finetune

EXAMPLES = [
    TrainingExample("p", j, "<s> 10 8 6 -> 12 :", f" 10 + 8 = 18 ; 18 - 6 = {12 + j % 3} . </s>") for j in range(30)
]


class Killed(Exception):
    """Stands for kill -9 in the middle of training."""


def _killer(at):
    def progress(what, done, total, numbers):
        if done == at:
            raise Killed

    return progress


def test_sizes_have_the_documented_parameters():
    counts = {name: count_parameters(new_model(name, 0)) for name in SIZES}
    expected = {"a": 28_000, "xxs": 61_000, "xs": 102_000, "s": 344_000, "m": 795_000}
    assert {name: round(count / expected[name], 1) for name, count in counts.items()} == dict.fromkeys(SIZES, 1.0)


def test_loss_by_hand():
    """Uniform logits over V words cost ln V per token, whatever the weights and the padding."""
    model = new_model("a", 0)
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()  # tied: all logits are 0
    documents = [TokenDocument([1, 5, 6], [0.0, 1.0, 4.0]), TokenDocument([1, 7, 8, 9, 10], [0.0, 0.0, 2.0, 0.0, 1.0])]
    loss = weighted_backward(model, documents, pad_id=0, micro_batches=2)
    assert loss == pytest.approx(math.log(model.config.vocab_size), abs=1e-5)


def test_micro_batches_and_padding_do_not_change_the_gradient():
    documents = make_batch(9, 20, 12, 0, _material())
    gradients = []
    for parts in (1, 4):
        model = new_model("a", 0)
        loss = weighted_backward(model, documents, pad_id=0, micro_batches=parts)
        gradients.append((loss, torch.cat([p.grad.flatten() for p in model.parameters()])))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-5)
    assert torch.allclose(gradients[0][1], gradients[1][1], atol=1e-5)


def test_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="learnt"):
        weighted_backward(new_model("a", 0), [TokenDocument([1, 2], [0.0, 0.0])], pad_id=0, micro_batches=1)


def _material():
    from ops.builtin.documents import Material

    return Material(keys_of(3, 12, "train")[:100])


def test_phases_and_learning_rate():
    assert [phase_of(step, 100) for step in (0, 24, 25, 69, 70, 99)] == [0, 0, 1, 1, 2, 2]
    assert learning_rate_factor(0, 2000) == pytest.approx(1 / 50)
    assert learning_rate_factor(1000, 2000) == 1.0
    assert learning_rate_factor(1700, 2000) == pytest.approx(0.5)
    assert learning_rate_factor(1999, 2000) == pytest.approx(1 / 600)


def test_an_epoch_takes_every_example_once():
    steps, own, replayed = count_steps(30, FilteredSft(batch_size=12, replay_fraction=0.5, epochs=2))
    assert (steps, own, replayed) == (10, 6, 6)
    first = [i for step in range(5) for i in examples_of_step(step, own, 30, 0)]
    second = [i for step in range(5, 10) for i in examples_of_step(step, own, 30, 0)]
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


def test_only_the_completion_is_learnt():
    document = to_document(new_tokenizer(), EXAMPLES[0])
    assert len(document.ids) == 7 + 13
    assert list(document.weights) == [0.0] * 7 + [1.0] * 13


def test_finetuning_learns_and_resumes_to_the_bit(tmp_path):
    settings = FilteredSft(batch_size=4, epochs=16, learning_rate=3e-3)

    def run(model, work, progress=silent):
        return finetune(model, new_tokenizer(), EXAMPLES, settings, work=work, progress=progress)

    whole = new_model("a", 0)
    result = run(whole, tmp_path / "whole")
    assert result.steps == 120
    assert result.final_loss < 1.0 < math.log(whole.config.vocab_size)
    with pytest.raises(Killed):
        run(new_model("a", 0), tmp_path / "cut", _killer(77))
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["step-00000050"]
    resumed = new_model("a", 1)  # its weights come from the checkpoint
    again = run(resumed, tmp_path / "cut")
    assert again == result
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_pretraining_resumes_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("ops.builtin.pretrain.CHECKPOINT_STEPS", 10)
    monkeypatch.setattr("ops.builtin.pretrain.OWN_PROBLEMS", 20)
    keys = keys_of(3, 12, "train")[:300]

    def run(model, work, progress=silent):
        return pretrain(
            model, new_tokenizer(), keys, size="a", steps=40, batch_size=8, seed=0, work=work, progress=progress
        )

    whole = new_model("a", 0)
    result = run(whole, tmp_path / "whole")
    for killed_at in (15, 35):  # before and after the model's own attempts were drawn
        work = tmp_path / f"cut{killed_at}"
        with pytest.raises(Killed):
            run(new_model("a", 0), work, _killer(killed_at))
        resumed = new_model("a", 5)
        assert run(resumed, work).tokens == result.tokens
        for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(left, right)


def test_nothing_kept_is_one_clear_error(tmp_path):
    with pytest.raises(DatasetError, match="kept no response"):
        finetune(new_model("a", 0), new_tokenizer(), [], FilteredSft(), work=tmp_path)


def test_a_loss_that_is_not_finite_stops_training(tmp_path):
    model = new_model("a", 0)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="learning_rate"):
        finetune(model, new_tokenizer(), EXAMPLES, FilteredSft(), work=tmp_path)


def test_replayed_documents_that_are_not_finite_stop_training(tmp_path):
    """Their embedding alone is NaN, so the loss of the examples is finite: both are looked at, before any step."""
    model = new_model("a", 0)
    rare = model.config.vocab_size - 1
    with torch.no_grad():
        model.get_input_embeddings().weight = torch.nn.Parameter(model.get_input_embeddings().weight.clone())
        model.get_input_embeddings().weight[rare] = float("nan")  # no longer the output layer's
    before = [parameter.clone() for parameter in model.parameters()]
    again = [TokenDocument([1, rare, 5], [0.0, 1.0, 1.0])] * 32
    settings = FilteredSft(replay_fraction=0.5)
    with pytest.raises(ModelError, match="loss of the replayed documents is nan at step 0"):
        finetune(model, new_tokenizer(), EXAMPLES, settings, replay=lambda step, count: again, work=tmp_path)
    for left, right in zip(before, model.parameters(), strict=True):
        assert torch.equal(left.nan_to_num(0.5), right.nan_to_num(0.5))


def test_a_gradient_that_is_not_finite_stops_training_before_the_step(tmp_path):
    """Clipping by an infinite norm would make every gradient 0 or NaN, and the optimiser would write it."""
    model = new_model("a", 0)
    model.model.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ModelError, match=r"norm of the gradient is (inf|nan) at step 0") as error:
        finetune(model, new_tokenizer(), EXAMPLES, FilteredSft(), work=tmp_path)
    assert error.value.field == "training.learning_rate"
    assert all(torch.equal(left, right) for left, right in zip(before, model.parameters(), strict=True))
