"""Stopping rules: after every iteration, whether another one is worth it, judged by intervals over problems."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.reporting.numbers import interval_of
from ops.reporting.words import interval, number
from ops.stages.chosen import measured_filters, training_filter
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult

UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Judgement:
    """One rule at one iteration.

    Attributes:
        rule: a name of ``ops.config.StopRule``.
        limit: what one end of the interval is held against.
        fires: None where the value is undefined.
        finding: what was found, with numbers; ``meaning``: why it matters; ``advice``: what to do instead of going on.
    """

    rule: str
    value: Interval
    limit: float
    fires: bool | None
    finding: str
    meaning: str
    advice: str


def judge_rules(lab: Lab, iteration: int) -> StageResult:
    """Judge every rule at an iteration and commit the table ``stopping_rules``.

    - ``gap_closed``: the gap of the training filter (with the threshold that a pilot chose at this iteration) reaches
      down to ``limits.gap``: its interval's low end is at or below it. Of filters that read no verifier (gold labels,
      none) the gap is not measured: the first measured filter stands in.
    - ``diversity_collapsed``: pass@k at the largest k has fallen since iteration 0 by more than
      ``limits.pass_at_k_fall``: the high end of the paired difference lies below minus that.
    - ``drift_grows``: mean score minus accuracy of the training filter's verifier has grown since iteration 0 by more
      than ``limits.drift_growth``: the low end of the paired difference lies above it. Where the filter reads none
      whose scores have a range, the first verifier that has one stands in.

    The last two are undefined at iteration 0: there is nothing to compare with.
    """

    def compute() -> pl.DataFrame:
        rows = [_row(lab, iteration, judge(lab, iteration)) for judge in RULES.values()]
        return pl.DataFrame(rows, schema=polars_schema("stopping_rules"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        fired = frame.filter(pl.col("fires").fill_null(False))
        ends = iteration < lab.experiment.iterations and bool(fired["stops"].any())
        numbers: dict[str, Any] = {"fired": ", ".join(fired["rule"]) or "none", "ends_the_loop": ends}
        return numbers | {row["rule"]: row["sentence"] for row in frame.iter_rows(named=True)}

    return lab.materialise("stopping_rules", "stopping_rules", iteration, compute, metadata)


def watched_filter(lab: Lab, iteration: int) -> str:
    """The filter, in words, whose gap decides: the one that trains after that iteration (with the threshold that its
    pilot chose), or the first measured one where that is not measured."""
    measured = [item.label for item in measured_filters(lab, iteration)]
    trains = training_filter(lab, iteration).label
    return trains if trains in measured else measured[0]


def _gap_closed(lab: Lab, iteration: int) -> Judgement:
    experiment, limit = lab.experiment, lab.experiment.limits.gap
    frame = lab.store.read("gap_metrics", lab.plan.fingerprints[asset_name("gap_metrics", iteration)])
    name, chosen = watched_filter(lab, iteration), training_filter(lab, iteration).label
    rows = frame.filter((pl.col("split") == "eval") & (pl.col("rule") == name)).rows(named=True)
    value = interval_of(rows[0], "gap") if rows else UNDEFINED
    stands_in = ""
    if name != chosen and experiment.iterations > 0:
        stands_in = f" (it stands in for the training filter, {chosen}, whose gap is not measured)"
    fires = None if math.isnan(value.low) else value.low <= limit
    reaches = "reaches down to" if fires else "lies above"
    finding = f"The gap of {name} is {_words(lab, value, f'{reaches} the limit {_limit(limit)}')}{stands_in}."
    return Judgement(
        "gap_closed",
        value,
        limit,
        fires,
        finding,
        "What the filter keeps can no longer be told from what the model answers anyway, so training on it teaches "
        "little or nothing."
        if value.low <= 0.0
        else "What training on it can still teach may be less than limits.gap asks for.",
        'verify in another way: `mindgap sql "FROM gap_metrics"` shows which checks still have a gap.',
    )


def _diversity_collapsed(lab: Lab, iteration: int) -> Judgement:
    limit = -lab.experiment.limits.pass_at_k_fall or 0.0  # never -0.0
    rows = _changes_from_base(lab, iteration, "pass_at_k").sort("k").rows(named=True)
    row = rows[-1] if rows else None
    value = UNDEFINED if row is None else interval_of(row)
    k = "k" if row is None else row["k"]
    fires = None if math.isnan(value.high) else value.high < limit
    beyond = f"{'lies below' if fires else 'does not lie below'} the limit {_limit(limit)}"
    return Judgement(
        "diversity_collapsed",
        value,
        limit,
        fires,
        f"Since iteration 0, pass@{k} has changed by {_words(lab, value, beyond)}.",
        "Problems that the model used to solve now and then are not solved at all any more: what is never sampled no "
        "filter can keep, so later iterations have less to learn from.",
        "train on fewer responses of each problem (training.max_per_problem), from the base model each time "
        "(training.start_from), or on responses sampled at a higher temperature.",
    )


def _drift_grows(lab: Lab, iteration: int) -> Judgement:
    limit = lab.experiment.limits.drift_growth
    rows = {row["rule"]: row for row in _changes_from_base(lab, iteration, "score_drift").iter_rows(named=True)}
    known = [name for name, row in rows.items() if row["value"] is not None]
    read = [name for name in lab.experiment.filter.verifier_names if name in known]
    name = (read or known or [None])[0]
    value = UNDEFINED if name is None else interval_of(rows[name])
    stands_in = "" if read or name is None else " (no verifier of the training filter has scores with a range)"
    fires = None if math.isnan(value.low) else value.low > limit
    beyond = f"{'lies above' if fires else 'does not lie above'} the limit {_limit(limit)}"
    whose = "the verifier" if name is None else name
    return Judgement(
        "drift_grows",
        value,
        limit,
        fires,
        f"Since iteration 0, the mean score of {whose} minus accuracy has changed by {_words(lab, value, beyond)}"
        f"{stands_in}.",
        "The verifier's scores run ahead of the truth, as they do when a model learns to please the check instead of "
        "getting better.",
        "verify with another model (a verifier's model field) or by another mechanism, and read what was accepted "
        "wrongly: the examples on the report's page.",
    )


RULES: dict[str, Callable[[Lab, int], Judgement]] = {
    "gap_closed": _gap_closed,
    "diversity_collapsed": _diversity_collapsed,
    "drift_grows": _drift_grows,
}


def _changes_from_base(lab: Lab, iteration: int, metric: str) -> pl.DataFrame:
    """Rows of ``iteration_changes`` against iteration 0, of the evaluation split; none at iteration 0."""
    if iteration == 0:
        return pl.DataFrame(schema=polars_schema("iteration_changes"))
    frame = lab.store.read("iteration_changes", lab.plan.fingerprints[asset_name("iteration_changes", iteration)])
    wanted = (pl.col("split") == "eval") & (pl.col("reference") == "base") & (pl.col("metric") == metric)
    return frame.filter(wanted)


def _words(lab: Lab, value: Interval, judged: str) -> str:
    """``+.012 [−.003, +.027] (95 % interval), which lies above the limit 0``."""
    if math.isnan(value.value):
        return "undefined, so the rule is not judged"
    level = f"{100 * lab.experiment.statistics.confidence:g} % interval over problems"
    return f"{interval(value, sign=True)} ({level}), which {judged}"


def _limit(value: float) -> str:
    return number(value, sign=value < 0) if value else "0"


def _row(lab: Lab, iteration: int, found: Judgement) -> dict[str, Any]:
    stops = found.rule in lab.experiment.stop
    known = {name: None if math.isnan(end) else end for name, end in vars(found.value).items()}
    return {
        "rule": found.rule,
        "stops": stops,
        **known,
        "limit": found.limit,
        "fires": found.fires,
        "sentence": " ".join(_sentences(lab, iteration, found, stops)),
    }


def _sentences(lab: Lab, iteration: int, found: Judgement, stops: bool) -> list[str]:
    if found.fires is None and iteration == 0 and found.rule != "gap_closed":
        return ["Iteration 0 is what later iterations are compared with, so there is nothing to judge yet."]
    if not found.fires:
        return [found.finding]
    said = [found.finding, found.meaning]
    if iteration >= lab.experiment.iterations:
        return [*said, f"This is the last iteration. Before you add more, {found.advice}"]
    if stops:
        return [*said, f"stop lists {found.rule}: nothing is trained after iteration {iteration}."]
    return [
        *said,
        f"Stop here, or {found.advice}",
        f"`stop: [{found.rule}]` in the experiment file ends the loop by this rule.",
    ]
