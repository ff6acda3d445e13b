"""Asset checks of the loop: whether another iteration is worth it. They warn; an experiment's ``stop`` ends it."""

import dagster as dg

from assets.common import iteration_key
from assets.metadata import interval_text
from ops.config import StopRule
from ops.lab import Lab
from ops.plan import asset_name
from orchestration.check_parts import WARN, Finding, asset_check

RULE_CHECKS: dict[str, tuple[StopRule, str]] = {
    "gap_is_open": (
        "gap_closed",
        "The gap of the training filter lies above limits.gap: there is something left to learn from what it keeps.",
    ),
    "diversity_holds": (
        "diversity_collapsed",
        "pass@k at the largest k has not fallen beyond noise since iteration 0 (limits.pass_at_k_fall).",
    ),
    "drift_is_stable": (
        "drift_grows",
        "The verifier's mean score does not run ahead of the truth since iteration 0 (limits.drift_growth).",
    ),
}
"""Check names, with the stopping rule that each reports and what it says when it passes."""


def build_loop_checks(iteration: int) -> list[dg.AssetChecksDefinition]:
    """The checks of ``iteration_k/stopping_rules``."""
    return [
        asset_check(
            iteration_key(iteration, "stopping_rules"),
            name,
            description,
            lambda lab, k, rule=rule: rule_holds(lab, k, rule),  # type: ignore[misc]
            iteration=iteration,
            severity=WARN,
        )
        for name, (rule, description) in RULE_CHECKS.items()
    ]


def rule_holds(lab: Lab, iteration: int, rule: StopRule) -> Finding:
    """A stopping rule does not fire; one that cannot be judged (iteration 0 has no change) is no reason to warn."""
    frame = lab.store.read("stopping_rules", lab.plan.fingerprints[asset_name("stopping_rules", iteration)])
    row = next(row for row in frame.iter_rows(named=True) if row["rule"] == rule)
    numbers = {"limit": row["limit"], "ends_the_loop": bool(row["fires"] and row["stops"])}
    if row["low"] is not None:
        numbers["value"] = interval_text(row["value"], row["low"], row["high"])
    return Finding(not row["fires"], row["sentence"], numbers)
