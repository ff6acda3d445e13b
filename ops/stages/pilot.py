"""The pilot: before an iteration samples, a few responses at each temperature say at which one, and what to keep."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ops.adapt.base import Adaptation
from ops.estimation.balance import kept_counts
from ops.estimation.bootstrap import mean_intervals, ratio_intervals, resample_counts
from ops.estimation.gap import per_problem
from ops.lab import Lab
from ops.selection.base import Filter
from ops.stages.chosen import choice_of, pilot_sources
from ops.stages.drawing import draw_missing, drawn_responses
from ops.stages.measured import with_ends, without_nan
from ops.stages.problems import problems_of
from ops.stages.verification import items_of, verification_pool, verify_items
from ops.storage.schemas import polars_schema
from ops.types import Problem, Verification
from ops.verifiers.base import ModelVerifier, Verifier, combined

DECIMALS = 12
"""Means of balance scores that agree in so many are equal: the order of a sum must choose nothing."""


def choose_sampling(lab: Lab, iteration: int) -> dict[str, Any]:
    """Choose the iteration's temperature and threshold and commit the table ``sampling_choices`` (GPU).

    The pilot's responses and verifications are single samples like all others: after a kill the missing ones are drawn,
    and those at the chosen temperature are part of the iteration's training responses.

    Returns:
        what was chosen, and what the pilot drew and scored; nothing where the experiment adapts nothing.
    """
    if lab.experiment.adapt is None:
        return {}
    spent: dict[str, Any] = {"pilot_drawn": 0, "pilot_scored": 0}

    def compute() -> pl.DataFrame:
        start = time.monotonic()
        pilots = _responses(lab, iteration, spent)
        scores = _scores(lab, iteration, pilots, spent)
        spent["pilot_seconds"] = time.monotonic() - start
        return _choices(lab, pilots, scores)

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        row = frame.filter(pl.col("chosen")).row(0, named=True)
        return {name: row[name] for name in ("temperature", "rule", "balance_score", "n_problems")}

    lab.materialise("sampling_choices", "sampling_choices", iteration, compute, metadata)
    choice = choice_of(lab, iteration)
    chosen = {"temperature": choice.temperature, "rule": choice.rule, "balance_score": choice.balance_score}
    return {f"chosen_{name}": value for name, value in chosen.items()} | spent


def _adaptation(lab: Lab) -> Adaptation:
    adapt: Adaptation | None = lab.experiment.adapt
    if adapt is None:
        raise RuntimeError("a pilot of an experiment that adapts nothing")
    return adapt


def pilot_problems(lab: Lab, iteration: int) -> list[Problem]:
    """The first training problems of the iteration."""
    train = [problem for problem in problems_of(lab, iteration) if problem.split == "train"]
    return train[: _adaptation(lab).problems]


def _responses(lab: Lab, iteration: int, spent: dict[str, Any]) -> dict[float, pl.DataFrame]:
    """Rows of ``generations`` of the pilot's problems, by temperature; what is missing is drawn."""
    problems = pilot_problems(lab, iteration)
    found = {}
    for temperature, source in pilot_sources(lab, iteration).items():
        numbers = draw_missing(lab, iteration, source, problems, f"pilot sampling at {temperature:g}")
        spent["pilot_drawn"] += numbers["drawn"]
        spent["pilot_new_tokens"] = spent.get("pilot_new_tokens", 0) + numbers.get("new_tokens", 0)
        found[temperature] = pl.concat(drawn_responses(lab, iteration, source, problems))
    return found


class _Judged:
    """One verifier's scores of the pilot by temperature: float [N], NaN where unparseable."""

    def __init__(self, verifier: Verifier, score_N: np.ndarray) -> None:
        self.score_N = score_N
        self.accepts_N = np.array([verifier.verdict_of(None if s != s else float(s)) == "correct" for s in score_N])


Judged = dict[str, _Judged]


