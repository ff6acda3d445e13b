"""Verification: k repeats averaged, models besides the generator, and a kill in the middle of it."""

from __future__ import annotations

import json

import polars as pl
import pytest

from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import make_plan
from ops.stages.base_model import obtain_base_model
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores, seconds_by_verifier
from ops.stages.verification import VERIFICATION_SCHEMA, verify_responses
from tests.conftest import tiny_experiment
from tests.stages.test_stages import read
from tests.stages.test_verifier_tables import EVAL, filled

OTHER = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 1}


def generated(lab: Lab) -> Lab:
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    return lab


def scores_of(lab: Lab, verifier: str) -> pl.DataFrame:
    return read(lab, "verification_scores", 0).filter(pl.col("verifier") == verifier)


def test_k_repeats_are_averaged_and_unparseable_ones_left_out(tmp_path):
    """A0: 1, 0, 1 -> 2/3. A1: 0, 0, 1 -> 1/3. A2: 1, unparseable, 0 -> 1/2, from .5 on correct. B0: none can be read.
    Tokens and seconds of all three count: 30 tokens, 1.5 s."""
    said = {"A0": (1.0, 0.0, 1.0), "A1": (0.0, 0.0, 1.0), "A2": (1.0, None, 0.0), "B0": (None, None, None)}
    rows = [row for row in EVAL if f"{row[0]}{row[1]}" in said]
    verifiers = [{"name": "binary_cot", "repeats": 3}, {"name": "majority"}]
    once = filled(tmp_path / "once", rows)  # for its tables only
    experiment = tiny_experiment(verifiers=verifiers, iterations=0)
    lab = Lab.open(experiment, home=tmp_path / "repeats", run_id="repeats")
    assert lab.plan.fingerprints["iteration_0/generations"] == once.plan.fingerprints["iteration_0/generations"]
    identity = lab.plan.verification_pools[0]["binary_cot"]
    assert identity == once.plan.verification_pools[0]["binary_cot"]  # the first of three is the one that there was
    _fill_repeats(lab, once, said)
    found = scores_of(lab, "binary_cot")
    assert found["score"].to_list() == [pytest.approx(2 / 3), pytest.approx(1 / 3), 0.5, None]
    assert found["verdict"].to_list() == ["correct", "incorrect", "correct", "unparseable"]
    assert found["n_tokens"].to_list() == [30] * 4
    assert json.loads(found["transcript"][2]) == ["A2 0", "A2 1", "A2 2"]
    assert seconds_by_verifier(lab, 0) == {"binary_cot": pytest.approx(1.5), "majority": 0.0}  # asks nobody


def _fill_repeats(lab: Lab, source: Lab, said: dict) -> None:
    """The problems and responses of ``source``, and three verifications of each response."""
    for table, asset, iteration in (("problems", "problems", None), ("generations", "iteration_0/generations", 0)):
        frame = source.store.read(table, source.plan.fingerprints[asset])
        lab.materialise(table, table, iteration, lambda frame=frame: frame, lambda _: {})
    pool = lab.store.pool("verifications", lab.plan.verification_pools[0]["binary_cot"], VERIFICATION_SCHEMA)
    verifier = lab.experiment.verifiers[0]
    rows = [
        (name if k == 0 else f"{name}/#{k}", score, verifier.verdict_of(score), f"{name} {k}", 10, 0.5)
        for name, scores in said.items()
        for k, score in enumerate(scores)
    ]
    pool.append(pl.DataFrame(rows, schema=VERIFICATION_SCHEMA, orient="row"))
    collect_scores(lab, 0)


def test_more_repeats_ask_only_for_the_missing_ones(lab):
    generated(lab)
    n = read(lab, "generations", 0).height
    assert verify_responses(lab, 0)["scored"] == 2 * n
    collect_scores(lab, 0)
    first = scores_of(lab, "binary_cot")
    verifiers = [{"name": "binary_cot", "max_tokens": 24, "repeats": 3}, {"name": "logit"}]
    more = Lab.open(tiny_experiment(verifiers=verifiers), home=lab.store.home)
    assert verify_responses(more, 0)["scored"] == 2 * n
    collect_scores(more, 0)
    more.close()
    transcripts = [json.loads(text) for text in scores_of(more, "binary_cot")["transcript"]]
    assert [len(texts) for texts in transcripts] == [3] * n
    assert [texts[0] for texts in transcripts] == first["transcript"].to_list()
    assert any(len(set(texts)) > 1 for texts in transcripts)  # each repeat is a sample of its own


