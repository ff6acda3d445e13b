"""Tables of an experiment over its iterations, made up from the schema: every number is known beforehand."""

from __future__ import annotations

import math

import polars as pl

from ops.plan import Plan, asset_name, measures
from ops.reporting.trajectory import ASSET_OF
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Provenance, Store

PROVENANCE = Provenance("run-abcdef12", "7", 1.25, False, {}, None)
KS = (1, 2, 4, 8, 16, 32, 64)


def frame_of(table: str, rows: list[dict]) -> pl.DataFrame:
    complete = [{name: row.get(name) for name in COLUMNS[table]} for row in rows]
    return pl.DataFrame(complete, schema=polars_schema(table), orient="row")


def estimate(value: float, half: float) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def ends(name: str, value: float, half: float) -> dict:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def diversity(k: int) -> list[dict]:
    """pass@1 rises by .03 an iteration, pass@64 falls by .03; .03 (6 - i) (k - .., in between."""
    plain = {
        "accuracy": (0.40 + 0.03 * k, 0.03),
        "strict_accuracy": (0.38 + 0.035 * k, 0.03),
        "majority_vote_accuracy": (0.70 - 0.01 * k, 0.04),
        "answer_entropy_nats": (1.9 - 0.25 * k, 0.06),
        "self_bleu": (0.41 + 0.07 * k, 0.02),
        "response_tokens": (14.0 - 0.4 * k, 0.2),
    }
    rows = [{"metric": name, "k": None, **estimate(*value)} for name, value in plain.items()]
    for place, n in enumerate(KS):
        share = place / (len(KS) - 1)
        rows.append({"metric": "pass_at_k", "k": n, **estimate(0.4 + 0.58 * share + 0.03 * k * (1 - 2 * share), 0.02)})
        rows.append({"metric": "distinct_answers_in_k", "k": n, **estimate(1 + share * (10 - 1.5 * k), 0.3)})
        rows.append({"metric": "distinct_correct_in_k", "k": n, **estimate(0.4 + share * (1.6 - 0.2 * k), 0.08)})
    return [{"split": "eval", "n_problems": 300, **row} for row in rows]


def verifiers(k: int) -> list[dict]:
    return [
        {
            "split": "eval",
            "verifier": name,
            "mechanism": name,
            "n_problems": 300,
            "n_responses": 19200,
            "unparseable_fraction": 0.01,
            **ends("auroc", auroc - 0.03 * k, 0.015),
            **ends("precision", 0.8 - 0.02 * k, 0.02),
            **ends("recall", 0.9, 0.02),
            **ends("ece", 0.05 + 0.03 * k, 0.01),
            **ends("score_drift", drift + 0.035 * k, 0.012),
        }
        for name, auroc, drift in (("binary_cot", 0.94, 0.01), ("logit", 0.86, -0.03))
    ]


def calibration(k: int) -> list[dict]:
    return [
        {
            "split": "eval",
            "verifier": name,
            "bin": b,
            "bin_low": b / 10,
            "bin_high": (b + 1) / 10,
            "n_responses": 500,
            "mean_probability": (b + 0.5) / 10,
            **ends("accuracy", ((b + 0.5) / 10) ** (1.1 + 0.3 * k), 0.04),
        }
        for name in ("binary_cot", "logit")
        for b in range(10)
    ]


def shift(k: int) -> list[dict]:
    values = {"kl_to_base_nats": 0.9, "kl_to_base_k3_nats": 0.95, "kl_to_base_nats_per_token": 0.06}
    return [
        {"split": "eval", "metric": name, "n_problems": 300, "n_responses": 4800, **estimate(value * k, 0.04 * k)}
        for name, value in values.items()
    ]


def changes(k: int, rule: str) -> list[dict]:
    rows = []
    for reference, start in (("previous", k - 1), ("base", 0)):
        common = {"split": "eval", "reference": reference, "from_iteration": start, "n_problems": 300}
        updates = k - start
        rows += [
            {**common, "metric": "accuracy", **estimate(0.03 * updates, 0.02)},
            {**common, "metric": "pass_at_k", "k": 1, **estimate(0.03 * updates, 0.02)},
            {**common, "metric": "pass_at_k", "k": 8, **estimate(0.001 * updates, 0.02)},
            {**common, "metric": "pass_at_k", "k": 64, **estimate(-0.03 * updates, 0.02)},
            {**common, "metric": "gap", "rule": rule, **estimate(-0.06 * updates, 0.03)},
            {**common, "metric": "score_drift", "rule": "binary_cot", **estimate(0.035 * updates, 0.01)},
            {**common, "metric": "self_bleu", **estimate(0.07 * updates, 0.01)},
        ]
        if reference == "previous":
            rows.append({**common, "metric": "update_error", "rule": rule, **estimate(0.4 - 0.1 * k, 0.03)})
    return rows


