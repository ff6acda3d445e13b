"""The objective: by hand, its gradient by finite differences, and what must not change it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ops.builtin.model import new_model
from ops.exploration.objective import PolicySample, policy_backward, token_logprobs
from tests.exploration.policy_samples import (
    PAD,
    READING,
    double_model,
    gradient,
    perturbed,
    rollouts,
    settings,
    with_logprobs,
)

STEP = dict(READING, max_tokens=12, tokens_per_micro_batch=None)
LOSSES = ("grpo", "dapo", "dr_grpo")
LN2 = math.log(2)


class Bigram(torch.nn.Module):
    """softmax(W[:, x]) after the token x, over two tokens; W is 0 at first, so that both are equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
        torch.nn.init.zeros_(self.head.weight)
        self.device = torch.device("cpu")

    def base_model(self, input_ids, use_cache):
        return SimpleNamespace(last_hidden_state=torch.nn.functional.one_hot(input_ids, 2).double())

    def get_output_embeddings(self):
        return self.head


def by_hand() -> list[PolicySample]:
    first = PolicySample(
        [0], [1, 0], np.array([2.0, -1.0]), np.log([1 / 4, 1 / 2]), base_logprob_T=np.log([1 / 2, 1 / 4])
    )
    return [first, PolicySample([1], [1], np.array([0.5]), base_logprob_T=np.log([1 / 2]))]


@pytest.mark.parametrize("loss", LOSSES)
def test_two_responses_by_hand(loss):
    """Every probability is 1/2 now; clip 0.2 both ways, beta 0.1, entropy weight 0.3, at most 4 tokens.

    First response, token 1: ratio (1/2) / (1/4) = 2, clipped to 1.2, weight 2; base 1/2, so k3 = 0:
        L1 = -2.4 - 0.3 ln 2
    token 2: ratio 1, weight -1; base 1/4, so d = -ln 2 and k3 = 1/2 + ln 2 - 1:
        L2 = 1 + 0.1 (ln 2 - 1/2) - 0.3 ln 2
    Second response: ratio 1, weight 1/2, k3 = 0:
        L3 = -1/2 - 0.3 ln 2
    grpo ((L1 + L2) / 2 + L3) / 2, dapo (L1 + L2 + L3) / 3, dr_grpo (L1 + L2 + L3) / (2 * 4).

    Gradient: L1 is clipped and its k3 and entropy (uniform) are at their optimum: none, so W[:, 0] has none. Token 2
    stands behind token 1: dL2/dlog p = -1 * (-1) + 0.1 (1 - 1/2) = 1.05 and dlog p(0) = (1/2, -1/2), so
    (0.525, -0.525); L3: -1/2 * (-1/2, 1/2) = (0.25, -0.25). With their coefficients: grpo 0.525 / 4 + 0.25 / 2,
    dapo 0.775 / 3, dr_grpo 0.775 / 8.
    """
    first, second, third = -2.4 - 0.3 * LN2, 1 + 0.1 * (LN2 - 0.5) - 0.3 * LN2, -0.5 - 0.3 * LN2
    total = first + second + third
    expected = {"grpo": ((first + second) / 2 + third) / 2, "dapo": total / 3, "dr_grpo": total / 8}[loss]
    slope = {"grpo": 0.525 / 4 + 0.25 / 2, "dapo": 0.775 / 3, "dr_grpo": 0.775 / 8}[loss]
    model = Bigram()
    numbers = policy_backward(
        model,
        by_hand(),
        settings(loss=loss, kl_coefficient=0.1, entropy=True),
        temperature=1.0,
        max_tokens=4,
        pad_id=PAD,
        tokens_per_micro_batch=None,
    )
    assert numbers.loss == pytest.approx(expected, rel=1e-12)
    assert model.head.weight.grad.tolist() == [[0.0, pytest.approx(slope)], [0.0, pytest.approx(-slope)]]
    assert numbers.kl_nats == pytest.approx((LN2 - 0.5) / 3, rel=1e-12)
    assert numbers.entropy_nats == pytest.approx(LN2) and numbers.entropy_B == pytest.approx([LN2, LN2])
    assert numbers.clip_fraction == pytest.approx(1 / 3) and numbers.tokens == 5


