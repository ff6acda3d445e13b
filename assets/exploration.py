"""Outcome-based exploration (arXiv 2509.06941): a policy trained by reinforcement learning, and what became of it."""

from __future__ import annotations

import dagster as dg

from assets.common import about, exploration_commit_op, exploration_cpu_asset, exploration_key
from ops.gpu_ops import exploration_op
from ops.plan import exploration_asset
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
    rollouts = exploration_cpu_asset(
        "rollouts", [exploration_key("policy")], {"polars", "parquet"}, ROLLOUTS, commit_rollouts
    )
    return [_policy(), rollouts, _training_dynamics(), _evaluation()]


def _waits_for(**keys: dg.AssetKey) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(key, dagster_type=dg.Nothing) for name, key in keys.items()}


def _policy() -> dg.AssetsDefinition:
    """Training on the GPU, then the tables and the registration on the CPU."""
    train = exploration_op(
        "train_policy",
        "Draw groups of responses, reward them, update the policy; resumes from the last checkpoint.",
        ("problems", "base_model"),
        train_policy,
    )
    register = exploration_commit_op(
        "register_policy", "Commit the policy's rows and its steps, register its snapshots.", register_policy
    )

    @dg.graph_asset(
        **about(exploration_asset("policy"), None, {"torch", "huggingface", "mlflow"}, POLICY, gpu=True),
        ins=_waits_for(problems=dg.AssetKey("problems"), base_model=dg.AssetKey("base_model")),
    )
    def policy(problems, base_model):
        return register(train(problems=problems, base_model=base_model))

    return policy


def _training_dynamics() -> dg.AssetsDefinition:
    """The base model's responses on the GPU, then the comparison on the CPU."""
    draw = exploration_op(
        "draw_base_responses",
        "Draw twice as many responses of the base model to each problem as training drew of the policy: half are "
        "compared, the other half say which questions are unsolved.",
        ("rollouts", "base_model"),
        draw_base_responses,
    )
    measure = exploration_commit_op(
        "measure_training_dynamics",
        "Count solved questions and distinct answers of both.",
        measure_training_dynamics,
    )

    @dg.graph_asset(
        **about(exploration_asset("training_dynamics"), None, {"torch", "polars", "duckdb"}, DYNAMICS, gpu=True),
        ins=_waits_for(rollouts=exploration_key("rollouts"), base_model=dg.AssetKey("base_model")),
    )
    def training_dynamics(rollouts, base_model):
        return measure(draw(rollouts=rollouts, base_model=base_model))

    return training_dynamics


def _evaluation() -> dg.AssetsDefinition:
    """Evaluation responses of every snapshot on the GPU, then the metrics on the CPU."""
    draw = exploration_op(
        "draw_evaluation",
        "Draw the evaluation responses of the base model and of every snapshot that no run has drawn yet.",
        ("policy", "problems"),
        draw_evaluation,
    )
    evaluate = exploration_commit_op(
        "evaluate_policies", "Measure every snapshot, and its change from the base model.", evaluate_policies
    )

    @dg.graph_asset(
        **about(exploration_asset("evaluation"), None, {"torch", "polars", "duckdb"}, EVALUATION, gpu=True),
        ins=_waits_for(policy=exploration_key("policy"), problems=dg.AssetKey("problems")),
    )
    def evaluation(policy, problems):
        return evaluate(draw(policy=policy, problems=problems))

    return evaluation
