"""Prompts that do not fit into the context cost themselves only."""

from __future__ import annotations

import math

import numpy as np

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.fitting import Fitting
from tests.verifiers.scripted import ScriptedEngine

SHORT, LONG = "one two", "one two three four five six"


def engine(say) -> Fitting:
    scripted = ScriptedEngine(say)
    scripted.context = 5
    return Fitting(scripted)


def test_what_does_not_fit_is_completed_by_the_reason_and_the_others_are_asked():
    asking = engine(lambda prompt, seed: f"said {seed}")
    requests = [SampleRequest(LONG, (1, 2)), SampleRequest(SHORT, (3,)), SampleRequest(SHORT + "!", (4,))]
    groups = asking.sample(requests, SamplingSettings(1.0, 1.0, 3))
    found = {(index, place): completion for group in groups for index, place, completion in group}
    assert {key: found[key].text for key in ((1, 0), (2, 0))} == {(1, 0): "said 3", (2, 0): "said 4"}
    for place in (0, 1):  # 6 + 3 tokens, and the context is 5
        refused = found[0, place]
        assert (
            refused.text
            == "(not asked: a prompt of 6 tokens and 3 tokens after it do not fit into the model's context of 5)"
        )
        assert (refused.n_tokens, refused.finish_reason) == (0, "length")
    assert len(found) == 4 and asking.n_refused == 1


def test_choices_and_statistics_of_what_does_not_fit_are_undefined():
    asking = engine(lambda prompt, seed: [-1.0, -2.0])
    logprob_N2 = asking.choice_logprobs([LONG, SHORT], ["Yes", "No"])
    assert np.isnan(logprob_N2[0]).all() and logprob_N2[1].tolist() == [-1.0, -2.0]
    first, second = asking.token_statistics([LONG, SHORT], ["a b", "a b"])
    assert first.n_tokens == 0 and math.isnan(first.self_certainty)
    assert (second.n_tokens, second.logprob) == (2, -1.0)
    assert asking.n_refused == 2


def test_nothing_is_asked_where_nothing_fits():
    asking = engine(lambda prompt, seed: "")
    assert [
        done for group in asking.sample([SampleRequest(LONG, (1,))], SamplingSettings(1.0, 1.0, 3)) for done in group
    ]
    assert np.isnan(asking.choice_logprobs([LONG], ["Yes", "No"])).all()
    assert asking.token_statistics([LONG], ["a"])[0].n_tokens == 0