def test_only_the_side_that_the_weight_pulls_to_is_clipped():
    """Ratios 2 and 1/2, weights of both signs: -min(4, 2.6) = -2.6, -min(-2, -1.3) = 2, -min(0.5, 0.9) = -0.5 and
    -min(-0.5, -0.9) = 0.9; mean (-2.6 + 2 - 0.5 + 0.9) / 4 = -0.05, two of four clipped."""
    old_T = np.log([1 / 4, 1 / 4, 1.0, 1.0])
    sample = PolicySample([0], [1, 1, 1, 1], np.array([2.0, -1.0, 1.0, -1.0]), old_T)
    numbers = policy_backward(Bigram(), [sample], settings(clip_low=0.1, clip_high=0.3), **STEP)
    assert numbers.loss == pytest.approx(-0.05) and numbers.clip_fraction == 0.5
    assert math.isnan(numbers.kl_nats)


def off_policy() -> tuple[torch.nn.Module, list[PolicySample]]:
    """A float64 model, and samples with log-probabilities of two others."""
    model = double_model(1, 0.2)
    return model, with_logprobs(rollouts(), old=double_model(2, 0.15), base=double_model(3, 0.25))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_the_whole_objective_by_finite_differences(loss):
    """Central differences in float64 along random directions of all parameters, and along single parameters."""
    model, samples = off_policy()
    chosen = settings(loss=loss, kl_coefficient=0.2, clip_low=0.1, clip_high=0.3, entropy=True)
    numbers = policy_backward(model, samples, chosen, **STEP)
    assert 0.1 < numbers.clip_fraction < 0.9 and numbers.kl_nats > 0.01
    found = gradient(model)
    assert found.dtype == torch.float64
    generator = torch.Generator().manual_seed(4)
    directions = list(torch.randn((4, len(found)), generator=generator, dtype=torch.float64))
    largest = found.abs().topk(40).indices[::10]
    directions += list(torch.nn.functional.one_hot(largest, len(found)).double())
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    for direction in directions:
        values = []
        for move in (1e-5, -1e-5):
            torch.nn.utils.vector_to_parameters(start + move * direction, model.parameters())
            values.append(policy_backward(model, samples, chosen, **STEP).loss)
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(found @ direction), rel=1e-6)


def test_the_kl_gradient_is_in_expectation_that_of_the_other_direction():
    """As the module says: sum_y p(y) grad k3(y) = -sum_y q(y) grad log p(y), the gradient of KL(q || p), q the base.

    Here p = (0.7, 0.3) after token 0, q = (0.4, 0.6): the gradient in the logits is p - q = (0.3, -0.3).
    """
    model, p, q = Bigram(), (0.7, 0.3), (0.4, 0.6)
    with torch.no_grad():
        model.head.weight[:, 0] = torch.tensor(p).double().log()
    expected = np.zeros(2)
    for token in (0, 1):
        sample = PolicySample([0], [token], np.zeros(1), base_logprob_T=np.log([q[token]]))
        policy_backward(model, [sample], settings(kl_coefficient=1.0), **{**STEP, "temperature": 1.0})
        expected += p[token] * model.head.weight.grad[:, 0].numpy()
        model.zero_grad()
    assert expected == pytest.approx([0.3, -0.3], rel=1e-6)


def test_without_old_logprobs_the_ratio_is_one():
    """The gradient is that of old log-probabilities that are the model's own, and the loss minus the mean weight."""
    model = double_model(1, 0.2)
    samples = rollouts()
    chosen = settings(loss="dapo")
    numbers = policy_backward(model, samples, chosen, **STEP)
    without = gradient(model)
    policy_backward(model, with_logprobs(samples, old=model), chosen, **STEP)
    assert torch.allclose(without, gradient(model), rtol=1e-10, atol=1e-13) and without.abs().max() > 1e-3
    assert numbers.loss == pytest.approx(-np.concatenate([sample.weight_T for sample in samples]).mean())
    assert numbers.clip_fraction == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_add_up_to_the_whole(loss):
    model, samples = off_policy()
    chosen = settings(loss=loss, kl_coefficient=0.2, entropy=True)
    whole = policy_backward(model, samples, chosen, **STEP)
    expected = gradient(model)
    for bound in (1, 20):
        parts = policy_backward(model, samples, chosen, **{**STEP, "tokens_per_micro_batch": bound})
        assert torch.allclose(gradient(model), expected, rtol=1e-9, atol=1e-14)
        for name in ("loss", "kl_nats", "entropy_nats", "clip_fraction", "tokens"):
            assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-11)
        assert parts.entropy_B == pytest.approx(whole.entropy_B, rel=1e-11)