def _scores(
    lab: Lab, iteration: int, pilots: Mapping[float, pl.DataFrame], spent: dict[str, Any]
) -> dict[float, Judged]:
    """By temperature and label, of every verifier that the training filter needs; what is missing is asked for."""
    problems = {problem.problem_id: problem for problem in pilot_problems(lab, iteration)}
    found: dict[float, Judged] = {temperature: {} for temperature in pilots}
    for verifier in _needed(lab):
        if isinstance(verifier, ModelVerifier):
            # One block per temperature: a group is compared with itself, as it will be when all is verified.
            blocks = [items_of(verifier, frame, problems) for frame in pilots.values()]
            spent["pilot_scored"] += verify_items(lab, iteration, verifier, blocks, "pilot verifying")
            for temperature, items in zip(pilots, blocks, strict=True):
                identities = [item.identity for item in items]
                score_N = _asked(lab, iteration, verifier, identities, pilots[temperature].height)
                found[temperature][verifier.called] = _Judged(verifier, score_N)
        else:
            members = {item.called: item for item in _needed(lab) if item.called in verifier.members}
            for temperature, frame in pilots.items():
                scores = {name: found[temperature][name].score_N for name in verifier.members}
                found[temperature][verifier.called] = _Judged(verifier, verifier.derive(frame, scores, members))
    return found


def _needed(lab: Lab) -> list[Any]:
    """The verifiers that the training filter reads and the members of those, in the experiment's order."""
    wanted = set(lab.experiment.filter.verifier_names)
    for verifier in reversed(lab.experiment.verifiers):  # members stand before what is made of them
        if verifier.called in wanted:
            wanted |= set(getattr(verifier, "members", ()))
    return [verifier for verifier in lab.experiment.verifiers if verifier.called in wanted]


def _asked(
    lab: Lab, iteration: int, verifier: ModelVerifier, identities: Sequence[str], n_responses: int
) -> np.ndarray:
    """Scores float [N] of responses, the repeats of each averaged; ``identities`` go by repeat, then by response."""
    rows = verification_pool(lab, iteration, verifier).read(identities)
    cells = rows.select("response_id", "score", "verdict", "transcript", "n_tokens").iter_rows()
    known = {cell[0]: Verification(*cell[1:]) for cell in cells}
    scores = []
    for i in range(n_responses):
        score = combined(verifier, [known[identity] for identity in identities[i::n_responses]]).score
        scores.append(float("nan") if score is None else score)
    return np.array(scores)


def _choices(lab: Lab, pilots: Mapping[float, pl.DataFrame], scores: Mapping[float, Judged]) -> pl.DataFrame:
    """Rows of ``sampling_choices``, by temperature and threshold in the order of preference; the best one chosen."""
    filters = _adaptation(lab).filters(lab.experiment.filter)
    rows = [
        {"temperature": temperature, **_row(lab, item, frame, scores[temperature])}
        for temperature, frame in pilots.items()
        for item in filters
    ]
    best = int(np.argmax([round(row["balance_score"], DECIMALS) for row in rows]))
    cells = [without_nan({**row, "chosen": i == best}) for i, row in enumerate(rows)]
    return pl.DataFrame(cells, schema=polars_schema("sampling_choices"))


def _row(lab: Lab, item: Filter, frame: pl.DataFrame, judged: Judged) -> dict[str, Any]:
    """One temperature with one filter: what is kept, and what that is worth."""
    experiment, adapt = lab.experiment, _adaptation(lab)
    index_N = frame["problem_id"].rle_id().cast(pl.Int64).to_numpy()
    n_problems = int(index_N.max()) + 1
    graded_N = (frame["verdict"] == "correct").to_numpy()
    read = item.verifier_names
    is_correct_N = graded_N if adapt.truth == "labels" else judged[read[0]].accepts_N
    weight_N = item.weights_of(index_N, {name: judged[name].score_N for name in read}, graded_N)
    is_finished_N = (frame["finish_reason"] == "stop").to_numpy()  # what was cut is never trained on
    is_kept_N = (weight_N > 0) & is_finished_N
    code_N = frame["response"].rank("dense").to_numpy().astype(np.int64)
    counts = kept_counts(index_N, code_N, is_kept_N, is_correct_N, n_problems)
    kept_P = per_problem(index_N, is_kept_N.astype(float), n_problems)
    correct_P = per_problem(index_N, (is_kept_N & is_correct_N).astype(float), n_problems)
    statistics = experiment.statistics
    counts_RP = resample_counts(n_problems, statistics.resamples, statistics.seed)
    value_P = adapt.values(counts, experiment.monitoring.balance_target)
    means = {"balance_score": value_P, "kept_per_problem": kept_P}
    intervals = mean_intervals(means, counts_RP, statistics.confidence)
    intervals |= ratio_intervals({"precision": (correct_P, kept_P)}, counts_RP, statistics.confidence)
    return {
        "rule": item.label,
        "threshold": item.threshold_value,
        "n_problems": n_problems,
        "n_responses": frame.height,
        **with_ends(**intervals),
    }
