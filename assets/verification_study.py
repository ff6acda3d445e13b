"""What the checks are worth: metrics of every verifier, calibration, thresholds, comparisons, test-time improvement."""

from __future__ import annotations

import dagster as dg

from assets.common import cpu_asset, iteration_key
from ops.stages.comparison import compare_verifiers, sweep_filters
from ops.stages.test_time import measure_test_time
from ops.stages.verifier_metrics import measure_calibration, measure_verifiers

STAGES = {
    "verifier_metrics": (
        measure_verifiers,
        "Every verifier as a classifier of responses: precision, recall, AUROC, calibration error, three other "
        "quantities that are called generation-verification gap elsewhere, and its cost, with intervals over problems.",
    ),
    "calibration_bins": (
        measure_calibration,
        "Reliability plots: in each bin of the verifier's score, how many of the responses are really right.",
    ),
    "threshold_sweeps": (
        sweep_filters,
        "The gap as a function of the threshold, global and per problem; the threshold that is best on the training "
        "problems is marked, so that its value on the evaluation problems is an honest one.",
    ),
    "verifier_pairs": (
        compare_verifiers,
        "Pairs of verifiers: correlation of their scores, and differences of gap and AUROC paired by problem.",
    ),
    "test_time_metrics": (
        measure_test_time,
        "Accuracy of best-of-n, verifier-weighted vote and majority vote against n, and of an oracle.",
    ),
}


def build_verification_study(iteration: int) -> list[dg.AssetsDefinition]:
    """``iteration_k/verifier_metrics`` and the other tables about verifiers."""
    deps = [iteration_key(iteration, "verification_scores")]
    return [
        cpu_asset(asset, iteration, deps, {"polars", "duckdb"}, f"{words} SQL: `FROM {asset}`.", stage)
        for asset, (stage, words) in STAGES.items()
    ]