def test_another_model_verifies_the_same_responses(lab):
    generated(lab)
    before = lab.plan.fingerprints["iteration_0/generations"]
    verifiers = [{"name": "logit"}, {"name": "logit", "model": OTHER, "label": "logit-other"}]
    cross = Lab.open(tiny_experiment(verifiers=verifiers), home=lab.store.home)
    assert cross.plan.fingerprints["iteration_0/generations"] == before
    obtain_base_model(cross)
    models = read(cross, "base_model").select("role", "model_fingerprint").rows()
    assert models == [("base", cross.plan.models[0]), ("verifier", cross.plan.verifier_models["logit-other"])]
    assert sample_responses(cross, 0) == {"drawn": 0, "reused": True}
    verify_responses(cross, 0)
    collect_scores(cross, 0)
    own, other = scores_of(cross, "logit"), scores_of(cross, "logit-other")
    assert set(own["verifier_model"]) == {cross.plan.models[0]}
    assert set(other["verifier_model"]) == {cross.plan.verifier_models["logit-other"]}
    assert own["response_id"].to_list() == other["response_id"].to_list()
    assert own["score"].to_list() != other["score"].to_list()
    cross.close()
    # asked alone, it says the same; the label is no part of what it says
    alone = make_plan(tiny_experiment(verifiers=[{"name": "logit", "model": OTHER}]))
    assert alone.verification_pools[0]["logit@countdown/a"] == cross.plan.verification_pools[0]["logit-other"]


class Killed(Exception):
    """Stands for kill -9 (tests/test_kill.py does that to whole processes)."""


@pytest.mark.parametrize(
    "verifier",
    [
        pytest.param({"name": "binary_cot", "max_tokens": 24}, marks=pytest.mark.slow),
        {"name": "binary_cot", "max_tokens": 24, "repeats": 2},
        pytest.param({"name": "score_cot", "max_tokens": 24}, marks=pytest.mark.slow),
        {"name": "logit"},
        pytest.param({"name": "tournament", "max_tokens": 16}, marks=pytest.mark.slow),
        pytest.param({"name": "sequence_logprob"}, marks=pytest.mark.slow),
    ],
    ids=lambda verifier: f"{verifier['name']}-{verifier.get('repeats', 1)}",
)
def test_a_killed_verification_resumes_and_says_the_same(tmp_path, monkeypatch, verifier):
    """What was committed stays as it is; the rest is as if nothing had happened."""
    engine = {"name": "transformers", "batch_size": 16}
    sizes = {
        "problems": {"train_per_iteration": 4, "eval": 4},
        "sampling": {"n_train": 4, "n_eval": 8, "max_tokens": 12},
    }
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 16)
    for module in ("choices", "token_scores", "tournament"):
        monkeypatch.setattr(f"ops.verifiers.{module}.BLOCK", 10)

    def start(place: str) -> Lab:
        experiment = tiny_experiment(verifiers=[verifier], engine=engine, iterations=0, **sizes)
        return generated(Lab.open(experiment, home=tmp_path / place, run_id=place))

    whole = start("whole")
    verify_responses(whole, 0)
    collect_scores(whole, 0)
    whole.close()

    lab = start("killed")

    def kill(what, done, total, numbers):
        if "verifying" in what and done >= 12 and done < total:
            raise Killed

    lab.progress = kill
    with pytest.raises(Killed):
        verify_responses(lab, 0)
    name = lab.experiment.verifiers[0].called
    pool = lab.store.pool("verifications", lab.plan.verification_pools[0][name], VERIFICATION_SCHEMA)
    kept = pool.read()
    assert 0 < kept.height < 48 * verifier.get("repeats", 1)
    lab.progress = lambda *_: None
    numbers = verify_responses(lab, 0)
    assert numbers["scored"] == 48 * verifier.get("repeats", 1) - kept.height
    assert pool.read(kept["response_id"]).equals(kept)
    collect_scores(lab, 0)
    lab.close()
    found, expected = (read(item, "verification_scores", 0) for item in (lab, whole))
    assert found["verdict"].null_count() == 0
    assert found.drop("score").equals(expected.drop("score"))
    pairs = zip(found["score"], expected["score"], strict=True)
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in pairs)  # other batches round otherwise


def test_a_verification_that_is_missing_is_an_error_and_no_verdict(lab):
    generated(lab)
    verify_responses(lab, 0)
    pool = lab.store.pool("verifications", lab.plan.verification_pools[0]["logit"], VERIFICATION_SCHEMA)
    kept = pool.read()[:-3]
    for chunk in pool.folder.glob("*.parquet"):
        chunk.unlink()
    pool.append(kept)
    with pytest.raises(StorageError, match="verifier logit: 3 of 88 verifications are not in their pool"):
        collect_scores(lab, 0)
    assert verify_responses(lab, 0)["scored"] == 3
    collect_scores(lab, 0)
    assert scores_of(lab, "logit")["verdict"].null_count() == 0


def test_nothing_is_asked_again_once_the_table_is_there(lab):
    generated(lab)
    verify_responses(lab, 0)
    collect_scores(lab, 0)
    lab.close()
    lab.engine = None  # nothing may need a model
    assert verify_responses(lab, 0) == {"scored": 0, "reused": True}
