"""A small fabricated home: three arms, two iterations, every table filled, by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import ops
from ops.plan import measures
from ops.storage.catalog import rebuild_catalog
from ops.storage.layout import asset_key
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Provenance, Store

ITERATIONS = 2
VERIFIER_TABLES = ("verifier_metrics", "calibration_bins", "threshold_sweeps", "verifier_pairs", "test_time_metrics")
LOOP_TABLES = ("iteration_changes", "problem_flips", "policy_shift", "selection_metrics", "stopping_rules")
STUDY_TABLES = ("scaling_points", "scaling_laws", "cross_verification", "findings", "arm_metrics", "arm_differences")
EXPLORATION_TABLES = {
    "rollouts": "exploration/rollouts",
    "policy_steps": "exploration/policy",
    "training_dynamics": "exploration/training_dynamics",
    "policy_evaluation": "exploration/evaluation",
    "exploration_metrics": "exploration_metrics",
    "exploration_differences": "exploration_differences",
    "bandit_regret": "bandit_regret",
}
EVALUATION_TABLES = ("pairs", "synthetic_judgements", "human_labels", "win_rates", "judge_metrics", "label_curves")
ASSETS = {
    **{table: table for table in (*VERIFIER_TABLES, *LOOP_TABLES, *STUDY_TABLES)},
    **{asset: table for table, asset in EXPLORATION_TABLES.items()},
    **{f"evaluation/{table}": table for table in EVALUATION_TABLES},
    "sampling_choices": "sampling_choices",
    "saturation": "saturation",
    "generations": "generations",
    "verification_scores": "verification_scores",
    "gap_metrics": "gap_metrics",
    "diversity_metrics": "diversity_metrics",
    "finetune_data": "finetune_data",
    "model": "models",
}
ARMS = ("demo", "demo-gold", "demo-no-filter")
PROBLEMS = [("eval", "e0"), ("eval", "e1"), ("train", "t0"), ("train", "t1")]
SAMPLES = 4


def row_of(table: str, **values: Any) -> dict[str, Any]:
    """A row with every column of ``table``, None where not given."""
    unknown = set(values) - set(polars_schema(table))
    assert not unknown, unknown
    return {name: values.get(name) for name in polars_schema(table)}


def frame_of(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([row_of(table, **row) for row in rows], schema=polars_schema(table))


def provenance(**values: Any) -> Provenance:
    return Provenance(
        **{"run_id": "run-1", "code_version": "1", "seconds": 0.5, "reused": False, "metadata": {}, **values}
    )


def commit(
    store: Store, table: str, frame: pl.DataFrame, fingerprint: str, experiment: str = "demo", iteration: int | None = 0
) -> None:
    assets = {"models": "model" if iteration is not None else "base_model", "reports": "report"}
    store.commit_table(
        table,
        frame,
        experiment=experiment,
        asset=assets.get(table, table),
        iteration=iteration,
        fingerprint=fingerprint,
        provenance=provenance(),
    )


def number_frame(k: int, rows: int = 1) -> pl.DataFrame:
    """Diversity rows that all say ``k``: small data whose wholeness is easy to check."""
    return frame_of("diversity_metrics", [{"split": "eval", "metric": "pass_at_k", "k": k, "value": float(k)}] * rows)


def verdict_of(iteration: int, problem: int, sample: int) -> str:
    """Later iterations answer more samples right; sample 3 of the first problem cannot be parsed."""
    if problem == 0 and sample == 3:
        return "unparseable"
    return "correct" if (problem + sample) % 4 <= iteration else "incorrect"


def generations(iteration: int, model: str) -> pl.DataFrame:
    rows = []
    for p, (split, problem) in enumerate(PROBLEMS):
        for s in range(SAMPLES):
            verdict = verdict_of(iteration, p, s)
            rows.append(
                {
                    "split": split,
                    "problem_id": problem,
                    "sample_index": s,
                    "response": f"1+{s} 'quoted' 😀",
                    "answer": None if verdict == "unparseable" else f"1+{s}",
                    "verdict": verdict,
                    "strict_verdict": verdict if s else "unparseable",
                    "n_tokens": 5 + s,
                    "logprob": -1.0 - s,
                    "seed": 1000 + s,
                    "model_fingerprint": model,
                    "prompt": f"{problem}?",
                    "reason": "",
                    "finish_reason": "length" if verdict == "unparseable" else "stop",
                    "engine": "transformers",
                    "engine_version": "5",
                    "label": "correct" if s == 0 else None,
                    "response_id": f"{model}-{problem}-{s}",
                }
            )
    return frame_of("generations", rows)


def scores(responses: pl.DataFrame, model: str) -> pl.DataFrame:
    """Binary CoT accepts what is right and also sample 2; logit is one number for all."""
    rows = []
    for row in responses.iter_rows(named=True):
        mine = {name: row[name] for name in ("split", "problem_id", "sample_index", "response_id")}
        accepted = row["verdict"] == "correct" or row["sample_index"] == 2
        cot = {"verifier": "binary_cot", "transcript": "I add the numbers:\nyes" if accepted else "no", "n_tokens": 9}
        verdict = "unparseable" if row["sample_index"] == 3 else "correct" if accepted else "incorrect"
        score = None if verdict == "unparseable" else float(accepted)
        rows.append({**mine, **cot, "verifier_model": model, "score": score, "verdict": verdict})
        logit = {"verifier": "logit", "transcript": "", "n_tokens": 0, "score": 0.25, "verdict": "correct"}
        rows.append({**mine, **logit, "verifier_model": model})
        match = {
            "round": 1,
            "opponent": 3 - row["sample_index"],
            "outcome": "win" if row["sample_index"] > 1 else "loss",
        }
        won = {
            "verifier": "tournament",
            "mechanism": "tournament",
            "transcript": json.dumps([match]),
            "verdict": "incorrect",
        }
        rows.append({**mine, **won, "verifier_model": model, "score": float(row["sample_index"] > 1)})
    return frame_of("verification_scores", rows)


def gap_rows(iteration: int, lift: float) -> pl.DataFrame:
    rows = []
    for split in ("eval", "train"):
        for verifier, gap in (("binary_cot", 0.2), ("logit", 0.05)):
            accuracy = 0.3 + lift * iteration
            row: dict[str, Any] = {"split": split, "verifier": verifier, "filter": "threshold", "threshold": 0.5}
            row |= {"n_problems": 2, "n_responses": 8, "strict_accuracy": accuracy - 0.05, "kept_fraction": 0.4}
            row |= {"unparseable_fraction": 0.25, "unparseable_response_fraction": 0.125, "n_problems_kept_empty": 0}
            row |= {"n_problems_solved": 0}
            values = {"accuracy": accuracy, "filtered_accuracy": accuracy + gap, "gap": gap}
            values |= {"relative_gap": gap / (1 - accuracy), "auroc": 0.5 + gap}
            for name, value in values.items():
                row |= {name: value, f"{name}_low": value - 0.04, f"{name}_high": value + 0.04}
            rows.append(row)
    return frame_of("gap_metrics", rows)


def diversity_rows(iteration: int) -> pl.DataFrame:
    rows = []
    for split in ("eval", "train"):
        for k, value in ((1, 0.3 + 0.1 * iteration), (64, 0.8 - 0.1 * iteration)):
            rows.append({"split": split, "metric": "pass_at_k", "k": k, "value": value})
            rows.append({"split": split, "metric": "distinct_answers_in_k", "k": k, "value": 1.0 + k / 8})
        rows.append({"split": split, "metric": "answer_entropy_nats", "k": None, "value": 1.5 - 0.5 * iteration})
    return frame_of(
        "diversity_metrics",
        [{**row, "low": row["value"] - 0.05, "high": row["value"] + 0.05, "n_problems": 2} for row in rows],
    )


def verifier_rows(table: str) -> pl.DataFrame:
    """One or a few rows of each table about verifiers."""
    ends = {"": 0.2, "_low": 0.1, "_high": 0.3}
    rows: dict[str, list[dict[str, Any]]] = {
        "verifier_metrics": [
            {"verifier": "logit", **{f"{name}{end}": x for name in ("auroc", "score_drift") for end, x in ends.items()}}
        ],
        "calibration_bins": [{"verifier": "logit", "bin": 3, "n_responses": 5, "accuracy": 0.2}],
        "threshold_sweeps": [
            {"verifier": "logit", "filter": "threshold", "value": value, "gap": 0.1, "best_on_train": value > 0}
            for value in (0.0, 0.5)
        ],
        "verifier_pairs": [
            {"verifier_a": "logit", "verifier_b": "binary_cot"}
            | {f"gap_difference{end}": -value for end, value in zip(("", "_high", "_low"), ends.values(), strict=True)}
        ],
        "test_time_metrics": [
            {"method": method, "verifier": name, "n": 4, "accuracy": value}
            for method, name, value in (
                ("best_of_n", "logit", 0.6),
                ("majority_vote", None, 0.5),
                ("oracle", None, 0.9),
            )
        ],
    }
    return frame_of(table, [{"split": "eval", **row} for row in rows[table]])


def loop_rows(table: str) -> pl.DataFrame:
    """Rows of the tables about an iteration's place in the loop."""
    ends = {"low": 0.05, "high": 0.15, "n_problems": 2}
    compared = [("accuracy", None, None, 0.1), ("pass_at_k", 64, None, -0.1), ("update_error", None, "logit", 0.3)]
    since = [{"split": "eval", "reference": name, "from_iteration": 0} for name in ("previous", "base")]
    flips = {"stayed_solved": 0.5, "learned": 0.25, "forgotten": 0.0, "stayed_unsolved": 0.25}
    rows: dict[str, list[dict[str, Any]]] = {
        "iteration_changes": [
            {**row, **ends, "metric": metric, "k": k, "rule": rule, "value": value}
            for row in since
            for metric, k, rule, value in compared
            if row["reference"] == "previous" or metric != "update_error"
        ],
        "problem_flips": [{**row, "criterion": "half", "n_problems": 2, **flips} for row in since],
        "policy_shift": [{"split": "eval", "metric": "kl_to_base_nats", "value": 0.1, **ends}],
        "selection_metrics": [
            {"metric": metric, "value": value, **ends} for metric, value in (("precision", 0.9), ("balance_score", 0.5))
        ],
        "stopping_rules": [
            {"rule": rule, "stops": rule == "gap_closed", "fires": fires, "value": 0.1, "limit": 0.0, **ends}
            for rule, fires in (("gap_closed", True), ("diversity_collapsed", None), ("drift_grows", False))
        ],
    }
    return frame_of(table, [{name: x for name, x in row.items() if name in COLUMNS[table]} for row in rows[table]])


