"""Asset checks: what must hold for a result to mean what it says. They only read the store."""

import warnings

import dagster as dg
import polars as pl

from assets.common import iteration_key
from assets.metadata import interval_text
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import asset_name
from ops.stages.problems import overlap, stored_problems
from ops.stages.stopping_rules import watched_filter
from ops.stages.training_rows import training_rows
from orchestration.check_parts import WARN, Finding, asset_check, judged_share
from orchestration.evaluation_checks import build_evaluation_checks
from orchestration.exploration_checks import build_exploration_checks
from orchestration.loop_checks import build_loop_checks

GATE_AUROC = 0.65
GATE_UNPARSEABLE_FRACTION = 0.05
"""The gate that a built-in base model has to pass before a loop means anything."""


def build_checks(iterations: int) -> list[dg.AssetChecksDefinition]:
    """All checks of a graph with iterations 0..iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks are new in Dagster
        return _all_checks(iterations)


def _all_checks(iterations: int) -> list[dg.AssetChecksDefinition]:
    checks = [
        asset_check(
            dg.AssetKey("problems"),
            "train_eval_disjoint",
            "No evaluation problem is trained on. Stops the run when one is.",
            lambda lab, _: train_eval_disjoint(lab),
            blocking=True,
        ),
        asset_check(
            dg.AssetKey("base_model"),
            "finite_loss",
            "The training loss is a number.",
            lambda lab, _: finite_loss(lab, "base_model", None),
        ),
        asset_check(
            iteration_key(0, "gap_metrics"),
            "base_model_gate",
            "A built-in model verifies better than chance and answers in the right form before the loop starts.",
            lambda lab, _: base_model_gate(lab),
            severity=WARN,
        ),
        *build_exploration_checks(),
        *build_evaluation_checks(),
    ]
    for k in range(iterations + 1):
        checks += [*_iteration_checks(k, trains=k < iterations), *build_loop_checks(k)]
    return checks


def _iteration_checks(k: int, *, trains: bool) -> list[dg.AssetChecksDefinition]:
    checks = [
        asset_check(
            iteration_key(k, "generations"),
            "unparseable_fraction",
            "Few enough responses are unparseable (limits.unparseable_fraction of the experiment).",
            unparseable_fraction,
            iteration=k,
        ),
        asset_check(
            iteration_key(k, "gap_metrics"),
            "gap_above_zero",
            "The gap of every measured filter that the loop does not train on lies above zero: filtering by it helps. "
            "The training filter's (with gold labels or none: the first one's) is judged by gap_is_open.",
            gap_above_zero,
            iteration=k,
            severity=WARN,
        ),
    ]
    if trains:
        checks += [
            asset_check(
                iteration_key(k, "finetune_data"),
                "filter_kept_something",
                "The filter kept responses to train on.",
                filter_kept_something,
                iteration=k,
                trains=True,
            ),
            asset_check(
                iteration_key(k, "model"),
                "finite_loss",
                "The training loss is a number.",
                lambda lab, iteration: finite_loss(lab, "model", iteration),
                iteration=k,
                trains=True,
            ),
        ]
    return checks


def train_eval_disjoint(lab: Lab) -> Finding:
    """No evaluation problem, however it is written down, is fine-tuned on or was posed in pretraining."""
    problems = stored_problems(lab)
    splits = {name: [problem for problem in problems if problem.split == name] for name in ("train", "eval")}
    shared = overlap(lab.experiment, splits["eval"], splits["train"])
    numbers = {"train_problems": len(splits["train"]), "eval_problems": len(splits["eval"]), "shared": len(shared)}
    if shared:
        return Finding(
            False,
            f"{len(shared)} problems are both trained on and evaluated, e.g. {shared[0]}: "
            "accuracy would measure memory",
            numbers,
        )
    return Finding(True, f"none of {len(splits['eval'])} evaluation problems is trained on", numbers)


def unparseable_fraction(lab: Lab, iteration: int) -> Finding:
    """The share of responses that the grader cannot parse, against the experiment's limit."""
    frame = lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)], ["verdict"])
    share = float((frame["verdict"] == "unparseable").mean() or 0.0)  # type: ignore[arg-type]
    limit = lab.experiment.limits.unparseable_fraction
    return judged_share(
        share,
        limit,
        "they count as not correct, so accuracy says more about the form of answers than about their content. The "
        "column reason of generations says why; a larger sampling.max_tokens helps where they were cut",
    )


