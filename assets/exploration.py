"""Outcome-based exploration (arXiv 2509.06941): a policy trained by reinforcement learning, and what became of it."""

from __future__ import annotations

import dagster as dg

from assets.common import Step, group_cpu_asset, group_gpu_asset, group_key
from ops.stages.evaluation import draw_evaluation, evaluate_policies
from ops.stages.policy import commit_rollouts, register_policy, train_policy
from ops.stages.training_dynamics import draw_base_responses, measure_training_dynamics

POLICY = """\
The model trained by reinforcement learning (GRPO, 2402.03300): it answers training problems, right answers are
rewarded, and the bonus of the experiment rewards rare ones (2509.06941). Only in experiments with the key
`exploration`. Its steps appear in MLflow while it trains; after kill -9 it resumes from its last checkpoint.
SQL: `FROM policy_steps ORDER BY step`, `FROM models WHERE role = 'policy'`."""

ROLLOUTS = """\
Every response that was drawn in training, with its answer, verdict, reward, advantage, bonus, and how often the answer
had been counted for its problem before. SQL: `SELECT step, avg(reward), avg(bonus) FROM rollouts GROUP BY ALL`."""

DYNAMICS = """\
Training seen as sampling (2509.06941): how many questions are solved so far, and how many distinct answers were drawn
so far, by the policy in training and by the base model after the same number of responses to each problem; for all,
solved and unsolved questions, with intervals over problems. Where the policy falls behind, training cost diversity.
SQL: `FROM training_dynamics WHERE sampler = 'policy_minus_base'`."""

EVALUATION = """\
Accuracy, pass@k, distinct answers and entropy on held-out problems, of the base model (step 0) and of every snapshot
of the policy, and their change from the base model paired by problem, with intervals. Reinforcement learning tends to
raise pass@1 and lower pass@64; a bonus should win it back. SQL: `FROM policy_evaluation WHERE metric = 'pass_at_k'`."""


def build_exploration() -> list[dg.AssetsDefinition]:
    """``exploration/policy``, ``rollouts``, ``training_dynamics`` and ``evaluation``."""
    policy, base_model = group_key("exploration", "policy"), dg.AssetKey("base_model")
    rollouts = group_cpu_asset("exploration", "rollouts", [policy], {"polars", "parquet"}, ROLLOUTS, commit_rollouts)
    return [_policy(base_model), rollouts, _training_dynamics(rollouts.key, base_model), _evaluation(policy)]


def _policy(base_model: dg.AssetKey) -> dg.AssetsDefinition:
    return group_gpu_asset(
        "exploration",
        "policy",
        [dg.AssetKey("problems"), base_model],
        {"torch", "huggingface", "mlflow"},
        POLICY,
        Step(
            "train_policy",
            "Draw groups of responses, reward them, update the policy; resumes from the last checkpoint.",
            train_policy,
        ),
        Step("register_policy", "Commit the policy's rows and its steps, register its snapshots.", register_policy),
    )


def _training_dynamics(rollouts: dg.AssetKey, base_model: dg.AssetKey) -> dg.AssetsDefinition:
    return group_gpu_asset(
        "exploration",
        "training_dynamics",
        [rollouts, base_model],
        {"torch", "polars", "duckdb"},
        DYNAMICS,
        Step(
            "draw_base_responses",
            "Draw twice as many responses of the base model to each problem as training drew of the policy: half are "
            "compared, the other half say which questions are unsolved.",
            draw_base_responses,
        ),
        Step(
            "measure_training_dynamics",
            "Count solved questions and distinct answers of both.",
            measure_training_dynamics,
        ),
    )


def _evaluation(policy: dg.AssetKey) -> dg.AssetsDefinition:
    return group_gpu_asset(
        "exploration",
        "evaluation",
        [policy, dg.AssetKey("problems")],
        {"torch", "polars", "duckdb"},
        EVALUATION,
        Step(
            "draw_evaluation",
            "Draw the evaluation responses of the base model and of every snapshot that no run has drawn yet.",
            draw_evaluation,
        ),
        Step("evaluate_policies", "Measure every snapshot, and its change from the base model.", evaluate_policies),
    )