def study_rows(table: str) -> pl.DataFrame:
    """Rows of the tables of a study."""
    pairs = [("a", "a", 0.1), ("a", "s", 0.3), ("s", "a", 0.0), ("s", "s", 0.2)]
    rows: dict[str, list[dict[str, Any]]] = {
        "scaling_points": [{"model": "a", "family": "builtin", "pretraining_flops": 1e12, "gap": 0.1}],
        "scaling_laws": [{"family": "builtin", "metric": "relative_gap", "slope": 0.2, "n_models": 4}],
        "cross_verification": [
            {"mechanism": "logit", "generator": generator, "verifier_model": verifier, "gap": gap}
            for generator, verifier, gap in pairs
        ],
        "findings": [{"finding": "1", "outcome": "holds", "evidence": "slope +.2 [+.1, +.3]"}],
    }
    if table in rows:
        return frame_of(table, [{"task": "countdown", **row} for row in rows[table]])
    measured = {"arm_iteration": 1, "metric": "accuracy", "value": 0.1, "low": 0.05, "high": 0.15, "n_seeds": 2}
    arms: dict[str, list[dict[str, Any]]] = {
        "arm_metrics": [
            {**measured, "arm": arm, "seed": seed, "standard_error": None if seed is not None else 0.01}
            for arm in ("self", "gold")
            for seed in (0, 1, None)
        ],
        "arm_differences": [{**measured, "arm_a": "self", "arm_b": "gold", "standard_error": 0.02}],
    }
    return frame_of(table, arms[table])


