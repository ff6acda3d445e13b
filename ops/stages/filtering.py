"""The experiment's filter at work on training responses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.chosen import training_filter
from ops.stages.measured import Responses, ScoreTable, responses_in

COLUMNS = [
    "split",
    "problem_id",
    "sample_index",
    "response",
    "verdict",
    "strict_verdict",
    "finish_reason",
    "response_id",
]
"""Of ``generations``, what examples are made of: not the prompts, which are as long as the responses."""


def training_responses(lab: Lab, iteration: int) -> Responses:
    """The responses to training problems, of which the filter chooses."""
    fingerprint = lab.plan.fingerprints[asset_name("generations", iteration)]
    return responses_in(lab.store.read("generations", fingerprint, COLUMNS), "train")


def filter_weights(lab: Lab, iteration: int, responses: Responses) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Weights [N] that the experiment's filter gives to N responses, and the scores [N] that it read, by verifier."""
    item = training_filter(lab, iteration)
    table = ScoreTable(lab, iteration) if item.verifier_names else None
    scores = {name: table.of(name, responses).score for name in item.verifier_names} if table else {}
    return item.weights_of(responses.problem_index, scores, responses.is_correct), scores


def finished(frame: pl.DataFrame) -> np.ndarray:
    """bool [N]: the response came to its own end; one that was cut at max_tokens is never trained on."""
    return (frame["finish_reason"] == "stop").to_numpy()