def flips(k: int) -> list[dict]:
    return [
        {
            "split": "eval",
            "reference": reference,
            "from_iteration": 0 if reference == "base" else k - 1,
            "criterion": criterion,
            "n_problems": 300,
            **ends("stayed_solved", 0.35, 0.04),
            **ends("learned", 0.12 - 0.02 * k, 0.02),
            **ends("forgotten", 0.03 + 0.01 * k, 0.01),
            **ends("stayed_unsolved", 0.5, 0.04),
        }
        for reference in ("previous", "base")
        for criterion in ("any", "half", "majority")
    ]


def rules(k: int) -> list[dict]:
    rows = [{"rule": "gap_closed", "stops": False, "limit": 0.0, "fires": False, **estimate(0.43 - 0.06 * k, 0.03)}]
    if k:
        value = estimate(-0.03 * k, 0.02)
        rows.append({"rule": "diversity_collapsed", "stops": False, "limit": 0.0, "fires": value["high"] < 0, **value})
    else:
        rows.append({"rule": "diversity_collapsed", "stops": False, "limit": 0.0, "fires": None})
    return [{**row, "sentence": f"Rule {row['rule']} at iteration {k}."} for row in rows]


def selection(k: int) -> list[dict]:
    values = {
        "balance_score": (0.42 + 0.04 * k, 0.03),
        "precision": (0.84 - 0.01 * k, 0.02),
        "kept_problem_fraction": (0.78 - 0.03 * k, 0.03),
        "distinct_correct_kept": (1.9 - 0.15 * k, 0.1),
        "kept_per_problem": (6.8 + 0.2 * k, 0.3),
    }
    return [{"metric": name, "n_problems": 400, **estimate(*value)} for name, value in values.items()]


def steps(k: int) -> list[dict]:
    return [
        {
            "step": 10 * i,
            "epoch": i / 5,
            "learning_rate": 1e-3,
            "loss": 0.4 + (0.6 - 0.1 * k) * math.exp(-i / 4),
            "validation_loss": None if i % 5 else 0.5 + 0.3 * math.exp(-i / 4) + 0.004 * i,
            "tokens": 1000 * i,
            "kept": i == 20,
        }
        for i in range(1, 21)
    ]


def saturation(rule: str) -> list[dict]:
    """gap(t) = .15 + .28 exp(-.25 t): at t = 4 it is .253."""
    of_gap = {
        "limit": (0.15, 0.06),
        "rate": (0.25, 0.1),
        "half_life_iterations": (2.77, 1.0),
        "next_value": (0.253, 0.02),
    }
    of_accuracy = {
        "limit": (0.6, 0.1),
        "rate": (0.2, 0.1),
        "half_life_iterations": (3.5, 1.5),
        "next_value": (0.5, 0.02),
    }
    rows = []
    for quantity, label, values in (("gap", rule, of_gap), ("accuracy", None, of_accuracy)):
        row = {"quantity": quantity, "rule": label, "n_iterations": 4, "residual": 0.006}
        for name, value in values.items():
            row |= ends(name, *value)
        rows.append(row)
    return rows


def fill_trajectory(store: Store, plan: Plan, measured: int, iterations: int, rule: str, leave_out: tuple = ()) -> None:
    """Commit the tables above for iterations 0..measured-1 of an experiment that has 0..iterations."""
    made = {
        "diversity_metrics": diversity,
        "verifier_metrics": verifiers,
        "calibration_bins": calibration,
        "policy_shift": shift,
        "iteration_changes": lambda k: changes(k, rule),
        "problem_flips": flips,
        "stopping_rules": rules,
        "selection_metrics": selection,
        "training_steps": steps,
    }
    for table, rows_of in made.items():
        for k in range(measured):
            if table not in leave_out and measures(ASSET_OF[table], k, iterations):
                commit(store, plan, table, k, rows_of(k))
    if "saturation" not in leave_out:
        commit(store, plan, "saturation", None, saturation(rule))


def commit(store: Store, plan: Plan, table: str, iteration: int | None, rows: list[dict]) -> None:
    asset = ASSET_OF.get(table, table)
    fingerprint = plan.fingerprints[asset_name(asset, iteration)]
    if not store.has(table, fingerprint):
        place = {"experiment": plan.experiment, "asset": asset, "iteration": iteration}
        store.commit_table(table, frame_of(table, rows), fingerprint=fingerprint, provenance=PROVENANCE, **place)