def rollouts() -> pl.DataFrame:
    """Two problems at two steps, two responses each: x1 finds no right answer at first, and one later."""
    answers = [("x1", 0, "7", "7"), ("x2", 0, "5", "5"), ("x1", 1, "7", "3"), ("x2", 1, "6", None)]
    right = {"x1": "3", "x2": "5"}
    rows = []
    for problem, step, *pair in answers:
        correct = [answer == right[problem] for answer in pair]
        for i, answer in enumerate(pair):
            verdict = "unparseable" if answer is None else "correct" if correct[i] else "incorrect"
            row = {"step": step, "problem_id": problem, "sample_index": i, "answer": answer, "verdict": verdict}
            mean = sum(correct) / 2
            row |= {"reward": float(correct[i]), "advantage": correct[i] - mean, "bonus": 0.0, "bonus_tokens": 0}
            rows.append({**row, "seen": 2 * step, "response": f"= {answer}", "n_tokens": 3})
    return frame_of("rollouts", rows)


def exploration_rows(table: str) -> pl.DataFrame:
    """Rows of the tables about reinforcement learning, and of the bandits."""
    if table == "rollouts":
        return rollouts()
    gains = [(1, 0.3, 0.1), (64, 0.9, -0.05)]
    ends = {"low": 0.0, "high": 0.2}
    compared = {"task": "countdown", "step": 60, "metric": "pass_at_k", "n_seeds": 2, "standard_error": 0.01, **ends}
    rows: dict[str, list[dict[str, Any]]] = {
        "policy_steps": [{"step": step, "accuracy": 0.3, "entropy_nats": 0.2} for step in (1, 2)],
        "training_dynamics": [
            {"sampler": name, "step": step, "questions": questions, "metric": "distinct_answers", "value": -step / 2}
            for name in ("policy", "base", "policy_minus_base")
            for step in (1, 2)
            for questions in ("all", "solved", "unsolved")
        ],
        "policy_evaluation": [
            {"step": step, "metric": "pass_at_k", "k": k, "value": value + (change if step else 0.0), "n_problems": 2}
            | ({"change": change, "change_low": change - 0.04, "change_high": change + 0.04} if step else {})
            for k, value, change in gains
            for step in (0, 60)
        ],
        "exploration_metrics": [{**compared, "arm": "ucb", "k": k, "value": value} for k, value, _ in gains],
        "exploration_differences": [
            {**compared, "arm": arm, "reference": reference, "k": k, "value": change * times}
            for arm, times in (("vanilla", 2.0), ("ucb", 1.0))
            for reference in ("base", "vanilla")
            for k, _, change in gains
        ],
        "bandit_regret": [{"algorithm": "arm_ucb", "n_arms": 10, "round": 100, "regret": 9.0}],
    }
    return frame_of(table, rows[table])


