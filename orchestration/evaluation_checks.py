"""Asset checks of win rates: pairs, labels and judgements mean what an unbiased estimate takes them to mean."""

import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from assets.common import group_key
from assets.metadata import interval_text
from ops.lab import Lab
from ops.plan import evaluation_asset
from orchestration.check_parts import ERROR, WARN, Finding, asset_check

SIDES_DEVIATIONS = 4.0
"""Standard deviations of a fair coin: a share of sides farther from one half is no accident."""

POSITION_BIAS = 0.25
"""A judge whose answer depends more than this on which response it sees first says little about responses."""

LOSS = 0.05
"""Share of the labels that judges may cost. A useless judge costs about 1 / n of n labels, which is no news."""


def build_evaluation_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of ``evaluation/pairs``, ``human_labels``, ``synthetic_judgements`` and ``win_rates``."""
    checks = (
        ("pairs", "pairs_complete", "Every model has a pair for every problem and sample.", pairs_complete, ERROR),
        ("pairs", "sides_balanced", "Labellers see the model's response first half of the time.", sides_balanced, WARN),
        ("human_labels", "annotators_agree", "Two people agree more than chance would.", annotators_agree, WARN),
        ("human_labels", "drawn_at_random", "Every labelled pair was drawn by an export.", drawn_at_random, WARN),
        (
            "synthetic_judgements",
            "unparseable_fraction",
            "Every judge can be read in enough pairs (limits.unparseable_fraction of the experiment).",
            unreadable_judgements,
            ERROR,
        ),
        (
            "win_rates",
            "position_bias",
            f"No judge's answer depends by more than {POSITION_BIAS:g} on which response it sees first.",
            position_bias,
            WARN,
        ),
        (
            "win_rates",
            "labels_represent_pairs",
            "The human estimate and the control variates have overlapping intervals: labels are of random pairs.",
            labels_represent_pairs,
            WARN,
        ),
        (
            "win_rates",
            "judges_save_labels",
            f"No set of judges costs more than {LOSS:.0%} of the labels: estimates are about as precise as without.",
            judges_save_labels,
            WARN,
        ),
    )
    return [
        asset_check(
            group_key("evaluation", asset),
            name,
            description,
            lambda lab, _, look=look: look(lab),  # type: ignore[misc]
            severity=severity,
        )
        for asset, name, description, look, severity in checks
    ]


def pairs_complete(lab: Lab) -> Finding:
    """Every model has the same problems and samples, each pair once; drawn responses as many as were asked for."""
    pairs = _read(lab, "pairs", ["pair_id", "problem_id", "model", "sample_index"])
    places = pairs.group_by("problem_id", "sample_index").agg(pl.col("model").n_unique())
    n_models = pairs["model"].n_unique()
    n_problems, n_places = pairs["problem_id"].n_unique(), places.height
    numbers = {"pairs": pairs.height, "models": n_models, "problems": n_problems}
    faults = []
    if pairs["pair_id"].n_unique() != pairs.height:
        faults.append(f"{pairs.height - pairs['pair_id'].n_unique()} pairs stand there twice")
    if pairs.height != n_places * n_models:
        faults.append(f"{n_places * n_models - pairs.height} of {n_places * n_models} pairs are missing")
    n = lab.experiment.sampling.n_eval
    if lab.evaluation.responses is None and n_places != n_problems * n:
        faults.append(f"{n_places} responses to {n_problems} problems, {n} to each were asked for")
    if faults:
        return Finding(False, f"{'; '.join(faults)}: models are compared on different problems. Run it again", numbers)
    return Finding(True, f"{pairs.height:,} pairs of {n_models} models on {n_problems:,} problems", numbers)


def sides_balanced(lab: Lab) -> Finding:
    """How often the model's response is what labellers see as A, among pairs that they can be asked about."""
    pairs = _read(lab, "pairs", ["is_identical", "shown_first"])
    shown = pairs.filter(~pl.col("is_identical"))["shown_first"].drop_nulls()
    if shown.is_empty():
        return Finding(True, "nothing is shown beside another response")
    share = float((shown == "model").mean())  # type: ignore[arg-type]
    room = SIDES_DEVIATIONS * 0.5 / math.sqrt(len(shown))
    numbers = {"model_shown_first": share, "pairs": len(shown)}
    said = f"the model's response is shown first in {share:.1%} of {len(shown):,} pairs"
    if abs(share - 0.5) > room:
        return Finding(False, f"{said}: whoever prefers the first one favours one side", numbers)
    return Finding(True, said, numbers)


