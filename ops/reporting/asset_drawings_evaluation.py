"""How the tables of an experiment with ``evaluation`` are drawn on their assets' pages; see ``asset_drawings``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ops.reporting.asset_drawings import groups, intervals, titled
from ops.reporting.plots import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ops.reporting.asset_plots import Source

LEFT, RIGHT = (0.135, 0.18, 0.33, 0.70), (0.635, 0.18, 0.35, 0.70)
"""Two panels side by side."""
BINS = 24
MOST_ROWS = 10
"""Estimates in one small picture."""
SHORT = {"human": "human", "control_variate": "control var.", "synthetic": "judge alone"}


def pairs(axes: Axes, source: Source) -> bool:
    """How many pairs each model has, and how many of them are the same text twice."""
    rows = source.rows(["model", "is_identical"])
    if rows.is_empty():
        return False
    counts = rows.group_by("model", maintain_order=True).agg(pl.len(), pl.col("is_identical").sum().alias("same"))
    counts = counts.head(MOST_ROWS)
    names = [_cut(name) for name in counts["model"]]
    axes.barh(names, counts["len"], color=SERIES[0], height=0.55, label="pairs")
    if counts["same"].sum():
        axes.barh(names, counts["same"], color=SERIES[4], height=0.55, label="equal responses")
    _rows_down(axes, counts.height)
    return titled(axes, "Pairs", "pairs", "", legend=bool(counts["same"].sum()))


def synthetic_judgements(axes: Axes, source: Source) -> bool:
    """Scores of every judge from least to largest; beside it what the order of the two responses does to them."""
    rows = source.rows(["judge", "score", "score_shown_first", "score_shown_second"])
    known = rows.filter(pl.col("score").is_not_null())
    if known.is_empty():
        return False
    orders = rows.drop_nulls(["score_shown_first", "score_shown_second"])
    if orders.height:
        axes.set_position(LEFT)
    for place, (name, part) in enumerate(groups(known, "judge")):
        low, high = part["score"].min(), part["score"].max()
        scaled = (part["score"] - low) / ((high - low) or 1.0)  # type: ignore[operator]
        axes.hist(scaled, bins=BINS, range=(0, 1), histtype="step", color=SERIES[place], density=True, label=_cut(name))
    titled(axes, "Judgements", "score, least to largest", "density", legend=True)
    if orders.is_empty():
        return True
    other = axes.figure.add_axes(RIGHT)
    for place, (name, part) in enumerate(groups(orders, "judge")):
        bias = (part["score_shown_first"] - part["score_shown_second"]).to_numpy().mean() / 2.0
        other.bar([_cut(name, 9)], [bias], color=SERIES[place], width=0.5)
    other.axhline(0.0, color=INK, linewidth=0.8)
    other.tick_params(axis="x", labelsize=7)
    return titled(other, "Position bias", "", "preference for the first")


def human_labels(axes: Axes, source: Source) -> bool:
    """How many pairs of each model are labelled so far: won, tied, lost."""
    rows = source.rows(["pair_id", "model", "label"]).filter(pl.col("label").is_not_null())
    if rows.is_empty():
        return False
    by_pair = rows.group_by("model", "pair_id", maintain_order=True).agg(pl.col("label").mean())
    outcome = pl.when(pl.col("label") > 0.5).then(0).when(pl.col("label") < 0.5).then(2).otherwise(1)
    counts = by_pair.group_by("model", outcome.alias("outcome"), maintain_order=True).len()
    models = by_pair["model"].unique(maintain_order=True).to_list()[:MOST_ROWS]
    left = [0] * len(models)
    for place, (words, color) in enumerate((("better, right", SERIES[2]), ("tie", SERIES[4]), ("worse", SERIES[1]))):
        of = dict(counts.filter(outcome=place).select("model", "len").iter_rows())
        width = [of.get(name, 0) for name in models]
        axes.barh([_cut(name) for name in models], width, left=left, color=color, height=0.55, label=words)
        left = [a + b for a, b in zip(left, width, strict=True)]
    _rows_down(axes, len(models))
    return titled(axes, "Labels so far", "labelled pairs", "", legend=True)


def win_rates(axes: Axes, source: Source) -> bool:
    """Estimates with their intervals; those of judges alone are biased and say so."""
    rows = source.rows(["model", "quantity", "estimator", "judge", "value", "low", "high"])
    rows = rows.filter(
        pl.col("value").is_not_null(), pl.col("quantity") != "gap", pl.col("estimator") != "cross_fitted"
    )
    if rows.is_empty():
        return False
    n_models = rows["model"].n_unique()
    if rows.height > MOST_ROWS:  # of each model the first rows: human labels, then judges in the experiment's order
        rows = rows.filter(pl.int_range(pl.len()).over("model") < max(MOST_ROWS // n_models, 1)).head(MOST_ROWS)
    labels = [
        f"{_cut(model, 8)} {SHORT.get(name, name)}" for model, name in rows.select("model", "estimator").iter_rows()
    ]
    intervals(axes, labels, rows, "value")
    if "win_rate" in rows["quantity"]:
        axes.axvline(0.5, color=INK, linewidth=0.8)
    what = "accuracy" if "accuracy" in rows["quantity"] else "win rate"
    return titled(axes, what.capitalize(), what, "")


def _rows_down(axes: Axes, n: int) -> None:
    """Rows from top to bottom, with room for their names."""
    axes.set_ylim(max(n, 3) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_position((0.33, 0.18, 0.64, 0.70))


def _cut(name: str, chars: int = 20) -> str:
    return name if len(name) <= chars else f"{name[: chars - 1]}…"
