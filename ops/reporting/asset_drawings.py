"""How the tables of one iteration are drawn on their assets' pages: one function per table.

Each draws into ``axes`` and returns whether there was something to show; ``ops.reporting.asset_plots.PLOTS`` lists
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.plots import GRID, INK, MARKERS, SERIES, doublings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ops.reporting.asset_plots import Source

LINES = 6
"""At most as many series; the others would be told apart by nobody."""


def titled(axes: Axes, title: str, x: str, y: str, *, legend: bool = False) -> bool:
    """Title and axes in words; always True."""
    axes.set_title(title, loc="left", fontweight="bold", fontsize=9)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if legend and axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7, loc="best")
    return True


def _eval(frame: pl.DataFrame) -> pl.DataFrame:
    """The evaluation split where there is one."""
    if "split" not in frame.columns or frame.filter(split="eval").is_empty():
        return frame
    return frame.filter(split="eval")


def groups(frame: pl.DataFrame, by: str) -> list[tuple[Any, pl.DataFrame]]:
    """(value of ``by``, its rows) for the first few values."""
    parts = frame.filter(pl.col(by).is_not_null()).partition_by(by, maintain_order=True)
    return [(part[by][0], part) for part in parts[:LINES]]


def intervals(axes: Axes, labels: Sequence[str], frame: pl.DataFrame, name: str, *, open_ends: bool = False) -> None:
    """A dot with its interval for each row, from top to bottom; ``name`` of the column, ``_low`` and ``_high``.

    Args:
        open_ends: an end that is NULL is at infinity: the interval runs to the edge, with an arrow. Otherwise it is
            undefined, and no interval is drawn.
    """
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    for place, row in enumerate(frame.iter_rows(named=True)):
        color = SERIES[place % len(SERIES)]
        if row[low] is not None and row[high] is not None:
            axes.plot([row[low], row[high]], [place, place], color=color, linewidth=2.2)
        axes.plot([row[name]], [place], marker="o", color=color)
    if open_ends:
        _open_intervals(axes, frame.select(low, name, high).rows())
    axes.set_yticks(range(len(labels)), [label if len(label) < 22 else f"{label[:21]}…" for label in labels])
    axes.tick_params(axis="y", labelsize=7)
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_position((0.33, 0.18, 0.64, 0.70))


def _open_intervals(axes: Axes, rows: Sequence[tuple[float | None, float, float | None]]) -> None:
    """(low, value, high) of every row, of which those with an open end are drawn."""
    axes.margins(x=0.15)
    edges = axes.get_xlim()
    for place, (low, value, high) in enumerate(rows):
        color = SERIES[place % len(SERIES)]
        for end, other, edge, marker in ((low, high, edges[0], "<"), (high, low, edges[1], ">")):
            if end is None:
                start = value if other is None else other
                axes.plot([start, edge], [place, place], color=color, linewidth=2.2)
                axes.plot([edge], [place], marker=marker, color=color, clip_on=False)
    axes.set_xlim(edges)


def zero(axes: Axes, *, vertical: bool) -> None:
    """A line at zero."""
    (axes.axvline if vertical else axes.axhline)(0.0, color=INK, linewidth=0.8)


def some_doublings(axes: Axes, values: pl.Series) -> None:
    """A logarithmic axis that names the values themselves, every second one where there are many."""
    found = values.unique().sort().to_list()
    doublings(axes, found[:: 1 + len(found) // 9])


def problems(axes: Axes, source: Source) -> bool:
    """How many of each split, the training ones by the iteration that trains on them."""
    counts = source.rows(["split", "train_iteration"]).group_by("split", "train_iteration").len()
    counts = counts.sort("split", "train_iteration")
    labels = ["eval" if k is None else f"train {k}" for k in counts["train_iteration"]]
    axes.bar(labels, counts["len"], color=[SERIES[0] if name == "eval" else SERIES[5] for name in labels])
    axes.tick_params(axis="x", labelsize=7)
    return titled(axes, "Problems", "split and iteration", "problems")


def models(axes: Axes, source: Source) -> bool:
    """Loss over the steps where it was recorded; otherwise the sizes of the models."""
    steps = source.beside("training_steps", ["step", "loss", "validation_loss"])
    if steps is not None and steps.height:
        axes.plot(steps["step"], steps["loss"], color=SERIES[0], label="training")
        known = steps.filter(pl.col("validation_loss").is_not_null())
        if known.height:
            axes.plot(known["step"], known["validation_loss"], color=SERIES[1], marker="s", label="validation")
        return titled(axes, "Loss", "optimiser step", "loss", legend=known.height > 0)
    rows = source.rows(["model", "n_parameters"]).filter(pl.col("n_parameters").is_not_null())
    if rows.is_empty():
        return False
    axes.barh(rows["model"], rows["n_parameters"] / 1e6, color=SERIES[0], height=0.5)
    axes.set_ylim(max(rows.height, 3) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_position((0.33, 0.18, 0.64, 0.70))
    return titled(axes, "Size", "million parameters", "")


def generations(axes: Axes, source: Source) -> bool:
    """Accuracy of each problem, and as a strip above how long right and wrong responses are."""
    rows = _eval(source.rows(["split", "problem_id", "verdict", "n_tokens"]))
    if rows.is_empty():
        return False
    right = pl.col("verdict") == "correct"
    accuracy = rows.group_by("problem_id").agg(right.mean().alias("accuracy"))["accuracy"]
    axes.set_position((0.11, 0.18, 0.34, 0.70))
    axes.hist(accuracy, bins=20, range=(0, 1), color=SERIES[0])
    titled(axes, "Accuracy per problem", "share right", "problems")
    lengths = axes.figure.add_axes((0.635, 0.18, 0.35, 0.70))
    known = rows.filter(pl.col("n_tokens").is_not_null())
    if known.height:
        parts = [known.filter(right)["n_tokens"].to_numpy(), known.filter(~right)["n_tokens"].to_numpy()]
        lengths.hist(parts, bins=24, stacked=True, color=[SERIES[2], SERIES[1]], label=["right", "wrong"])
    return titled(lengths, "Length", "tokens", "responses", legend=True)


def verification_scores(axes: Axes, source: Source) -> bool:
    """Scores of right (up) and wrong (down) responses, each verifier from its least to its largest score."""
    keys = ["split", "problem_id", "sample_index"]
    scores = _eval(source.rows([*keys, "verifier", "score"])).filter(pl.col("score").is_not_null())
    wanted = scores["problem_id"].unique().head(2000)
    truth = source.other("generations", [*keys, "verdict"], pl.col("problem_id").is_in(wanted.implode()))
    if scores.is_empty() or truth is None:
        return False
    joined = scores.join(truth, on=keys)
    for place, (name, part) in enumerate(groups(joined, "verifier")):
        low, high = part["score"].min(), part["score"].max()
        scaled = (part["score"] - low) / ((high - low) or 1.0)  # type: ignore[operator]
        for sign, is_right in ((1, True), (-1, False)):
            chosen = scaled.filter(part["verdict"] == "correct" if is_right else part["verdict"] != "correct")
            counts = _histogram(chosen, 24)
            edges = [i / 24 for i in range(25)]
            axes.stairs(
                [sign * value for value in counts], edges, color=SERIES[place], label=name if sign == 1 else None
            )
    zero(axes, vertical=False)
    return titled(axes, "Scores: right up, wrong down", "score, least to largest", "share", legend=True)


def _histogram(values: pl.Series, bins: int) -> list[float]:
    """Share of ``values`` (0..1) in each of ``bins``."""
    counts = [0] * bins
    found = (values * bins).floor().clip(0, bins - 1).cast(pl.Int32).value_counts()
    for place, count in found.iter_rows():
        counts[place] = count
    return [count / max(len(values), 1) for count in counts]


def gap_metrics(axes: Axes, source: Source) -> bool:
    """The gap of every rule with its interval."""
    rows = _eval(source.rows(["split", "rule", "gap", "gap_low", "gap_high"])).filter(pl.col("gap").is_not_null())
    if rows.is_empty():
        return False
    intervals(axes, rows["rule"].to_list(), rows, "gap")
    zero(axes, vertical=True)
    return titled(axes, "Gap", "filtered accuracy − accuracy", "")


def verifier_metrics(axes: Axes, source: Source) -> bool:
    """AUROC of every verifier with its interval; 0.5 is chance."""
    rows = _eval(source.rows(["split", "verifier", "auroc", "auroc_low", "auroc_high"]))
    rows = rows.filter(pl.col("auroc").is_not_null())
    if rows.is_empty():
        return False
    intervals(axes, rows["verifier"].to_list(), rows, "auroc")
    axes.axvline(0.5, color=INK, linewidth=0.8)
    return titled(axes, "AUROC of every verifier", "AUROC (0.5 is chance)", "")


def calibration_bins(axes: Axes, source: Source) -> bool:
    """Reliability: what share is right of what the verifier gives a probability."""
    rows = _eval(source.rows(["split", "verifier", "mean_probability", "accuracy"])).drop_nulls()
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2)
    for place, (name, part) in enumerate(groups(rows, "verifier")):
        axes.plot(part["mean_probability"], part["accuracy"], color=SERIES[place], marker=MARKERS[place], label=name)
    return rows.height > 0 and titled(axes, "Reliability", "verifier's probability", "share right", legend=True)


def threshold_sweeps(axes: Axes, source: Source) -> bool:
    """The gap against the quantile or, where no quantile was swept, the threshold."""
    rows = _eval(source.rows(["split", "verifier", "filter", "value", "gap"])).drop_nulls()
    kind = "quantile" if not rows.filter(filter="quantile").is_empty() else "threshold"
    rows = rows.filter(filter=kind).sort("value")
    for place, (name, part) in enumerate(groups(rows, "verifier")):
        axes.plot(part["value"], part["gap"], color=SERIES[place], label=name)
    zero(axes, vertical=False)
    return rows.height > 0 and titled(axes, f"Gap against the {kind}", kind, "gap", legend=True)


def verifier_pairs(axes: Axes, source: Source) -> bool:
    """Rank correlation of the scores of every two verifiers."""
    rows = _eval(source.rows(["split", "verifier_a", "verifier_b", "spearman", "spearman_low", "spearman_high"]))
    rows = rows.filter(pl.col("spearman").is_not_null()).head(12)
    if rows.is_empty():
        return False
    labels = [f"{a} · {b}" for a, b in zip(rows["verifier_a"], rows["verifier_b"], strict=True)]
    intervals(axes, labels, rows, "spearman")
    zero(axes, vertical=True)
    return titled(axes, "Do verifiers agree?", "Spearman correlation of scores", "")


def test_time_metrics(axes: Axes, source: Source) -> bool:
    """Accuracy against n of every method and verifier; the oracle is pass@n."""
    rows = _eval(source.rows(["split", "method", "verifier", "n", "accuracy"]))
    rows = rows.filter(pl.col("accuracy").is_not_null()).sort("n")
    rows = rows.with_columns(series=pl.concat_str(["method", "verifier"], separator=" ", ignore_nulls=True))
    for place, (name, part) in enumerate(groups(rows, "series")):
        axes.plot(part["n"], part["accuracy"], color=SERIES[place], marker=MARKERS[place], label=name)
    some_doublings(axes, rows["n"])
    return rows.height > 0 and titled(axes, "Test-time improvement", "n responses", "accuracy", legend=True)


def diversity_metrics(axes: Axes, source: Source) -> bool:
    """pass@k with its interval."""
    rows = _eval(source.rows(["split", "metric", "k", "value", "low", "high"]))
    rows = rows.filter(pl.col("metric") == "pass_at_k", pl.col("value").is_not_null()).sort("k")
    axes.plot(rows["k"], rows["value"], color=SERIES[0], marker="o")
    axes.fill_between(rows["k"], rows["low"], rows["high"], color=SERIES[0], alpha=0.15, linewidth=0)
    some_doublings(axes, rows["k"])
    return rows.height > 0 and titled(axes, "pass@k", "k responses", "share of problems solved")


def finetune_data(axes: Axes, source: Source) -> bool:
    """How many examples each problem has, right and wrong ones."""
    rows = source.rows(["problem_id", "verdict"])
    right = pl.col("verdict") == "correct"
    counts = rows.group_by("problem_id").agg(right.sum().alias("right"), (~right).sum().alias("wrong"))
    counts = counts.sort(pl.col("right") + pl.col("wrong"), "right", descending=True)
    places = range(counts.height)
    axes.stackplot(places, counts["right"], counts["wrong"], colors=[SERIES[2], SERIES[1]], labels=["right", "wrong"])
    return rows.height > 0 and titled(axes, "Examples per problem", "problems, most first", "examples", legend=True)


def preference_pairs(axes: Axes, source: Source) -> bool:
    """How many pairs each problem has."""
    counts = source.rows(["problem_id"]).group_by("problem_id").len().sort("len", descending=True)["len"]
    axes.fill_between(range(len(counts)), counts, color=SERIES[0], step="mid")
    return len(counts) > 0 and titled(axes, "Pairs per problem", "problems, most first", "pairs")
