"""DPO: the loss by hand, against TRL's own, its gradient by finite differences, and what training does with it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ops.builtin.model import new_model, new_tokenizer
from ops.errors import DatasetError, ModelError, StorageError
from ops.progress import silent
from ops.training.dpo import REFERENCE, PreferencePair, dpo_objective, pair_losses
from ops.training.dpo_settings import Dpo
from ops.training.loop import train
from ops.training.loss import TokenDocument
from tests.training.examples import PAIRS, weights

TOKENIZER = new_tokenizer()


def run(settings: Dpo, work: Path, pairs=PAIRS, seed: int = 0, replay=None):
    model = new_model("a", seed)
    objective = dpo_objective(model, TOKENIZER, pairs, settings, work)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        result = train(model, objective, settings, replay=replay, pad_id=0, work=work, progress=silent, label="test")
    return model, result


def sequence_logprob(model, prompt: str, completion: str) -> torch.Tensor:
    """Sum of the completion's log-probabilities, token by token, without padding."""
    before, after = (TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion))
    ids = torch.tensor([[*before, *after]])
    logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    return logprobs[torch.arange(len(before) - 1, ids.shape[1] - 1), ids[0, len(before) :]].sum()


def test_the_loss_by_hand():
    """β = 0.5, margin (−4 + 5) − (−6 + 5) = 2, so −log σ(1) = ln(1 + e⁻¹); margin 0 costs ln 2."""
    chosen, rejected = torch.tensor([-4.0, -3.0]), torch.tensor([-6.0, -2.0])
    losses = pair_losses(chosen, rejected, torch.tensor([-5.0, -3.0]), torch.tensor([-5.0, -2.0]), 0.5)
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(2)])


def test_the_gradient_by_hand():
    """dL/d log π(y_w) = −β σ(−β·margin), and the opposite for y_l (2305.18290, below equation 7)."""
    chosen, rejected = torch.tensor([-4.0], requires_grad=True), torch.tensor([-6.0], requires_grad=True)
    pair_losses(chosen, rejected, torch.tensor([-5.0]), torch.tensor([-5.0]), 0.5).sum().backward()
    slope = 0.5 / (1 + math.exp(1.0))
    assert chosen.grad.item() == pytest.approx(-slope) and rejected.grad.item() == pytest.approx(slope)


def objective_and_models(tmp_path: Path, settings: Dpo, pairs):
    """The objective with a reference that differs from the model, as in the middle of training."""
    model, start = new_model("a", 0), new_model("a", 0)
    objective = dpo_objective(model, TOKENIZER, pairs, settings, tmp_path)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return objective, model, start


@pytest.mark.parametrize("sft_weight", [0.0, 0.3])
def test_the_mean_loss_of_weighted_pairs(tmp_path, sft_weight):
    pairs = [PreferencePair(p.problem_id, p.prompt, p.chosen, p.rejected, 0.5 + i) for i, p in enumerate(PAIRS[:5])]
    settings = Dpo(beta=0.7, sft_weight=sft_weight)
    objective, model, start = objective_and_models(tmp_path, settings, pairs)
    losses, chosen, n_tokens = [], [], []
    for pair in pairs:
        of = {
            (name, text): sequence_logprob(one, pair.prompt, text).item()
            for name, one in (("now", model), ("start", start))
            for text in (pair.chosen, pair.rejected)
        }
        margin = of["now", pair.chosen] - of["start", pair.chosen]
        margin -= of["now", pair.rejected] - of["start", pair.rejected]
        losses.append(math.log(1 + math.exp(-0.7 * margin)))
        chosen.append(of["now", pair.chosen])
        n_tokens.append(len(TOKENIZER(pair.chosen, add_special_tokens=False)["input_ids"]))
    w = [pair.weight for pair in pairs]
    mean = sum(a * b for a, b in zip(w, losses, strict=True)) / sum(w)
    per_token = -sum(a * b for a, b in zip(w, chosen, strict=True)) / sum(
        a * b for a, b in zip(w, n_tokens, strict=True)
    )
    loss, tokens = objective.backward([3, 0, 4, 1, 2], 1.0)
    assert loss == pytest.approx(mean + sft_weight * per_token, abs=1e-4)
    assert tokens == objective.forward_tokens  # the reference has read the same five pairs


def test_the_gradient_by_finite_differences(tmp_path):
    objective, model, _ = objective_and_models(tmp_path, Dpo(beta=0.5, sft_weight=0.2), PAIRS[:4])
    objective.backward(range(4), 1.0)
    parameter = model.model.layers[0].self_attn.v_proj.weight
    direction = parameter.grad / parameter.grad.norm()
    slope = (parameter.grad * direction).sum().item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.add_(sign * 1e-2 * direction)
        values.append(objective.backward(range(4), 0.0)[0])
        with torch.no_grad():
            parameter.sub_(sign * 1e-2 * direction)
    assert (values[0] - values[1]) / 2e-2 == pytest.approx(slope, rel=2e-2)


def test_micro_batches_accumulate_the_same_gradient(tmp_path):
    gradients, losses = [], []
    for bound in (None, 60):
        objective, model, _ = objective_and_models(tmp_path / str(bound), Dpo(tokens_per_micro_batch=bound), PAIRS)
        losses.append(objective.backward(range(40), 1.0)[0])
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert torch.allclose(*gradients, atol=1e-5)


