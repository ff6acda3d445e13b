"""Fine-tuning a judge: the loss by hand, its gradient by finite differences, and which labels a copy sees."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from ops.builtin.model import new_model, new_tokenizer
from ops.errors import DatasetError
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.tuned import Tuned
from ops.evaluation.tuning import JudgeTraining, pair_losses, training_of
from ops.evaluation.tuning_pairs import check_enough, mean_labels, pairs_to_learn, problem_folds
from ops.progress import silent
from ops.training.loop import train

TOKENIZER = new_tokenizer()
WORDS = ("yes", "no")

ROWS = [
    {"text": "<s> 3 4 -> 7 : 3 + 4 ; ?", "reference_text": "<s> 3 4 -> 7 : 3 - 4 ; ?", "label": 1.0},
    {"text": "<s> 9 2 -> 11 : 9 ; ?", "reference_text": "<s> 9 2 -> 11 : 9 + 2 + 2 ; ?", "label": 0.5},
    {"text": "<s> 8 5 -> 3 : 8 * 5 ; ?", "reference_text": "<s> 8 5 -> 3 : 8 - 5 = 3 ; ?", "label": 0.25},
]


def test_the_loss_of_two_pairs_by_hand():
    """scale 2. Pair 1: d = (3 - 1) / 2 = 1, z = 1: -ln s(1) = ln(1 + e^-1) = 0.313262.
    Pair 2, a tie: d = (0 - 2) / 2 = -1, z = 1/2: -(ln s(-1) + ln s(1)) / 2 = (1.313262 + 0.313262) / 2 = 0.813262."""
    reward, reference = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 2.0])
    losses = pair_losses(reward, reference, torch.tensor([1.0, 0.5]), 2.0)
    assert losses.tolist() == pytest.approx([0.313262, 0.813262], abs=1e-6)


def test_a_tie_is_least_costly_at_equal_rewards():
    """At d = 0 any label costs ln 2; the slope there is s(0) - z = 1/2 - z, which is 0 for a tie."""
    reward = torch.zeros(3, requires_grad=True)
    losses = pair_losses(reward, torch.zeros(3), torch.tensor([0.0, 0.5, 1.0]), 1.0)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([math.log(2)] * 3)
    assert reward.grad.tolist() == pytest.approx([0.5, 0.0, -0.5])


def test_a_response_by_itself_costs_the_cross_entropy_of_its_reward():
    """r = ln 3, so the judge says 3/4. Correct: -ln 3/4. Wrong: -ln 1/4. The scale is of differences only."""
    reward = torch.full((2,), math.log(3))
    losses = pair_losses(reward, None, torch.tensor([1.0, 0.0]), 7.0)
    assert losses.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


@pytest.mark.parametrize("most", [None, 24], ids=["whole", "parts"])
@pytest.mark.parametrize("alone", [False, True], ids=["pairs", "alone"])
def test_the_gradient_against_finite_differences(monkeypatch, tmp_path, most, alone):
    """(L(w + h v) - L(w - h v)) / 2h along random directions v, in float64."""

    def exact(norm, x):  # transformers computes it in float32 whatever the weights are
        return norm.weight * x * (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()

    monkeypatch.setattr(LlamaRMSNorm, "forward", exact)
    model = new_model("a", 0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # far from the flat start
    settings = JudgeTraining(words=WORDS, scale=1.5, tokens_per_micro_batch=most)
    rows = [row | {"reference_text": None} for row in ROWS] if alone else ROWS
    objective = settings.objective(model, TOKENIZER, rows, tmp_path)
    objective.backward([0, 1, 2], 0.5)
    parameters = list(model.parameters())
    grads = [parameter.grad.clone() for parameter in parameters]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = [torch.randn(item.shape, generator=generator, dtype=torch.float64) for item in parameters]
        slope = sum(float((g * v).sum()) for g, v in zip(grads, way, strict=True))
        ends = []
        for step in (2e-7, -4e-7):
            with torch.no_grad():
                for parameter, v in zip(parameters, way, strict=True):
                    parameter.add_(v, alpha=step)
            ends.append(objective.backward([0, 1, 2], 0.5)[0])
        with torch.no_grad():
            for parameter, v in zip(parameters, way, strict=True):
                parameter.add_(v, alpha=2e-7)
        assert abs(slope) > 1e-4
        assert slope == pytest.approx(0.5 * (ends[0] - ends[1]) / 4e-7, rel=1e-6)


def test_the_reward_is_the_log_odds_of_what_the_engine_reads(tiny_model_folder, tmp_path):
    """Of P(True) exactly; of the logit verifier log((p + m/2) / (q + m/2)) with m = 1 - p - q on other tokens."""
    from ops.engines.transformers_engine import load_model
    from ops.engines.transformers_settings import TransformersEngineSettings
    from ops.evaluation.tuning import choice_rewards

    settings = TransformersEngineSettings(device="cpu")
    engine = settings.load(tiny_model_folder)
    texts = [text for row in ROWS for text in (row["text"], row["reference_text"])]
    logprob_N2 = engine.choice_logprobs(texts, WORDS)
    engine.close()
    ids = [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in texts]
    yes, no = (TOKENIZER(word, add_special_tokens=False)["input_ids"][0] for word in WORDS)
    with torch.no_grad():
        reward_N = choice_rewards(load_model(tiny_model_folder, settings), (yes, no), 0)(ids).numpy()
    p_true = BradleyTerry.model_validate({"verifier": {"name": "p_true"}})
    np.testing.assert_allclose(reward_N, p_true.rewards(p_true.verifier.scores_of(logprob_N2)), rtol=1e-4, atol=1e-6)
    logit = BradleyTerry.model_validate({"verifier": {"name": "logit"}})
    p_N, q_N = np.exp(logprob_N2).T
    m_N = 1 - p_N - q_N
    shared_N = np.log((p_N + m_N / 2) / (q_N + m_N / 2))
    np.testing.assert_allclose(logit.rewards(logit.verifier.scores_of(logprob_N2)), shared_N, rtol=1e-4, atol=1e-6)
    assert (np.sign(shared_N) == np.sign(reward_N)).all()
    assert (np.abs(shared_N) <= np.abs(reward_N)).all()


def test_training_learns_the_labels_and_nothing_else_decides_it(tmp_path):
    settings = training_of(Tuned(of="logit", epochs=40, learning_rate=1e-2, batch_size=3), WORDS, 1.0)
    assert settings.warmup_steps == 0

    def run(name: str):
        model = new_model("a", 0)
        objective = settings.objective(model, TOKENIZER, ROWS, tmp_path / name)
        result = train(
            model, objective, settings, replay=None, pad_id=0, work=tmp_path / name, progress=silent, label=""
        )
        return model, result

    model, result = run("one")
    floor = (0 + math.log(2) + -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))) / 3  # the labels' own entropy: .418
    assert result.rows[0]["loss"] > 0.6
    assert result.final_loss == pytest.approx(floor, abs=0.05)
    again, _ = run("two")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def pairs_frame(rows: list[tuple]) -> pl.DataFrame:
    """(pair_id, problem_id, model, response, reference_response, is_identical)."""
    names = ["pair_id", "problem_id", "model", "response", "reference_response", "is_identical"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(sample_index=pl.lit(0))


PAIRS = pairs_frame(
    [
        ("a1", "p1", "a", "x", "r1", False),
        ("a2", "p2", "a", "y", "r2", False),
        ("a3", "p3", "a", "z", "r3", False),
        ("b1", "p1", "b", "x", "r1", False),  # the texts of a1
        ("b2", "p2", "b", "w", "r2", False),
        ("b3", "p3", "b", "r3", "r3", True),
        ("c1", "p1", "c", "v", "r1", False),
        ("c2", "p2", "c", "y", "r1", False),  # the response of a2 beside another of the reference's
        ("c3", "p3", "c", "u", "r3", False),  # unlabelled
    ]
)
LABELS = pl.DataFrame(
    {
        "pair_id": ["a1", "a2", "a3", "b1", "b2", "b2", "b3", "c1", "c2"],
        "annotator": ["k", "k", "k", "k", "k", "l", "identical", "k", "k"],
        "label": [1.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 1.0],
    }
)


def test_annotators_are_averaged():
    labels = dict(mean_labels(LABELS).iter_rows())
    assert labels["b2"] == 0.75
    assert labels["a1"] == 1.0


def test_a_copy_learns_from_other_models_only():
    """Of b and c: not b1 (the same comparison as a1), not b3 (identical), not c3 (unlabelled)."""
    found = pairs_to_learn(PAIRS, LABELS, "a")
    assert found["pair_id"].to_list() == ["b2", "c1", "c2"]
    assert found["label"].to_list() == [0.75, 0.0, 1.0]
    shuffled = pairs_to_learn(PAIRS, LABELS.sample(fraction=1.0, shuffle=True, seed=1), "a")
    assert shuffled.equals(found)


def test_problems_can_be_left_out_as_well():
    assert pairs_to_learn(PAIRS, LABELS, "a", ["p2"])["pair_id"].to_list() == ["c1"]


def test_single_responses_with_the_same_text_are_left_out():
    alone = PAIRS.with_columns(reference_response=pl.lit(None, dtype=pl.String))
    # now c2 says what a2 says
    assert pairs_to_learn(alone, LABELS, "a")["pair_id"].to_list() == ["b2", "c1"]


def test_folds_are_of_equal_size_and_do_not_hang_on_order():
    names = [f"p{i}" for i in range(23)]
    folds = problem_folds(names, 5, 0)
    assert sorted(np.bincount(list(folds.values())).tolist()) == [4, 4, 5, 5, 5]
    assert problem_folds(reversed(names), 5, 0) == folds
    assert problem_folds(names, 5, 1) != folds


def test_too_few_labels_are_refused():
    check_enough(10, "logit+tuned", "a", "labels/x.jsonl")
    with pytest.raises(DatasetError, match=r"labels/x\.jsonl: label: 9 labelled pairs.*at least 10"):
        check_enough(9, "logit+tuned", "a", "labels/x.jsonl")


def test_what_decides_the_weights():
    plain = Tuned(of="logit")
    assert plain.identity() == Tuned(of="other", label="x", folds=7, tokens_per_micro_batch=9).identity()
    assert plain.identity() != Tuned(of="logit", leave_out="model_and_problem").identity()
    folds = [Tuned(of="logit", leave_out="model_and_problem", folds=k) for k in (2, 3)]
    assert folds[0].identity() != folds[1].identity()
    assert plain.fold_numbers == (None,)
    assert folds[1].fold_numbers == (0, 1, 2)


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory) -> Path:
    """An untrained ``LlamaForSequenceClassification`` with one output."""
    from tests.evaluation.classifier import save_classifier

    return save_classifier(tmp_path_factory.mktemp("classifier") / "tiny")


def test_a_reward_model_learns_too(classifier_folder, tmp_path):
    """The gradient along a direction by finite differences in float32 rewards, and the labels after training."""
    from ops.evaluation.rewards import load_reward_model

    settings = training_of(Tuned(of="rm", epochs=40, learning_rate=1e-2, batch_size=3), None, 2.0)
    model, tokenizer = load_reward_model(classifier_folder)
    objective = settings.objective(model, tokenizer, ROWS, tmp_path)
    first, tokens = objective.backward([0, 1, 2], 1.0)
    assert tokens == sum(len(tokenizer(row[name])["input_ids"]) for row in ROWS for name in ("text", "reference_text"))
    weight, way = model.score.weight, model.score.weight.grad.clone()
    ends = []
    for step in (1e-2, -2e-2):
        with torch.no_grad():
            weight.add_(way, alpha=step)
        ends.append(objective.backward([0, 1, 2], 1.0)[0])
    assert float((way**2).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2)
    model, tokenizer = load_reward_model(classifier_folder)
    objective = settings.objective(model, tokenizer, ROWS, tmp_path)
    result = train(model, objective, settings, replay=None, pad_id=0, work=tmp_path, progress=silent, label="")
    floor = (0 + math.log(2) + -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))) / 3
    assert first > floor + 0.1
    assert result.final_loss == pytest.approx(floor, abs=0.05)


@pytest.mark.parametrize("kind", ["choice", "classifier"])
def test_adapters_are_merged_into_the_weights(classifier_folder, tmp_path, kind):
    from ops.evaluation.rewards import load_reward_model

    judge = Tuned(of="rm", learning_rate=1e-2, epochs=10, lora={"rank": 2, "target_modules": ("all-linear",)})
    model, words = (new_model("a", 0), WORDS) if kind == "choice" else (load_reward_model(classifier_folder)[0], None)
    settings = training_of(judge, words, 1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective = settings.objective(model, TOKENIZER, ROWS, tmp_path)
    result = train(model, objective, settings, replay=None, pad_id=0, work=tmp_path, progress=silent, label="")
    assert result.rows[-1]["loss"] < result.rows[0]["loss"]
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all("proj" in name or name == "score.weight" for name in changed), changed
