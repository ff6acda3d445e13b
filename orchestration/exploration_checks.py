"""Asset checks of reinforcement learning: what was trained and measured means what it says, and what it cost."""

import math

import dagster as dg
import polars as pl

from assets.common import group_key
from assets.metadata import interval_text
from ops.lab import Lab
from ops.plan import exploration_asset
from orchestration.check_parts import WARN, Finding, asset_check, judged_share


def build_exploration_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of ``exploration/policy``, ``rollouts`` and ``evaluation``."""
    return [
        asset_check(
            group_key("exploration", "policy"),
            "finite_loss",
            "Every step was made, and its loss and gradient are numbers.",
            lambda lab, _: finite_steps(lab),
        ),
        asset_check(
            group_key("exploration", "rollouts"),
            "unparseable_fraction",
            "Few enough responses of the training are unparseable (limits.unparseable_fraction of the experiment).",
            lambda lab, _: unparseable_rollouts(lab),
        ),
        asset_check(
            group_key("exploration", "evaluation"),
            "diversity_holds",
            "pass@k at the largest k has not fallen beyond noise below the base model's (limits.pass_at_k_fall).",
            lambda lab, _: pass_at_k_holds(lab),
            severity=WARN,
        ),
    ]


def finite_steps(lab: Lab) -> Finding:
    """The steps of the training: as many as the experiment asks for, each with a finite loss and gradient."""
    exploration = lab.experiment.exploration
    if exploration is None:
        raise RuntimeError("finite_steps: the experiment does not explore")
    columns = ["step", "loss", "gradient_norm"]
    frame = lab.store.read("policy_steps", _fingerprint(lab, "policy"), columns).sort("step")
    numbers = {"steps": frame["step"].n_unique(), "wanted_steps": exploration.steps}
    if numbers["steps"] != exploration.steps:
        return Finding(False, f"{numbers['steps']} of {exploration.steps} steps are on record: run it again", numbers)
    for step, *values in frame.iter_rows():
        if not all(value is not None and math.isfinite(value) for value in values):
            said = f"the loss or gradient of step {step} is not a number: lower exploration.learning_rate"
            return Finding(False, said, numbers)
    loss = frame["loss"][-1]
    return Finding(True, f"loss {loss:.3g} after {exploration.steps} steps", {**numbers, "final_loss": loss})


def unparseable_rollouts(lab: Lab) -> Finding:
    """The share of the responses of the training that the grader cannot parse, against the experiment's limit."""
    frame = lab.store.read("rollouts", _fingerprint(lab, "rollouts"), ["step", "verdict"])
    unparseable = frame["verdict"] == "unparseable"
    last = frame["step"] == frame["step"].max()
    finding = judged_share(
        float(unparseable.mean() or 0.0),  # type: ignore[arg-type]
        lab.experiment.limits.unparseable_fraction,
        "they have reward 0, so the policy is trained on the form of answers more than on their content. A larger "
        "sampling.max_tokens helps where they were cut (finish_reason of rollouts)",
    )
    share = float(unparseable.filter(last).mean() or 0.0)  # type: ignore[arg-type]
    return Finding(finding.passed, finding.sentence, {**finding.numbers, "unparseable_fraction_of_last_step": share})


def pass_at_k_holds(lab: Lab) -> Finding:
    """pass@k of the trained policy at the largest k, minus the base model's on the same problems."""
    frame = lab.store.read("policy_evaluation", _fingerprint(lab, "evaluation"))
    frame = frame.filter((pl.col("metric") == "pass_at_k") & (pl.col("step") == max(lab.plan.policies)))
    limit = lab.experiment.limits.pass_at_k_fall
    if frame.is_empty():
        return Finding(True, "pass@k cannot be estimated: sampling.n_eval is 1", {"limit": limit})
    row = frame.sort("k").row(-1, named=True)
    numbers = {"k": row["k"], "limit": limit}
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    if any(value is None or not math.isfinite(value) for value in (change, low, high)):
        return Finding(True, f"the change of pass@{row['k']} is undefined", numbers)
    text = interval_text(change, low, high)
    numbers["change"] = text
    if high < -limit:
        return Finding(
            False,
            f"pass@{row['k']} changed by {text} since the base model, and may fall by {limit:g}: given many attempts "
            "the policy solves fewer problems. Another exploration.bonus, a larger coefficient of it, a larger "
            "kl_coefficient, or fewer steps may keep it",
            numbers,
        )
    return Finding(True, f"pass@{row['k']} changed by {text} since the base model", numbers)


def _fingerprint(lab: Lab, asset: str) -> str:
    return lab.plan.fingerprints[exploration_asset(asset)]