def evaluation_rows(table: str) -> pl.DataFrame:
    """Two pairs of model b against a. Two people label the first, 1 and 0; the judge is right of neither."""
    pair = {"pair_id": "b0", "problem_id": "e0", "model": "b", "reference": "a", "sample_index": 0}
    rate = {"model": "b", "reference": "a", "quantity": "win_rate", "is_biased": False, "n_labelled": 20, "n_pairs": 40}
    saved = {"correlation": 0.5, "predicted_saving": 0.125, "saving": 0.2, "saving_low": 0.1, "saving_high": 0.3}
    curve = {"model": "b", "quantity": "win_rate", "n_labels": 10, "n_redraws": 1000}
    realised = {"predicted": 0.016, "saving": 0.2, "saving_low": 0.1, "saving_high": 0.3, "predicted_saving": 0.15}
    varied = {**rate, **saved, "estimator": "control_variate", "judge": "pairwise"}
    rows: dict[str, list[dict[str, Any]]] = {
        "pairs": [{**pair, "response": "1+1"}, {**pair, "pair_id": "b1", "problem_id": "e1", "response": "2+2"}],
        "synthetic_judgements": [
            {"pair_id": name, "model": "b", "judge": "pairwise", "score": score}
            for name, score in (("b0", 1), ("b1", 0.5))
        ],
        "human_labels": [
            {"pair_id": name, "model": "b", "annotator": who, "label": label, "wave": 0}
            for name, who, label in (("b0", "ann", 1.0), ("b0", "bob", 0.0), ("b1", "ann", 0.25))
        ],
        "win_rates": [
            {**rate, "estimator": "human", "value": 0.6, "low": 0.45, "high": 0.75},
            {**rate, "estimator": "synthetic", "judge": "pairwise", "value": 0.9, "low": 0.89, "high": 0.91},
            {**varied, "value": 0.65, "low": 0.52, "high": 0.78},
        ],
        "judge_metrics": [
            {"judge": "pairwise", "metric": metric, "value": value, "low": value - 0.02, "high": value + 0.02}
            for metric, value in (("position_bias", 0.1), ("order_agreement", 0.7))
        ],
        "label_curves": [
            {**curve, "estimator": "human", "squared_error": 0.02, "predicted": 0.02},
            {**curve, **realised, "estimator": "control_variate", "judge": "pairwise", "squared_error": 0.015},
        ],
    }
    return frame_of(table, rows[table])


def model_row(model: str, parent: str | None, generates: int) -> pl.DataFrame:
    trained = {"n_parameters": 1000, "train_tokens": 5000, "train_flops": 3e7, "optimizer_steps": 10, "final_loss": 0.9}
    role = "base" if parent is None else "finetuned"
    row = {"role": role, "generates_iteration": generates, "model_fingerprint": model, "parent_fingerprint": parent}
    return frame_of("models", [{**row, "path": f"models/{model}", "seconds": 3.0, **trained}])