def test_the_loss_is_trls(tmp_path, monkeypatch):
    """The loss of TRL's ``DPOTrainer`` on the same batch, model and reference."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    pairs = PAIRS[:6]
    objective, model, start = objective_and_models(tmp_path / "ours", Dpo(beta=0.3), pairs)
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    config = DPOConfig(
        output_dir=str(tmp_path / "trl"), beta=0.3, use_cpu=True, bf16=False, report_to="none", max_length=None,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=model, ref_model=start, args=config, train_dataset=Dataset.from_list(rows), processing_class=TOKENIZER
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    theirs = trainer.compute_loss(trainer.model, batch)
    loss, _ = objective.backward(range(6), 1.0)
    assert abs(loss - math.log(2)) > 0.01  # the model is not its own reference here
    assert loss == pytest.approx(theirs.item(), abs=1e-5)
    ours = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    theirs.backward()
    assert torch.allclose(ours, weights_grad(model), atol=1e-5)


def weights_grad(model) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_training_makes_the_chosen_likelier_than_the_rejected(tmp_path):
    model, result = run(Dpo(batch_size=8, epochs=8, learning_rate=3e-3, beta=0.5), tmp_path)
    start = new_model("a", 0)
    margins = [
        (sequence_logprob(model, p.prompt, p.chosen) - sequence_logprob(start, p.prompt, p.chosen))
        - (sequence_logprob(model, p.prompt, p.rejected) - sequence_logprob(start, p.prompt, p.rejected))
        for p in PAIRS[:10]
    ]
    assert all(margin > 0 for margin in margins)
    assert result.rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # the model is its own reference at first
    assert result.final_loss < 0.5 * math.log(2)


def test_replay_validation_and_adapters_work_with_pairs(tmp_path):
    def replay(step, count):
        return [TokenDocument([1, 5 + step % 3, 9], [0.0, 1.0, 1.0])] * count

    fields = dict(batch_size=8, epochs=3, learning_rate=1e-2)
    plain, _ = run(Dpo(**fields), tmp_path / "plain")
    mixed, result = run(Dpo(**fields, replay_fraction=0.25), tmp_path / "mixed", replay=replay)
    assert not torch.equal(weights(plain), weights(mixed)) and result.steps == math.ceil(3 * 40 / 6)
    lora = {"rank": 4, "dropout": 0.2}
    settings = Dpo(**fields, validation_fraction=0.2, patience=5, lora=lora)
    model, result = run(settings, tmp_path / "lora")
    assert [row["validation_problems"] for row in result.rows if row["validation_loss"]] == [2, 2, 2]
    again, _ = run(settings, tmp_path / "again")
    assert torch.equal(weights(model), weights(again))


def test_the_reference_is_computed_once_and_read_again(tmp_path):
    settings = Dpo(batch_size=8)
    dpo_objective(new_model("a", 0), TOKENIZER, PAIRS, settings, tmp_path)
    known = load_file(tmp_path / REFERENCE)["logprobs_N2"]
    expected = [
        [sequence_logprob(new_model("a", 0), p.prompt, text).item() for text in (p.chosen, p.rejected)] for p in PAIRS
    ]
    assert torch.allclose(known, torch.tensor(expected), atol=1e-4)
    before = (tmp_path / REFERENCE).read_bytes()
    objective = dpo_objective(new_model("a", 1), TOKENIZER, PAIRS, settings, tmp_path)  # as if it was in training
    assert (tmp_path / REFERENCE).read_bytes() == before
    assert objective.backward(range(8), 0.0)[0] != pytest.approx(math.log(2), abs=1e-4)
    with pytest.raises(StorageError, match="log-probabilities of 40 pairs, expected 39"):
        dpo_objective(new_model("a", 0), TOKENIZER, PAIRS[1:], settings, tmp_path)


def test_a_reference_that_was_cut_off_goes_on(tmp_path, monkeypatch):
    """Killed after 16 of 40 pairs: these are read again, to the bit, and the others alone are computed."""
    monkeypatch.setattr("ops.training.dpo.REFERENCE_SECONDS", 0.0)
    settings, shown = Dpo(batch_size=8), []

    def killed(what, done, total, numbers):
        shown.append((done, total))
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dpo_objective(new_model("a", 0), TOKENIZER, PAIRS, settings, tmp_path / "cut", killed)
    assert shown == [(8, 40), (16, 40), (24, 40)]
    kept = load_file(tmp_path / "cut" / REFERENCE)["logprobs_N2"]
    assert int(kept.isfinite().all(dim=1).sum()) == 16 and int(kept.isnan().sum()) == 2 * 24
    shown.clear()
    again = lambda what, done, total, numbers: shown.append((done, total))  # noqa: E731
    dpo_objective(new_model("a", 0), TOKENIZER, PAIRS, settings, tmp_path / "cut", again)
    assert shown == [(24, 40), (32, 40), (40, 40)]
    dpo_objective(new_model("a", 0), TOKENIZER, PAIRS, settings, tmp_path / "whole")
    files = [(tmp_path / name / REFERENCE).read_bytes() for name in ("cut", "whole")]
    assert files[0] == files[1]


def test_a_start_model_that_gives_no_number_is_refused(tmp_path):
    model = new_model("a", 0)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="start model is not finite"):
        dpo_objective(model, TOKENIZER, PAIRS, Dpo(), tmp_path)


def test_no_pairs_is_one_clear_error(tmp_path):
    with pytest.raises(DatasetError, match="keeps and one that it drops"):
        dpo_objective(new_model("a", 0), TOKENIZER, [], Dpo(), tmp_path)
