"""How the tables that compare iterations or experiments are drawn on their assets' pages; see ``asset_drawings``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ops.reporting.asset_drawings import groups, intervals, titled, zero
from ops.reporting.plots import INK, MARKERS, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ops.reporting.asset_plots import Source


def iteration_changes(axes: Axes, source: Source) -> bool:
    """Changes since iteration 0 with their intervals: one row for each metric, of pass@k the largest k."""
    rows = source.rows(["split", "reference", "metric", "k", "rule", "value", "low", "high"])
    rows = rows.filter(pl.col("value").is_not_null(), pl.col("reference") == "base")
    largest = rows.filter((pl.col("k") == pl.col("k").max().over("metric")) | pl.col("k").is_null())
    chosen = largest.filter(~pl.col("metric").is_in(["response_tokens", "distinct_answers_in_k"])).head(12)
    if chosen.is_empty():
        return False
    named = chosen.with_columns(pl.col("metric").str.replace("_at_k", "@").str.replace("_in_k", ""))
    labels = [" ".join(str(item) for item in row if item) for row in named.select("metric", "k", "rule").rows()]
    intervals(axes, labels, chosen, "value")
    zero(axes, vertical=True)
    return titled(axes, "Change since iteration 0", "difference", "")


def problem_flips(axes: Axes, source: Source) -> bool:
    """Shares of problems learned and forgotten since iteration 0, by what counts as solved."""
    rows = source.rows(["reference", "criterion", "learned", "forgotten"]).filter(pl.col("learned").is_not_null())
    rows = rows.filter(reference="base") if not rows.filter(reference="base").is_empty() else rows
    if rows.is_empty():
        return False
    axes.bar(rows["criterion"], rows["learned"], width=0.5, color=SERIES[2], label="learned")
    axes.bar(rows["criterion"], -rows["forgotten"], width=0.5, color=SERIES[1], label="forgotten")
    zero(axes, vertical=False)
    return titled(axes, "Learned and forgotten", "a problem is solved when … are right", "share", legend=True)


def sampling_choices(axes: Axes, source: Source) -> bool:
    """The balance score against the temperature, for each rule."""
    rows = source.rows(["temperature", "rule", "balance_score"]).filter(pl.col("balance_score").is_not_null())
    for place, (name, part) in enumerate(groups(rows.sort("temperature"), "rule")):
        axes.plot(part["temperature"], part["balance_score"], color=SERIES[place], marker=MARKERS[place], label=name)
    return rows.height > 0 and titled(axes, "Balance score", "temperature", "balance score", legend=True)


def policy_shift(axes: Axes, source: Source) -> bool:
    """The estimates of the KL divergence to the base model."""
    rows = source.rows(["metric", "value", "low", "high"]).filter(pl.col("value").is_not_null())
    if rows.is_empty():
        return False
    intervals(axes, [name.replace("kl_to_base_", "") for name in rows["metric"]], rows, "value")
    zero(axes, vertical=True)
    return titled(axes, "KL to the base model", "nats", "")


def selection_metrics(axes: Axes, source: Source) -> bool:
    """The metrics that are shares, and the balance score."""
    rows = source.rows(["metric", "value", "low", "high"]).filter(pl.col("value").is_not_null())
    rows = rows.filter(pl.col("metric").is_in(["balance_score", "precision", "kept_problem_fraction"]))
    if rows.is_empty():
        return False
    intervals(axes, rows["metric"].to_list(), rows, "value")
    axes.set_xlim(0, 1)
    return titled(axes, "What was selected", "share", "")


def stopping_rules(axes: Axes, source: Source) -> bool:
    """Every rule's value with its interval, and its limit as a bar; red where it fires."""
    rows = source.rows(["rule", "value", "low", "high", "limit", "fires"]).filter(pl.col("value").is_not_null())
    if rows.is_empty():
        return False
    labels = [f"{rule} fires" if fires else rule for rule, fires in zip(rows["rule"], rows["fires"], strict=True)]
    intervals(axes, labels, rows, "value")
    known = [(place, limit) for place, limit in enumerate(rows["limit"]) if limit is not None]
    axes.scatter([limit for _, limit in known], [place for place, _ in known], marker="|", s=160, color=INK)
    return titled(axes, "Stopping rules", "value and limit", "")


def saturation(axes: Axes, source: Source) -> bool:
    """The fitted limit of every quantity with its interval, whose ends may be at infinity."""
    rows = source.rows(["quantity", "rule", "limit", "limit_low", "limit_high"]).filter(pl.col("limit").is_not_null())
    if rows.is_empty():
        return False
    labels = [f"{quantity} {rule or ''}".strip() for quantity, rule in zip(rows["quantity"], rows["rule"], strict=True)]
    intervals(axes, labels, rows, "limit", open_ends=True)
    zero(axes, vertical=True)
    return titled(axes, "Where it ends", "limit of the fit", "")


def scaling_laws(axes: Axes, source: Source) -> bool:
    """Slopes of the relative gap over log10 FLOPs with their intervals."""
    rows = source.rows(["task", "verifier", "rule", "metric", "slope", "slope_low", "slope_high"])
    rows = rows.filter(pl.col("slope").is_not_null(), pl.col("metric") == "relative_gap").head(12)
    if rows.is_empty():
        return False
    labels = [f"{task} {rule}" for task, rule in zip(rows["task"], rows["rule"], strict=True)]
    intervals(axes, labels, rows, "slope")
    zero(axes, vertical=True)
    return titled(axes, "Slope of the relative gap", "per tenfold pretraining FLOPs", "")


def cross_verification(axes: Axes, source: Source) -> bool:
    """The gap against the verifier model's FLOPs, for each generator, over the mechanisms of the first task."""
    rows = source.rows(["task", "mechanism", "generator", "verifier_flops", "gap"]).drop_nulls()
    if rows.is_empty():
        return False
    first = rows.row(0, named=True)
    rows = rows.filter(task=first["task"], mechanism=first["mechanism"]).sort("verifier_flops")
    for place, (name, part) in enumerate(groups(rows, "generator")):
        axes.plot(part["verifier_flops"], part["gap"], color=SERIES[place], marker=MARKERS[place], label=name)
    axes.set_xscale("log")
    zero(axes, vertical=False)
    return titled(axes, f"{first['task']}: {first['mechanism']}", "verifier's pretraining FLOPs", "gap", legend=True)


def arm_metrics(axes: Axes, source: Source) -> bool:
    """Accuracy of every arm over the iterations, mean over seeds, with its interval over problems."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    rows = source.rows(["arm", "arm_iteration", "metric", "seed", "value", "low", "high"])
    rows = rows.filter(pl.col("metric") == "accuracy", pl.col("seed").is_null(), pl.col("value").is_not_null())
    for place, (name, part) in enumerate(groups(rows.sort("arm_iteration", maintain_order=True), "arm")):
        color, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        ends = [(part["value"] - part["low"]).to_list(), (part["high"] - part["value"]).to_list()]
        axes.errorbar(
            part["arm_iteration"], part["value"], yerr=ends, color=color, marker=marker, capsize=2, label=name
        )
    return rows.height > 0 and titled(axes, "Accuracy by arm", "iteration", "accuracy, mean over seeds", legend=True)