def annotators_agree(lab: Lab) -> Finding:
    """Krippendorff's alpha of pairs that two people labelled, as ``human_labels`` reports it: 0 is chance."""
    about = lab.store.about("human_labels", _fingerprint(lab, "human_labels"))["metadata"]
    if "alpha" not in about:
        return Finding(True, "no pair has labels of two people: how far they agree is unknown")
    numbers = {"pairs_labelled_twice": about["pairs_labelled_twice"], "conflicts": about["conflicts"]}
    alpha, low, high = (about[name] for name in ("alpha", "alpha_low", "alpha_high"))
    if None in (alpha, low, high):
        return Finding(True, "alpha is undefined: the labels of pairs that two people labelled do not vary", numbers)
    text = interval_text(alpha, low, high)
    numbers["alpha"] = text
    said = f"Krippendorff's alpha is {text} over {about['pairs_labelled_twice']:,} pairs (0 is chance)"
    if alpha <= 0.0:
        return Finding(
            False,
            f"{said}: people agree no more than chance, so their mean says little. Look at the pairs in conflict, and "
            "at what annotators were asked",
            numbers,
        )
    return Finding(True, said, numbers)


def drawn_at_random(lab: Lab) -> Finding:
    """Labels of pairs that no export drew: people may have chosen them."""
    labels = _read(lab, "human_labels", ["pair_id", "wave"])
    drawn = labels.filter(pl.col("wave").is_not_null())["pair_id"].n_unique()
    n_pairs = labels["pair_id"].n_unique()
    numbers = {"labelled_pairs": n_pairs, "not_drawn": n_pairs - drawn}
    if not n_pairs:
        return Finding(True, "no labels yet: `mindgap evaluate export` draws pairs to ask people about", numbers)
    if drawn == n_pairs:
        return Finding(True, f"all of {n_pairs:,} labelled pairs were drawn at random", numbers)
    return Finding(
        False,
        f"{n_pairs - drawn:,} of {n_pairs:,} labelled pairs were drawn by no export, or from fewer pairs than there "
        "are now: beside drawn ones of the same model they do not count, and alone they are taken as drawn at random, "
        "which they may not be. Ask for labels by `mindgap evaluate export`",
        numbers,
    )


def unreadable_judgements(lab: Lab) -> Finding:
    """The largest share of pairs of which a judge said nothing that could be read, against the experiment's limit."""
    frame = _read(lab, "synthetic_judgements", ["judge", "score"])
    shares = frame.group_by("judge").agg(pl.col("score").is_null().mean().alias("share")).sort("judge")
    limit = lab.experiment.limits.unparseable_fraction
    numbers = {"limit": limit, **{f"{judge}_unreadable": share for judge, share in shares.iter_rows()}}
    beyond = [f"{judge} {share:.1%}" for judge, share in shares.iter_rows() if share > 0.0 and share >= limit]
    if beyond:
        return Finding(
            False,
            f"too many pairs without a judgement: {', '.join(beyond)}, the limit is {limit:.1%}. What is left over is "
            "no random part of the pairs; a larger max_tokens of the judge helps where it was cut (column transcript)",
            numbers,
        )
    largest = max((share for _, share in shares.iter_rows()), default=0.0)
    return Finding(True, f"at most {largest:.1%} of the pairs have no judgement by a judge", numbers)


