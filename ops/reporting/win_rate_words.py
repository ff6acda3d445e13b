"""The answer of an experiment with ``evaluation`` in one sentence, its key figures, and its numbers in words."""

from __future__ import annotations

import math

from ops.reporting.numbers import interval_of, number_of
from ops.reporting.tiles import Tile, level_tile
from ops.reporting.win_rate_summary import Row, WinRateSummary
from ops.reporting.words import NOTHING, interval, number
from ops.types import Interval

NOT_MEASURED = "not measured"
ORGANISM = (
    "Models of this experiment are model organisms: tiny decoders that this lab pretrained itself. Their numbers show "
    "how judges and labels work together; they say nothing about any released model."
)
BIASED = "biased"
"""What stands beside every estimate from judgements alone."""
EVEN = 0.5
"""The win rate of a model as good as the reference."""
TILES = 5
MOST_SAVINGS = 2
"""Of more models the savings are quoted as a range."""

ESTIMATORS = {
    "human": "human labels",
    "control_variate": "control variate",
    "cross_fitted": "control variate, cross-fitted",
    "synthetic": "judge alone (biased)",
}
QUANTITIES = {"win_rate": "win rate", "accuracy": "accuracy", "gap": "gap"}


def answer(summary: WinRateSummary) -> str:
    """``s beats a: its win rate is .620 [.571, .667] ...; the judges saved 24 % [10 %, 35 %] of the labels ...``."""
    level = f"{100 * summary.confidence:g} % intervals over problems"
    if not summary.is_measured:
        return "Nothing is measured yet."
    rows = [row for name in summary.judged if (row := summary.quoted(name)) is not None and row["value"] is not None]
    if not rows:
        return f"Not known yet: {why_unknown(summary)}; judges alone are biased by an unknown amount."
    rows.sort(key=lambda row: -row["value"])
    said = "; ".join(_placed(summary, row) for row in rows)
    return f"{said}{_saved(rows)} ({level})."


def why_unknown(summary: WinRateSummary) -> str:
    """Whether labels are missing altogether, or are too few."""
    labelled = max(summary.tables["win_rates"]["n_labelled"].to_list(), default=0)
    return f"{labelled:,} labelled pairs of a model are too few" if labelled else "there are no labels yet"


def _placed(summary: WinRateSummary, row: Row) -> str:
    """``s beats a, win rate .620 [.571, .667]``; an interval that holds one half is no win."""
    value = interval(interval_of(row)) + readable_words(row)
    if summary.quantity == "accuracy":
        return f"accuracy of {row['model']} is {value}"
    return f"{row['model']} {outcome(row)} {summary.reference}, win rate {value}"


def readable_words(row: Row) -> str:
    """`` (of the 1,480 pairs that judges could read)`` where others were left out, else nothing."""
    return f" (of the {row['n_pairs']:,} pairs that judges could read)" if row["n_excluded"] else ""


def outcome(row: Row) -> str:
    """``beats``, ``loses to`` or ``cannot be told from``."""
    item = interval_of(row)
    return "beats" if item.low > EVEN else "loses to" if item.high < EVEN else "cannot be told from"


def _saved(rows: list[Row]) -> str:
    """Whether the judges of the quoted estimates saved labels, and how many."""
    known = [row for row in rows if row["judge"] is not None and row["saving"] is not None]
    labels = " and ".join(sorted({f"{row['n_labelled']:,}" for row in rows}, key=lambda text: (len(text), text)))
    if not known:
        return f", from {labels} human labels each" if len(rows) > 1 else f", from {labels} human labels"
    if len(known) <= MOST_SAVINGS:
        return "; " + "; ".join(saved_words(row, of_model=len(rows) > 1) for row in known)
    sure = [row["saving"] for row in known if row["saving_low"] is not None and row["saving_low"] > 0.0]
    if not sure:
        return f"; with {labels} labels of each model, judgements saved no measurable share of them"
    least, most = _percent(min(sure)), _percent(max(sure))
    share = least if least == most else f"{least} to {most}"
    of = f" for {len(sure)} of {len(rows)} models" if len(sure) < len(rows) else ""
    return f"; with {labels} labels of each model, judgements saved {share} of them{of}"


def saved_words(row: Row, of_model: bool = False) -> str:
    """``logit saved 24 % [10 %, 35 %] of the labels: 120 are worth 158``, or ``more than 1,200``."""
    share = share_words(interval_of(row, "saving"))
    whose = f" of {row['model']}" if of_model else ""
    low, high = row["saving_low"], row["saving_high"]
    if (low is not None and high is not None and low <= 0.0 <= high) or row["saving"] == 0.0:
        return f"{row['judge']} saved no measurable share of the {row['n_labelled']:,} labels{whose} ({share})"
    worth = f": {row['n_labelled']:,} are worth {labels_worth(row, 'more than ')}"
    verb = "saved" if row["saving"] > 0.0 else "cost precision,"
    return f"{row['judge']} {verb} {share} of the labels{whose}{worth}"


def share_words(item: Interval) -> str:
    """``24 % [10 %, 35 %]``; a dash where it is undefined."""
    if math.isnan(item.value):
        return NOTHING
    value, low, high = (_percent(end) for end in (item.value, item.low, item.high))
    return value if math.isnan(item.low) or math.isnan(item.high) else f"{value} [{low}, {high}]"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %".replace("-0 %", "0 %").replace("-", "−")


def labels_worth(row: Row, more: str = "> ") -> str:
    """``158``: how many human labels alone would be as precise; ``> 1,200`` where all pairs labelled would not be."""
    if row["saving"] is None:
        return NOTHING
    worth = row["human_labels_equal"]
    return f"{more}{row['n_pairs']:,}" if worth is None else f"{worth:,.0f}"


def shown_value(row: Row | None) -> str:
    """``.620 [.571, .667]``; a dash where it is not estimated."""
    return NOTHING if row is None else interval(interval_of(row))


def key_figures(summary: WinRateSummary) -> list[Tile]:
    """The quoted estimate of each of the first models, then what the judges saved."""
    tiles: list[Tile] = []
    rows = [row for name in summary.judged if (row := summary.quoted(name)) is not None and row["value"] is not None]
    what = QUANTITIES[summary.quantity].capitalize()
    for row in rows[: TILES - 2]:
        against = f"against {summary.reference}, " if summary.quantity == "win_rate" else ""
        note = f"{against}{row['n_labelled']:,} labels of {row['n_pairs']:,} pairs"
        tiles.append(level_tile(f"{what} of {row['model']}", interval_of(row), note, sign=False))
    for row in [row for row in rows if row["judge"] is not None and row["saving"] is not None][: TILES - len(tiles)]:
        value, _, ends = share_words(interval_of(row, "saving")).partition(" [")
        note = f"{row['model']}: {row['n_labelled']:,} labels are worth {labels_worth(row)}"
        tiles.append(Tile("Labels saved", value, f"[{ends}" if ends else "", note))
    return tiles


def predicted_words(row: Row) -> str:
    """``18 %``, the saving that the correlation predicts."""
    return share_words(Interval(number_of(row["predicted_saving"]), math.nan, math.nan))


def correlation_words(row: Row) -> str:
    """``.52``."""
    return number(row["correlation"], 2)
