"""KL to the base model: on models whose distributions are known, on the lab's own, and what is not read."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import asset_name
from ops.prompts.compact import CompactFormat
from ops.stages.base_model import obtain_base_model
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.policy_shift import base_pool, continuation, measure_policy_shift, own_pool, read_under_base
from ops.stages.problems import make_problems
from tests.conftest import tiny_experiment
from tests.stages.test_verifier_tables import commit

LOG2 = math.log(2)
OWN = {"1": 0.5, "2": 0.25, ".": 0.25}
BASE = {"1": 0.25, "2": 0.25, ".": 0.5}


def known_model(folder: Path, chances: dict[str, float]) -> Path:
    """A checkpoint that draws every token from ``chances``, whatever stands before: its last hidden state is all ones,
    so the output weights' first column are the logits. Other words have probability e^-40 each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ops.builtin.model import new_tokenizer
    from ops.builtin.notation import VOCABULARY

    shape = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    config = LlamaConfig(vocab_size=len(VOCABULARY), max_position_embeddings=256, tie_word_embeddings=False, **shape)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "embed" in name or "norm" in name else 0.0)
        model.lm_head.weight[:, 0] = -40.0
        for word, chance in chances.items():
            model.lm_head.weight[VOCABULARY[word], 0] = math.log(chance)
    model.save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


def opened(folder: Path, **changes) -> Lab:
    """A lab whose model of iteration 1 is OWN and whose base model is BASE."""
    lab = Lab.open(tiny_experiment(**changes), home=folder / "home", run_id="test")
    settings = TransformersEngineSettings(device="cpu")
    engines = [settings.load(known_model(folder / name, chances)) for name, chances in (("b", BASE), ("o", OWN))]
    lab.engine = lambda iteration, verifier=None: engines[iteration]
    return lab


def table(lab: Lab, iteration: int) -> dict[str, dict]:
    measure_policy_shift(lab, iteration)
    found = lab.store.read("policy_shift", lab.plan.fingerprints[asset_name("policy_shift", iteration)])
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def responses(lab: Lab, iteration: int, rows: list[tuple[str, str, str]]) -> None:
    """Rows of ``generations`` from (problem, response, finish reason)."""
    commit(lab, "generations", iteration, [
        {"split": "eval", "problem_id": name, "sample_index": i, "response": text, "finish_reason": reason}
        | {"prompt": "<s> 3 4 -> 7 :", "response_id": f"{name}{i}", "n_tokens": len(text.split()) + (reason == "stop")}
        for i, (name, text, reason) in enumerate(rows)
    ])  # fmt: skip


def test_by_hand_on_known_distributions(tmp_path):
    """A 1 adds log(.5 / .25) = log 2, a 2 nothing, the end log(.25 / .5) = -log 2; a response that was cut has no end.

    A: ``1 1`` ended: log 2 over 3 tokens; ``2`` ended: -log 2 over 2. B: ``1 1`` cut: 2 log 2 over 2.
    Per problem 0 and 2 log 2: log 2. Per token (1 - 1 + 2) log 2 / 7. k3: log 2 - 1/2 and 1 - log 2 in A: mean 1/4; in
    B 1/4 - 1 + 2 log 2: mean (2 log 2 - 1/2) / 2.
    """
    lab = opened(tmp_path)
    responses(lab, 1, [("A", "1 1", "stop"), ("A", "2", "stop"), ("B", "1 1", "length")])
    assert read_under_base(lab, 1)["read"] == 6
    found = table(lab, 1)
    assert found["kl_to_base_nats"]["value"] == pytest.approx(LOG2, abs=1e-5)
    assert found["kl_to_base_nats_per_token"]["value"] == pytest.approx(2 * LOG2 / 7, abs=1e-5)
    assert found["kl_to_base_k3_nats"]["value"] == pytest.approx(LOG2 - 1 / 4, abs=1e-5)
    assert {(row["n_problems"], row["n_responses"]) for row in found.values()} == {(2, 3)}


def test_sampled_from_known_distributions(tmp_path):
    """Each drawn token adds d = sum p log(p/q) = (1/2 - 1/4) log 2 on average; it ends with 1/4, at the latest after 4:
    (1 - (3/4)^4) / (1/4) tokens on average, so KL = d * 2.734375, per token d. Drawn and read alike."""
    lab = opened(tmp_path, sampling={"n_train": 1, "n_eval": 64, "max_tokens": 4}, monitoring={"kl_responses": 64})
    make_problems(lab)
    sample_responses(lab, 1)
    grade_responses(lab, 1)
    read_under_base(lab, 1)
    result = measure_policy_shift(lab, 1)
    truth = LOG2 / 4 * 4 * (1 - 0.75**4)
    # r of a token has variance (1/2 + 1/4) log^2 2 - d^2 < .33; of 512 responses of <= 4 tokens: error < .05
    assert result.metadata["responses"] == 512
    assert result.metadata["kl_to_base_nats"] == pytest.approx(truth, abs=0.15)
    assert result.metadata["kl_to_base_nats_per_token"] == pytest.approx(LOG2 / 4, abs=0.06)
    assert abs(result.metadata["drawn_minus_read_nats"]) < 1e-4
    assert result.metadata["kl_to_base_nats_low"] < truth < result.metadata["kl_to_base_nats_high"]