def position_bias(lab: Lab) -> Finding:
    """The position bias of every judge that was asked in both orders, over all models."""
    rows = _read(lab, "judge_metrics", asset="win_rates")
    rows = rows.filter(pl.col("model").is_null(), pl.col("value").is_not_null(), metric="position_bias")
    return _judged(
        rows.with_columns(name=pl.col("judge")),
        lambda row: row["low"] < -POSITION_BIAS or row["high"] > POSITION_BIAS,
        f"beyond ±{POSITION_BIAS:g}, or not known to be within: the judge names a position more than a response. Its "
        "mean over both orders is used, so nothing is biased by it, but it saves few labels",
        "no judge was asked in both orders",
    )


def labels_represent_pairs(lab: Lab) -> Finding:
    """Human estimates against control variates with the same labels: they differ where labelled pairs are unusual."""
    rates = _read(lab, "win_rates").filter(pl.col("quantity") != "gap")  # of a verifier each, with other intervals
    human = rates.filter(estimator="human").select("model", "quantity", human_low="low", human_high="high")
    rows = rates.filter(pl.col("estimator") == "control_variate", pl.col("value").is_not_null())
    rows = rows.join(human, on=["model", "quantity"]).with_columns(
        name=pl.concat_str(["model", "judge"], separator=" with ", ignore_nulls=True)
    )
    return _judged(
        rows,
        lambda row: row["low"] > row["human_high"] or row["high"] < row["human_low"],
        "outside the interval of the human labels: what judges say of the labelled pairs is unlike what they say of "
        "all, so the labelled ones are hardly a random part. Were they drawn by `mindgap evaluate export`?",
        "there are no labels to compare with",
    )


def judges_save_labels(lab: Lab) -> Finding:
    """Labels saved by every set of judges, as a share; below zero the judges cost labels."""
    rows = _read(lab, "win_rates").filter(
        pl.col("estimator") == "control_variate", pl.col("saving").is_not_null(), pl.col("quantity") != "gap"
    )
    rows = rows.with_columns(
        name=pl.concat_str(["model", "judge"], separator=" with ", ignore_nulls=True),
        value="saving",
        low="saving_low",
        high="saving_high",
    )
    return _judged(
        rows,
        lambda row: row["high"] < -LOSS,
        f"below −{LOSS:.0%}: with these judges the estimate is less precise than labels alone. Too few labels for so "
        "many judges; leave out those that agree least with people (judge_metrics)",
        "nothing was saved or lost: no labels yet, or no judges",
    )


def _judged(rows: pl.DataFrame, is_wrong: Any, because: str, otherwise: str) -> Finding:
    """Every row's value with its interval, those that are wrong in the sentence.

    Args:
        rows: with ``name``, ``value``, ``low`` and ``high``; where an interval is undefined nothing is judged.
        because: what it means that some are wrong, and what to do.
        otherwise: what is said where there are no rows.
    """
    numbers, wrong = {}, []
    for row in rows.iter_rows(named=True):
        numbers[row["name"]] = _text(row)
        if _is_known(row) and is_wrong(row):
            wrong.append(f"{row['name']} {_text(row)}")
    if not numbers:
        return Finding(True, otherwise)
    if wrong:
        return Finding(False, f"{'; '.join(wrong)}: {because}", numbers)
    return Finding(True, "; ".join(f"{name} {text}" for name, text in numbers.items()), numbers)


def _is_known(row: Mapping[str, Any]) -> bool:
    return all(row[name] is not None and math.isfinite(row[name]) for name in ("value", "low", "high"))


def _text(row: Mapping[str, Any]) -> str:
    return interval_text(row["value"], row["low"], row["high"]) if _is_known(row) else "undefined"


def _read(lab: Lab, table: str, columns: list[str] | None = None, *, asset: str | None = None) -> pl.DataFrame:
    return lab.store.read(table, _fingerprint(lab, asset or table), columns)


def _fingerprint(lab: Lab, asset: str) -> str:
    return lab.plan.fingerprints[evaluation_asset(asset)]
