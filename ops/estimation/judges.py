"""How good a judge is: its position bias, how often it cannot be read, and how it agrees with human labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import polars as pl

from ops.estimation.auroc import auroc_draws
from ops.estimation.bootstrap import percentile_interval, ratio_intervals, resample_counts
from ops.estimation.correlation import pearson_draws
from ops.types import Interval

SCHEMA = {
    "model": pl.String(),
    "judge": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "n_pairs": pl.Int32(),
}
"""Of the table ``judge_metrics``."""

TIE = 0.5


class Statistics(Protocol):
    """How intervals are computed."""

    @property
    def resamples(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def seed(self) -> int: ...


def judge_metrics(
    pairs: pl.DataFrame, judgements: pl.DataFrame, labels: pl.DataFrame, statistics: Statistics
) -> pl.DataFrame:
    """Rows of the table ``judge_metrics``: of every judge for every model, then over all models (model null).

    Every metric is over pairs; its interval resamples problems, with all their pairs. Undefined is null.

    - ``unreadable_fraction``: of all pairs, those without a score.
    - ``mean_score``: of those with one.
    - ``position_bias``: how much more often than half the response shown first is preferred: the mean over both orders
      of P(first preferred) - 1/2 = (score shown first - score shown second) / 2, in [-1/2, 1/2]; 0: none. Of pairs that
      could be read in both orders; judges that see one response at a time have no such row.
    - ``order_agreement``: of the same pairs, those where both orders name the same response.
    - ``correlation``: Pearson's of labels and scores, over labelled pairs with a score. Of one model its square is what
      a control variate saves with unlabelled pairs without end (2502.10563) where estimates are not within strata; what
      it saves here, with one pair per problem, is that times (1 - n/N). Over all models it is not: differences between
      models are in it, which no estimate of one model gains from. ``win_rates`` has the correlation of its estimates.
    - ``agreement``: of labelled pairs with a score, those where both say win, tie (1/2) or loss alike.
    - ``auroc``: of scores, for labels that are no ties.

    The last three are of labels drawn uniformly among all pairs of a model (``uniform_labels``). The last two leave out
    pairs of equal responses, about which nobody is asked. Agreement is undefined where scores do not lie in [0, 1]:
    they are then on another scale.

    Args:
        pairs: rows of ``pairs``.
        judgements: rows of ``synthetic_judgements``, of any number of judges.
        labels: rows of ``human_labels``; several of one pair are averaged.
        statistics: resamples, confidence and seed.
    """
    if judgements.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    problems = pairs["problem_id"].unique(maintain_order=True)
    index = pl.DataFrame({"problem_id": problems, "problem": np.arange(len(problems))})
    about = pairs.select("pair_id", "problem_id", "is_identical").unique("pair_id").join(index, on="problem_id")
    label = uniform_labels(labels).group_by("pair_id").agg(pl.col("label").mean())
    rows = judgements.select("pair_id", "model", "judge", "score", "score_shown_first", "score_shown_second")
    rows = rows.join(about, on="pair_id", how="left", maintain_order="left")
    rows = rows.join(label, on="pair_id", how="left", maintain_order="left")
    counts_RP = resample_counts(len(problems), statistics.resamples, statistics.seed)
    found = []
    for judge in rows["judge"].unique(maintain_order=True):
        of_judge = rows.filter(judge=judge)
        models = of_judge["model"].unique(maintain_order=True).to_list()
        for model in (*models, None):
            part = of_judge if model is None else of_judge.filter(model=model)
            for metric, interval, n_pairs in _metrics(part, counts_RP, statistics.confidence):
                ends = {"value": interval.value, "low": interval.low, "high": interval.high}
                found.append({"model": model, "judge": judge, "metric": metric, **ends, "n_pairs": n_pairs})
    return pl.DataFrame(found, schema=SCHEMA).with_columns(pl.col("value", "low", "high").fill_nan(None))


def uniform_labels(labels: pl.DataFrame) -> pl.DataFrame:
    """Labels of pairs that were drawn uniformly among all pairs of their model; several of one pair are kept.

    What no export drew does not count beside what was drawn, as in ``win_rates``; where nothing was drawn it is taken
    as drawn. Labels drawn within strata are of some strata more than of others, and a uniform wave after them is of
    what they left: waves count up to the first one with strata.
    """
    wave, is_within = pl.col("wave"), pl.col("stratum").is_not_null()
    drawn_where_any_is = wave.is_not_null() | wave.is_null().all().over("model")
    first_within = pl.when(is_within).then(wave).min().over("model")
    return labels.filter(~is_within & drawn_where_any_is & (wave < first_within).fill_null(True))


def _metrics(part: pl.DataFrame, counts_RP: np.ndarray, confidence: float) -> Iterator[tuple[str, Interval, int]]:
    """(metric, value, pairs) of one judge's judgements of some pairs."""
    score, first, second, label = (
        part[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("score", "score_shown_first", "score_shown_second", "label")
    )
    problem, was_asked = part["problem"].to_numpy(), ~part["is_identical"].fill_null(False).to_numpy()
    has_score, compared = ~np.isnan(score), was_asked & ~np.isnan(score) & ~np.isnan(label)
    means = {
        "unreadable_fraction": ((~has_score).astype(float), np.ones(len(score), bool)),
        "mean_score": (score, has_score),
        "agreement": ((_sign(score) == _sign(label)).astype(float), compared & _is_probability(score)),
    }
    if not (np.isnan(first) | np.isnan(second)).all():
        both = ~np.isnan(first) & ~np.isnan(second)
        means["position_bias"] = ((first - second) / 2.0, both)
        means["order_agreement"] = ((_sign(first) == _sign(second)) & (_sign(first) != 0), both)
    yield from _pair_means(means, problem, counts_RP, confidence)
    labelled = has_score & ~np.isnan(label)
    yield "correlation", _interval(pearson_draws(problem, score, label, counts_RP), confidence), int(labelled.sum())
    decisive = compared & (label != TIE)
    draws = auroc_draws(problem[decisive], score[decisive], label[decisive] > TIE, counts_RP)
    yield "auroc", _interval(draws, confidence), int(decisive.sum())


def _pair_means(
    means: Mapping[str, tuple[np.ndarray, np.ndarray]], problem: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> Iterator[tuple[str, Interval, int]]:
    """Means over the pairs that count, by name: (values [N], whether each counts [N])."""

    def by_problem(value: Any) -> np.ndarray:
        return np.bincount(problem, weights=value, minlength=counts_RP.shape[1])

    ratios = {
        name: (by_problem(np.where(used, value, 0.0)), by_problem(used.astype(float)))
        for name, (value, used) in means.items()
    }
    for name, interval in ratio_intervals(ratios, counts_RP, confidence).items():
        yield name, interval, int(means[name][1].sum())


def _interval(draws: tuple[float, np.ndarray], confidence: float) -> Interval:
    return percentile_interval(*draws, confidence)


def _sign(score: np.ndarray) -> np.ndarray:
    """Win 1, tie 0, loss -1; NaN where there is no score."""
    return np.asarray(np.sign(score - TIE))


def _is_probability(score: np.ndarray) -> np.ndarray:
    """All or none: whether no score lies outside of [0, 1]."""
    return np.full(len(score), not bool(((score < 0.0) | (score > 1.0)).any()))