def test_what_the_lab_draws_it_reads_alike(lab):
    """On the lab's own tiny model: log-probabilities by teacher forcing are those that were recorded when it drew, for
    every response that its text determines, so that at the base model itself the log-ratio is 0 within rounding."""
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    lab.experiment = lab.experiment.model_copy(
        update={"monitoring": lab.experiment.monitoring.model_copy(update={"kl_responses": 8})}
    )
    assert read_under_base(lab, 0)["read"] == 0  # the model is the base model: nothing can differ
    assert {row["value"] for row in table(lab, 0).values()} == {0.0}
    frame = lab.store.read("generations", lab.plan.fingerprints["iteration_0/generations"])
    prompts, engine = CompactFormat(), lab.engine(0)
    rows = frame.filter(pl.col("split") == "eval").to_dicts()
    asked = [row["prompt"] for row in rows]
    texts = [continuation(prompts, row["response"], row["finish_reason"] == "stop") for row in rows]
    # an untrained model ends with </s> as often as with the full stop, and the text does not say with which
    others = [text.removesuffix(" .") + " </s>" if text.endswith(" .") else text for text in texts]
    checked = 0
    for row, *read in zip(
        rows, engine.token_statistics(asked, texts), engine.token_statistics(asked, others), strict=True
    ):
        if read[0].n_tokens == row["n_tokens"]:  # otherwise special tokens were drawn, which the text leaves out
            assert min(abs(row["logprob"] - item.logprob) for item in read) < 1e-4
            checked += 1
    assert checked > len(rows) / 2


def test_the_ending_is_what_sampling_stops_at():
    prompts = CompactFormat()
    assert continuation(prompts, "1 + 2 = 3", True) == " 1 + 2 = 3 ."
    assert continuation(prompts, "1 + 2 = 3", False) == " 1 + 2 = 3"

    class Chat:
        solve_stop = ()

        def completion(self, response, finished):
            return response + ("<|im_end|>" if finished else "")

    assert continuation(Chat(), "Three.", True) == "Three.<|im_end|>"


def test_reading_resumes_and_happens_once(tmp_path, monkeypatch):
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 8)
    monkeypatch.setattr("ops.stages.policy_shift.READ_AT_ONCE", 4)
    lab = opened(tmp_path)
    responses(lab, 1, [(f"p{i // 8}", "1 2", "stop") for i in range(24)])

    class Killed(Exception):
        pass

    def kill(what, done, total, numbers):
        if "base" in what and done >= 16:
            raise Killed

    lab.progress = kill
    with pytest.raises(Killed):
        read_under_base(lab, 1)
    assert (len(own_pool(lab).keys()), len(base_pool(lab).keys())) == (24, 16)
    with pytest.raises(StorageError, match=r"base_logprobs/.*8 of 24 responses were not read"):
        measure_policy_shift(lab, 1)
    lab.progress = lambda *_: None
    loaded = []
    engine = lab.engine
    lab.engine = lambda iteration, verifier=None: loaded.append(iteration) or engine(iteration)
    assert read_under_base(lab, 1)["read"] == 8
    assert loaded == [0]  # what its own model says is known already
    measure_policy_shift(lab, 1)
    lab.engine = None
    assert read_under_base(lab, 1)["reused"]


def test_only_the_first_responses_of_each_problem_are_read(tmp_path):
    lab = opened(tmp_path, monitoring={"kl_responses": 2})
    responses(lab, 1, [(name, "1", "length") for name in ("A", "A", "A", "B")])
    assert read_under_base(lab, 1)["read"] == 2 * 3
    assert table(lab, 1)["kl_to_base_nats"]["n_responses"] == 3


def test_a_response_without_a_token_is_left_out(tmp_path):
    lab = opened(tmp_path)
    responses(lab, 1, [("A", "1", "length"), ("B", "", "length")])
    read_under_base(lab, 1)
    result = measure_policy_shift(lab, 1)
    assert (result.metadata["responses"], result.metadata["responses_left_out"]) == (1, 1)
    assert table(lab, 1)["kl_to_base_nats"]["value"] == pytest.approx(LOG2, abs=1e-5)


def test_zero_responses_load_nothing_and_say_why(tmp_path):
    for place, changes, reason in (
        ("a", {"monitoring": {"kl_responses": 0}}, "kl_responses is 0"),
        ("b", {"engine": {"name": "vllm"}}, "engine vllm does not read given texts"),
    ):
        lab = Lab.open(tiny_experiment(**changes), home=tmp_path / place, run_id="test")
        lab.engine = None
        assert read_under_base(lab, 1) == {"read": 0, "reused": False}
        result = measure_policy_shift(lab, 1)
        assert result.n_rows == 0 and reason in result.metadata["not_measured"]


def test_engines_that_cannot_read_are_refused_by_the_file():
    with pytest.raises(ValueError, match=r"monitoring.kl_responses: 0 with engine vllm .*got 4"):
        tiny_experiment(engine={"name": "vllm"}, monitoring={"kl_responses": 4})
    assert tiny_experiment(engine={"name": "vllm"}).kl_responses == 0
    assert tiny_experiment(engine={"name": "vllm"}, monitoring={"kl_responses": 0}).kl_responses == 0
    assert tiny_experiment().kl_responses == 16