def test_the_gradient_is_added_to_what_is_there():
    model, samples = off_policy()
    policy_backward(model, samples, settings(), **STEP)
    once = gradient(model)
    for _ in range(2):
        policy_backward(model, samples, settings(), **STEP)
    assert torch.allclose(gradient(model), 2 * once, rtol=1e-12)


def test_weights_of_zero_have_no_gradient():
    model = new_model("a", 0)
    samples = [replace(sample, weight_T=np.zeros(len(sample.response_ids))) for sample in rollouts()]
    numbers = policy_backward(model, samples, settings(), **STEP)
    assert numbers.loss == 0.0 and gradient(model).abs().max() == 0.0


def test_a_masked_token_has_no_gradient():
    """The last token's weight is 0 in all rollouts: whatever it is, the gradient is the same."""
    model = double_model(1, 0.2)
    gradients, samples = [], rollouts()
    for last in (5, 9):
        changed = [replace(sample, response_ids=[*sample.response_ids[:-1], last]) for sample in samples]
        policy_backward(model, changed, settings(), **STEP)
        gradients.append(gradient(model))
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-15) and gradients[0].abs().max() > 1e-3


def test_log_probabilities_and_entropies_are_the_models_own():
    """Against the plain forward pass of each sample alone, at the temperature, in the order given."""
    model, samples = perturbed(new_model("a", 0), 1), rollouts()
    expected, entropies = [], []
    for sample in samples:
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        with torch.no_grad():
            logprob_TV = (model(ids).logits[0, len(sample.prompt_ids) - 1 : -1].double() / 0.8).log_softmax(-1)
        expected.append(logprob_TV.gather(1, torch.tensor(sample.response_ids)[:, None])[:, 0].numpy())
        entropies.append(torch.distributions.Categorical(logits=logprob_TV).entropy().mean().item())
    for bound in (None, 25):
        found, entropy_B = token_logprobs(model, samples, precision="float32", tokens_per_micro_batch=bound, **READING)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float64 and one == pytest.approx(other, abs=1e-5)
        assert entropy_B == pytest.approx(entropies, abs=1e-5)
    numbers = policy_backward(model, samples, settings(), **STEP)
    assert numbers.entropy_B == pytest.approx(entropies, abs=1e-5)


def test_reading_leaves_the_mode_and_no_gradient():
    model = new_model("a", 0).train()
    token_logprobs(model, rollouts(), precision="float32", tokens_per_micro_batch=None, **READING)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_train_and_eval_are_the_same_without_dropout():
    model, samples = off_policy()
    gradients = []
    for mode in (True, False):
        policy_backward(model.train(mode), samples, settings(kl_coefficient=0.1), **STEP)
        gradients.append(gradient(model))
    assert torch.equal(*gradients)


def test_bfloat16_is_near_float32():
    model, gradients, losses = perturbed(new_model("a", 0), 1), [], []
    samples = with_logprobs(rollouts(), old=perturbed(new_model("a", 0), 2), base=new_model("a", 0))
    for precision in ("float32", "bfloat16"):
        chosen = settings(kl_coefficient=0.1, precision=precision, entropy=True)
        losses.append(policy_backward(model, samples, chosen, **STEP).loss)
        gradients.append(gradient(model))
        assert gradients[-1].dtype == torch.float32 and gradients[-1].isfinite().all()
    assert not torch.equal(*gradients)  # the precision is followed
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        ({"response_ids": []}, {}, r"samples\[1\]: at least one token"),
        ({"prompt_ids": []}, {}, r"samples\[1\]: at least one token"),
        ({"weight_T": np.zeros(1)}, {}, r"samples\[1\].weight_T: shape \(7,\), got \(1,\)"),
        ({"old_logprob_T": np.zeros(1)}, {}, r"samples\[1\].old_logprob_T: shape"),
        ({"weight_T": np.full(7, np.nan)}, {}, r"samples\[1\].weight_T: finite numbers"),
        ({}, {"kl_coefficient": 0.1}, r"samples\[0\].base_logprob_T: needed where kl_coefficient is above 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, fields, message):
    samples = rollouts()
    samples[1] = replace(samples[1], **change)
    with pytest.raises(ValueError, match=message):
        policy_backward(new_model("a", 0), samples, settings(**fields), **STEP)
    with pytest.raises(ValueError, match="samples: at least one"):
        policy_backward(new_model("a", 0), [], settings(), **STEP)
