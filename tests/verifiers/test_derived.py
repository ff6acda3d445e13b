"""Verifiers that ask nobody: agreement, ensembles, recorded scores; all by hand."""

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from ops.errors import ExperimentError
from ops.verifiers.binary_cot import BinaryCot
from ops.verifiers.ensemble import Ensemble
from ops.verifiers.logit import Logit
from ops.verifiers.majority import Majority
from ops.verifiers.recorded import Recorded
from ops.verifiers.score_cot import ScoreCot
from ops.verifiers.sequence_logprob import SequenceLogprob

NAN = float("nan")
MEMBERS = {"logit": Logit(), "binary_cot": BinaryCot(), "score_cot": ScoreCot(), "logprob": SequenceLogprob()}
EMPTY = pl.DataFrame()


def ensemble(how, *of):
    return Ensemble.model_validate({"name": "ensemble", "how": how, "of": list(of)})


def derived(how, scores, *of):
    names = [item if isinstance(item, str) else item["verifier"] for item in of]
    arrays = {name: np.array(score) for name, score in zip(names, scores, strict=True)}
    return ensemble(how, *of).derive(EMPTY, arrays, MEMBERS)


def test_majority_agreement_by_hand():
    # p0 eval: 3, 3, 4 and one unparseable: 2/3, 2/3, 1/3, none. p0 train is another group: 3 alone: 1. p1: none.
    responses = pl.DataFrame(
        {
            "split": ["eval", "eval", "train", "eval", "eval", "eval"],
            "problem_id": ["p0", "p0", "p0", "p0", "p0", "p1"],
            "answer": ["3", "4", "3", "3", None, None],
        }
    )
    score = Majority().derive(responses, {}, {})
    assert score == pytest.approx([2 / 3, 1 / 3, 1.0, 2 / 3, NAN, NAN], nan_ok=True)
    assert Majority().verdict_of(2 / 3) == "correct"
    assert Majority().verdict_of(1 / 3) == "incorrect"


def test_and_by_hand():
    # logit accepts from 0 on, binary_cot from .5 on. (accept, accept) 1; (accept, reject) 0; (reject, accept) 0;
    # (accept, none) open; (reject, none) 0, whatever the other would say; (none, none) open.
    scores = [[0.2, 0.0, -0.1, 0.9, -0.9, NAN], [1.0, 0.0, 1.0, NAN, NAN, NAN]]
    found = derived("and", scores, "logit", "binary_cot")
    assert found == pytest.approx([1, 0, 0, NAN, 0, NAN], nan_ok=True)


def test_and_with_thresholds_of_its_own():
    found = derived("and", [[0.2, 0.6], [-1.0, -3.0]], {"verifier": "logit", "threshold": 0.5},
                    {"verifier": "logprob", "threshold": -2.0})  # fmt: skip
    assert found.tolist() == [0.0, 0.0]  # .2 < .5; -3 < -2


def test_majority_of_three_by_hand():
    # Accepting / rejecting / none: 3/0/0: 1. 2/1/0: 2/3. 1/2/0: 1/3. 2/0/1: decided, 2/2. 0/2/1: decided, 0.
    # 1/1/1: the missing one decides: open. 1/0/2: open. 0/0/3: open.
    logit = [1, 1, 1, 1, -1, 1, 1, NAN]
    binary = [1, 1, 0, 1, 0, 0, NAN, NAN]
    score = [9, 2, 2, NAN, NAN, NAN, NAN, NAN]
    found = derived("majority", [logit, binary, score], "logit", "binary_cot", "score_cot")
    assert found == pytest.approx([1, 2 / 3, 1 / 3, 1, 0, NAN, NAN, NAN], nan_ok=True)
    verifier = ensemble("majority", "logit", "binary_cot", "score_cot")
    assert [verifier.verdict_of(x) for x in (1.0, 2 / 3, 1 / 3, 0.0)] == ["correct"] * 2 + ["incorrect"] * 2


def test_half_is_no_majority():
    verifier = ensemble("majority", "logit", "binary_cot")
    score = verifier.derive(EMPTY, {"logit": np.array([1.0]), "binary_cot": np.array([0.0])}, MEMBERS)
    assert score.tolist() == [0.5]
    assert verifier.verdict_of(score[0]) == "incorrect"


def test_mean_by_hand():
    # logit -1..1: .5 -> .75; score 0..10: 4 -> .4; mean .575. A missing member is left out: .75. None: none.
    found = derived("mean", [[0.5, 0.5, NAN], [4.0, NAN, NAN]], "logit", "score_cot")
    assert found == pytest.approx([0.575, 0.75, NAN], nan_ok=True)


def test_labels_and_members():
    verifier = ensemble("and", "logit", {"verifier": "binary_cot", "threshold": 0.9})
    assert verifier.called == "and-logit+binary_cot"
    assert verifier.members == ("logit", "binary_cot")
    assert Ensemble(how="and", of=verifier.of, label="both").called == "both"


@pytest.mark.parametrize(
    "fields",
    [
        {"how": "and", "of": ["logit"]},
        {"how": "and", "of": ["logit", "logit"]},
        {"how": "or", "of": ["logit", "binary_cot"]},
        {"how": "and", "of": [{"threshold": 1.0}, "logit"]},
        {"how": "and", "of": "logit"},
    ],
)
def test_ensembles_that_are_none(fields):
    with pytest.raises(ValidationError):
        Ensemble.model_validate(fields)


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        (ensemble("and", "logit", "logprob"), "has none of its own"),
        (ensemble("mean", "logit", "logprob"), "have a range"),
        (ensemble("mean", "logit", {"verifier": "binary_cot", "threshold": 0.3}), "reads no thresholds"),
    ],
)
def test_members_that_do_not_fit(verifier, words):
    with pytest.raises(ValueError, match=words):
        verifier.check_members(MEMBERS)
    ensemble("and", "logit", {"verifier": "logprob", "threshold": -2.0}).check_members(MEMBERS)


def test_recorded_scores():
    rows = [{"judge": 0.5, "other": 1}, {"judge": None}, {"other": 2}, None, {"judge": 7}]
    responses = pl.DataFrame({"recorded_scores": [None if row is None else json.dumps(row) for row in rows]})
    verifier = Recorded(column="judge", threshold=1.0, scale=(0.0, 10.0))
    assert verifier.derive(responses, {}, {}) == pytest.approx([0.5, NAN, NAN, NAN, 7.0], nan_ok=True)
    assert (verifier.called, verifier.score_range, verifier.verdict_of(7.0)) == ("judge", (0.0, 10.0), "correct")
    assert verifier.default_filter().label == "judge ≥ 1"
    assert Recorded(column="judge").default_filter().label == "judge top 20 %"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([None, None], "carry no recorded scores"),
        (['{"a": 1, "b": 2}', None], "there are: a, b"),
        (['{"judge": "good"}'], "expected a number, got 'good'"),
        (['{"judge": true}'], "expected a number, got True"),
    ],
)
def test_recorded_scores_that_are_not_there(cells, words):
    responses = pl.DataFrame({"recorded_scores": pl.Series(cells, dtype=pl.String)})
    with pytest.raises(ExperimentError, match=words):
        Recorded(column="judge").derive(responses, {}, {})


def test_responses_without_the_column():
    with pytest.raises(ExperimentError, match="replay engine"):
        Recorded(column="judge").derive(pl.DataFrame({"answer": ["1"]}), {}, {})
