"""What one iteration says of its verifiers: quality, calibration, cost, best thresholds, test-time selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.plan import Plan, asset_name
from ops.reporting.numbers import interval_of, number_of
from ops.storage.store import Store
from ops.types import Interval


@dataclass(frozen=True)
class VerifierRow:
    """One verifier on the evaluation problems.

    Attributes:
        cells: estimates by the names of ``verifier_metrics``.
        unparseable_fraction: of its verdicts.
        tokens, seconds: per 1,000 responses; NaN where not known.
        best: the threshold that is best on the training problems, with its gap on the evaluation problems; None
            without training problems.
        best_of_n: accuracy of the best of all n responses; ``n`` says how many.
    """

    verifier: str
    model: str | None
    cells: Mapping[str, Interval]
    unparseable_fraction: float
    tokens: float
    seconds: float
    best: tuple[float, Interval] | None
    best_of_n: Interval | None
    weighted_vote: Interval | None


@dataclass(frozen=True)
class VerifierSummary:
    """All verifiers at one iteration, and what asks none of them.

    Attributes:
        n: the largest number of responses that test-time selection was measured with.
        n_problems: problems that have as many, of ``all_problems``; the others are not in these numbers.
        majority_vote, oracle: accuracy with n responses; the vote is NaN where no response has an answer.
    """

    iteration: int
    rows: tuple[VerifierRow, ...]
    n: int | None
    n_problems: int
    all_problems: int
    majority_vote: Interval | None
    oracle: Interval | None


SHOWN = (
    "auroc",
    "precision",
    "recall",
    "ece",
    "verification_accuracy_minus_generation_accuracy",
    "precision_minus_accuracy",
    "oracle_minus_selected",
)


def read_verifiers(plan: Plan, store: Store, iteration: int) -> VerifierSummary | None:
    """Read the tables about verifiers of one iteration; None where they are not measured.

    Raises:
        StorageError: when a table is damaged.
    """
    tables = {}
    for table in ("verifier_metrics", "threshold_sweeps", "test_time_metrics"):
        fingerprint = plan.fingerprints[asset_name(table, iteration)]
        if not store.has(table, fingerprint):
            return None
        tables[table] = store.read(table, fingerprint).filter(pl.col("split") == "eval")
    chosen = tables["threshold_sweeps"].filter((pl.col("filter") == "threshold") & pl.col("best_on_train"))
    best = {row["verifier"]: (row["value"], interval_of(row, "gap")) for row in chosen.iter_rows(named=True)}
    curves = tables["test_time_metrics"]
    n = max(curves["n"].to_list(), default=None)
    reached = {
        (row["method"], row["verifier"]): interval_of(row, "accuracy")
        for row in curves.filter(pl.col("n") == n).iter_rows(named=True)
    }
    rows = tuple(_row(row, best, reached) for row in tables["verifier_metrics"].iter_rows(named=True))
    return VerifierSummary(
        iteration,
        rows,
        n,
        max(curves.filter(pl.col("n") == n)["n_problems"].to_list(), default=0),
        max(curves["n_problems"].to_list(), default=0),
        reached.get(("majority_vote", None)),
        reached.get(("oracle", None)),
    )


def _row(
    row: Mapping[str, Any],
    best: Mapping[str, tuple[float, Interval]],
    reached: Mapping[tuple[str, str | None], Interval],
) -> VerifierRow:
    name = row["verifier"]
    return VerifierRow(
        verifier=name,
        model=row["verifier_model"],
        cells={metric: interval_of(row, metric) for metric in SHOWN},
        unparseable_fraction=number_of(row["unparseable_fraction"]),
        tokens=number_of(row["new_tokens_per_1000_responses"]),
        seconds=number_of(row["seconds_per_1000_responses"]),
        best=best.get(name),
        best_of_n=reached.get(("best_of_n", name)),
        weighted_vote=reached.get(("weighted_vote", name)),
    )
