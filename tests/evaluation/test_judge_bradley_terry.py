"""Bradley and Terry's preference from verifiers' scores, by hand; verifications are shared with other experiments."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest

from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.rewards import log_odds, preference
from ops.plan import make_plan
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from ops.stages.verification import VERIFICATION_SCHEMA
from tests.conftest import tiny_experiment
from tests.evaluation.judged_lab import REFERENCE, Scripted, commit_pairs, judged, open_lab, script, table_of

PAIRS = [("b", "sure", "even"), ("b", "even", "sure"), ("b", "same", "same"), ("b", "none", "even"), ("b", "no", "yes")]
YES_NO = {"sure": (0.8, 0.2), "even": (0.5, 0.5), "none": (0.0, 0.0), "no": (0.0, 1.0), "yes": (1.0, 0.0)}


def logprobs(prompt: str, seed: int) -> list[float]:
    return [math.log(p) if p else -math.inf for p in YES_NO[prompt.split(": ")[1]]]


def logit(**changes):
    return {"name": "bradley_terry", "verifier": {"name": "logit"}, **changes}


def test_log_odds_and_preference_by_hand():
    # ln(.8 / .2) = ln 4; clipped to 1e-6: ln(1e-6 / (1 - 1e-6))
    assert log_odds([0.8, 0.5, 0.0, 1.0]) == pytest.approx([math.log(4), 0.0, -13.8155096, 13.8155096])
    # 1 / (1 + 4 ** -1) = .8; at scale 2 1 / (1 + 4 ** -.5) = 2 / 3
    assert preference([math.log(4)], [0.0], 1.0) == pytest.approx([0.8])
    assert preference([math.log(4)], [0.0], 2.0) == pytest.approx([2 / 3])
    assert math.isnan(preference([math.nan], [0.0], 1.0)[0])


def test_scores_by_hand(tmp_path):
    lab = open_lab(tmp_path, [logit(), logit(scale=2.0, label="wide")])
    commit_pairs(lab, PAIRS)
    engine = Scripted(logprobs)
    script(lab, engine)
    rows = judged(lab)
    own = rows.filter(judge="logit")
    # p(yes) - p(no) = .6 on [-1, 1] is probability .8, reward ln 4, against .5, reward 0; 'none' has no score
    clipped = 2 * 13.8155096
    assert own["score"].to_list() == [
        pytest.approx(0.8),
        pytest.approx(0.2),
        0.5,
        None,
        pytest.approx(1 / (1 + math.exp(clipped))),
    ]
    assert own["reward"].to_list() == [
        pytest.approx(math.log(4)),
        pytest.approx(0.0),
        None,  # equal responses: nobody was asked
        None,
        pytest.approx(-13.8155096),
    ]
    assert own["reference_reward"][3] == pytest.approx(0.0)
    assert own["transcript"].null_count() == 5 and own["n_tokens"].to_list() == [0] * 5
    wide = rows.filter(judge="wide")["score"]
    assert wide[0] == pytest.approx(2 / 3) and wide[1] == pytest.approx(1 / 3)
    assert len(engine.calls) == 1  # the second judge reads what the first has asked
    assert not any("same" in prompt for prompt in engine.calls[0])


def test_accuracy_is_the_score_as_a_probability(tmp_path):
    lab = open_lab(tmp_path, [logit()], "accuracy")
    commit_pairs(lab, [("b", "sure", None), ("b", "none", None), ("countdown/a", "no", None)])
    script(lab, Scripted(logprobs))
    rows = judged(lab)
    assert rows["score"].to_list() == [pytest.approx(0.8), None, 0.0]
    assert rows["reward"].to_list() == [pytest.approx(math.log(4)), None, pytest.approx(-13.8155096)]
    assert rows["reference_reward"].null_count() == 3


def test_a_verifier_without_a_range_gives_its_score_as_the_reward(tmp_path):
    judge = {"name": "bradley_terry", "verifier": {"name": "sequence_logprob", "normalise": "sum"}}
    lab = open_lab(tmp_path, [judge])
    commit_pairs(lab, [("b", "a b c", "a")])
    script(lab, Scripted())
    row = judged(lab).row(0, named=True)
    # the scripted engine gives -0.5 nats a word: -1.5 and -0.5, 1 / (1 + e)
    assert (row["reward"], row["reference_reward"]) == (-1.5, -0.5)
    assert row["score"] == pytest.approx(1 / (1 + math.e))


def test_repeats_are_averaged_and_unparseable_ones_left_out(tmp_path):
    said = {"good": iter(["Score: 10", "nothing", "Score: 5"]), "bad": iter(["Score: 5"] * 3)}
    judge = {"name": "bradley_terry", "verifier": {"name": "score_cot", "repeats": 3}}
    lab = open_lab(tmp_path, [judge])
    commit_pairs(lab, [("b", "good", "bad")])
    script(lab, Scripted(lambda prompt, seed: next(said[prompt.split(": ")[1]])))
    row = judged(lab).row(0, named=True)
    # mean of 10 and 5 on 0..10 is probability .75: log-odds ln 3 against 0, and 1 / (1 + 1 / 3) = .75
    assert row["reward"] == pytest.approx(math.log(3)) and row["score"] == pytest.approx(0.75)
    assert len(json.loads(row["transcript"])) == 6 and row["n_tokens"] == 2 * 5 + 1


def test_unparseable_in_one_of_the_two_is_no_judgement(tmp_path):
    lab = open_lab(tmp_path, [{"name": "bradley_terry", "verifier": {"name": "binary_cot"}}])
    commit_pairs(lab, [("b", "good", "mute"), ("b", "mute", "good"), ("b", "good", "bad")])
    words = {"good": "Verdict: correct", "bad": "Verdict: incorrect", "mute": "hm"}
    script(lab, Scripted(lambda prompt, seed: words[prompt.split(": ")[1]]))
    rows = judged(lab)
    assert rows["score"].to_list()[:2] == [None, None]
    assert rows["reference_reward"][0] is None and rows["reward"][0] is not None
    assert rows["score"][2] == pytest.approx(1.0, abs=1e-11)


def test_verifications_of_other_experiments_are_used(tmp_path):
    lab = open_lab(tmp_path, [logit()])
    pairs = commit_pairs(lab, PAIRS[:2])
    loop = make_plan(tiny_experiment(model=REFERENCE, iterations=0, verifiers=[{"name": "logit"}]))
    assert lab.evaluation_plan.judgement_pools["logit"] == loop.verification_pools[0]["logit"]
    pool = lab.store.pool("verifications", loop.verification_pools[0]["logit"], VERIFICATION_SCHEMA)
    known = [pairs["response_id"][0], pairs["reference_response_id"][0]]
    rows = [(identity, score, "correct", "", 0, 0.0) for identity, score in zip(known, (0.6, 0.0), strict=True)]
    pool.append(pl.DataFrame(rows, schema=VERIFICATION_SCHEMA, orient="row"))
    engine = Scripted(logprobs)
    script(lab, engine)
    assert judge_pairs(lab)["judged"] == 2
    assert len(engine.calls[0]) == 2  # the second pair's responses only
    commit_judgements(lab)
    assert table_of(lab)["score"].to_list() == [pytest.approx(0.8), pytest.approx(0.2)]


def test_probabilities_stay_in_their_range():
    judge = BradleyTerry.model_validate({"verifier": {"name": "score_cot", "scale": [1, 5]}})
    assert judge.probabilities([1.0, 3.0, 5.0 + 1e-9]).tolist() == [0.0, 0.5, 1.0]
    assert math.isnan(judge.rewards([math.nan])[0])