def filter_kept_something(lab: Lab, iteration: int) -> Finding:
    """The filter kept rows; how many problems got none."""
    frame = training_rows(lab, iteration)
    asked = lab.experiment.problems.train_per_iteration
    empty = 1.0 - frame["problem_id"].n_unique() / asked
    numbers = {"examples": frame.height, "problems_without_examples_fraction": empty}
    if frame.is_empty():
        return Finding(
            False,
            "the filter kept no response: there is nothing to fine-tune on; lower its threshold (threshold_sweeps "
            "shows how much each keeps)",
            numbers,
        )
    return Finding(True, f"{frame.height} examples; of {asked} problems, {empty:.0%} have none", numbers)


def finite_loss(lab: Lab, asset: str, iteration: int | None) -> Finding:
    """The final training loss of a model trained here."""
    frame = lab.store.read(
        "models", lab.plan.fingerprints[asset_name(asset, iteration)], ["final_loss", "optimizer_steps"]
    )
    loss, steps = frame.row(0)
    if steps is None:
        return Finding(True, "not trained here: a checkpoint that was given")
    if loss is None or loss != loss or abs(loss) == float("inf"):
        return Finding(False, f"the loss after {steps} steps is not a number: lower the learning rate")
    return Finding(True, f"loss {loss:.3f} after {steps} steps", {"final_loss": loss})


def gap_above_zero(lab: Lab, iteration: int) -> Finding:
    """Every measured filter's gap on the evaluation split has an interval above zero.

    All are shown; the one that the loop lives on is not judged here but by its stopping rule, with its own limit.
    """
    watched = watched_filter(lab, iteration) if lab.experiment.iterations > 0 else None
    numbers, below = {}, []
    for row in _gap_rows(lab, iteration).iter_rows(named=True):
        known = row["gap"] is not None and row["gap_low"] is not None
        text = interval_text(row["gap"], row["gap_low"], row["gap_high"]) if known else "undefined"
        numbers[row["rule"]] = text
        if row["rule"] != watched and (not known or row["gap_low"] <= 0.0):
            below.append(f"{row['rule']} {text}")
    if below:
        return Finding(
            False,
            f"the gap cannot be told from zero or less: {'; '.join(below)}. What these filters keep is no better than "
            "what the model answers anyway: do not train on them; try another threshold (threshold_sweeps) or another "
            "verifier",
            numbers,
        )
    return Finding(True, "; ".join(f"{name} {text}" for name, text in numbers.items()), numbers)


def base_model_gate(lab: Lab) -> Finding:
    """Binary-CoT AUC and malformed responses of a built-in base model."""
    if not isinstance(lab.experiment.model, BuiltinModel):
        return Finding(True, "not a built-in model: the gate is for the lab's own recipes")
    rows = _gap_rows(lab, 0).filter(pl.col("verifier") == "binary_cot")
    if rows.is_empty():
        return Finding(True, "this experiment does not verify by binary_cot, which the gate looks at")
    row = rows.row(0, named=True)
    auroc, malformed = row["auroc"], row["unparseable_response_fraction"]
    numbers = {"auroc": auroc if auroc is not None else "undefined", "unparseable_response_fraction": malformed}
    faults = []
    if auroc is None or auroc <= GATE_AUROC:
        shown = "undefined" if auroc is None else f"{auroc:.3f}"
        faults.append(f"its binary-CoT AUC is {shown}, at or below {GATE_AUROC} (0.5 is chance)")
    if malformed >= GATE_UNPARSEABLE_FRACTION:
        faults.append(f"{malformed:.1%} of its responses are unparseable, at or above {GATE_UNPARSEABLE_FRACTION:.0%}")
    if faults:
        said = f"the base model is not ready: {'; '.join(faults)}. A loop would train on noise; give model.steps more"
        return Finding(False, said, numbers)
    return Finding(True, f"binary-CoT AUC {auroc:.3f}, {malformed:.1%} unparseable responses", numbers)


def _gap_rows(lab: Lab, iteration: int) -> pl.DataFrame:
    frame = lab.store.read("gap_metrics", lab.plan.fingerprints[asset_name("gap_metrics", iteration)])
    return frame.filter(pl.col("split") == "eval")