def tables_of(arm: str) -> dict[tuple[str, int | None], tuple[str, pl.DataFrame]]:
    """(asset, iteration) -> (fingerprint, frame); the arms share the base model and its first generations."""
    problems = [
        {"split": split, "problem_id": name, "task": "countdown", "data": '{"numbers": [1, 2], "target": 3}'}
        | {"train_iteration": 0 if split == "train" else None}
        for split, name in PROBLEMS
    ]
    found: dict[tuple[str, int | None], tuple[str, pl.DataFrame]] = {
        ("problems", None): ("problems0", frame_of("problems", problems)),
        ("base_model", None): ("base0", model_row("base0", None, 0)),
        ("report", None): (f"rep-{arm}", frame_of("reports", [{"answer": "It rises.", "html_path": "reports/a.html"}])),
    }
    found["saturation", None] = (f"saturation-{arm}", frame_of("saturation", [{"quantity": "accuracy", "limit": 0.5}]))
    if arm == "demo":
        found |= {(table, None): (f"study-{table}", study_rows(table)) for table in STUDY_TABLES}
        found |= {
            (asset, None): (f"rl-{table}", exploration_rows(table)) for table, asset in EXPLORATION_TABLES.items()
        }
        found |= {(f"evaluation/{table}", None): (f"ev-{table}", evaluation_rows(table)) for table in EVALUATION_TABLES}
        choices = [{"temperature": 0.7, "chosen": False}, {"temperature": 1.0, "chosen": True}]
        found["sampling_choices", 0] = ("choices-demo-0", frame_of("sampling_choices", choices))
    model = "base0"
    for k in range(ITERATIONS):
        mark = f"{arm}-{k}" if k else "shared-0"
        responses = generations(k, model)
        found["generations", k] = (f"gen-{mark}", responses)
        found["verification_scores", k] = (f"ver-{mark}", scores(responses, model))
        found["gap_metrics", k] = (f"gap-{arm}-{k}", gap_rows(k, 0.2 if arm == "demo-gold" else 0.1))
        found["diversity_metrics", k] = (f"div-{mark}", diversity_rows(k))
        for table in VERIFIER_TABLES:
            found[table, k] = (f"{table}-{arm}-{k}", verifier_rows(table))
        for table in LOOP_TABLES:
            if measures(table, k, ITERATIONS - 1):
                found[table, k] = (f"{table}-{arm}-{k}", loop_rows(table))
        if k + 1 < ITERATIONS:
            kept = responses.filter((pl.col("split") == "train") & (pl.col("verdict") == "correct"))
            kept = kept.with_columns(completion=pl.col("response"), weight=pl.lit(1.0))
            found["finetune_data", k] = (f"fin-{arm}-{k}", kept.select(list(polars_schema("finetune_data"))))
            parent, model = model, f"model-{arm}-{k + 1}"
            found["model", k] = (model, model_row(model, parent, k + 1))
    return found


def fabricate(home: Path) -> Store:
    """Fill ``home`` with the three arms, an older plan of demo included, and build its catalog."""
    store = Store(home)
    commit(store, "gap_metrics", gap_rows(0, 0.0), "gap-old")
    for arm in ARMS:
        tables = tables_of(arm)
        config = {
            "name": arm,
            "hypothesis": f"{arm} rises",
            "iterations": ITERATIONS - 1,
            "task": {"name": "countdown"},
        }
        config |= {"model": {"kind": "builtin", "recipe": "countdown", "size": "s"}, "sampling": {"temperature": 1.0}}
        plan = {asset_key(*key): fingerprint for key, (fingerprint, _) in tables.items()}
        store.register_experiment(arm, config, plan, run_id=f"run-{arm}")
        for (asset, iteration), (fingerprint, frame) in tables.items():
            table = {**ASSETS, "problems": "problems", "base_model": "models", "report": "reports"}[asset]
            reused = store.has(table, fingerprint)
            more = {"metadata": {"accuracy": 0.5, "kept": 3}, "seed": 7, "run_id": f"run-{arm}", "reused": reused}
            where = dict(experiment=arm, asset=asset, iteration=iteration, fingerprint=fingerprint)
            if reused:
                store.link(table, provenance=provenance(**more), **where)
            else:
                store.commit_table(table, frame, provenance=provenance(**more), **where)
    rebuild_catalog(home)
    return store


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The fabricated home; read it, do not write to it."""
    return fabricate(tmp_path_factory.mktemp("fabricated") / "home")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")


@pytest.fixture
def made() -> SimpleNamespace:
    """The helpers of this file, for tests (which cannot import a conftest by name)."""
    return SimpleNamespace(
        commit=commit,
        frame_of=frame_of,
        number_frame=number_frame,
        provenance=provenance,
        fabricate=fabricate,
        ARMS=ARMS,
    )


@pytest.fixture
def child_environment() -> dict[str, str]:
    """Environment of a subprocess that imports ``ops``."""
    root = str(Path(ops.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": root, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
