"""A real study of exploration with hardly trained models, by the command."""

from __future__ import annotations

import pytest

from tests.exploration.studies import SECOND_TASK


@pytest.mark.slow
def test_the_command_runs_resumes_and_shows_the_table(write_exploration, monkeypatch):
    from click.testing import CliRunner

    from ops.exploration_bench import ExplorationBench
    from ops.lab import home_folder
    from ops.storage.query import query
    from orchestration.cli import main

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_exploration(
        tasks={"sums": SECOND_TASK},
        experiment__problems={"train_per_iteration": 4, "eval": 12},
        experiment__sampling={"n_eval": 8},
    )
    runner = CliRunner()
    early = runner.invoke(main, ["study", "tiny", "--report"])
    assert early.exit_code == 2 and "no complete experiment" in early.output
    first = runner.invoke(main, ["study", "tiny"])
    assert first.exit_code == 0, first.output
    assert "4 experiments, 0 of them complete" in first.output
    assert "Mean of 2 seeds ± standard error" in first.output and "7b.ucb" in first.output
    bench = ExplorationBench.open("tiny", register=False)
    assert bench.is_complete and len(bench.labs) == 4
    # what the study computes from responses is what the experiments' own tables say of them
    policies = query(
        home_folder(),
        "SELECT m.value AS in_study, e.value AS in_experiment FROM exploration_metrics m JOIN policy_evaluation e "
        "ON e.experiment = 'tiny-' || m.task || '-' || m.arm || '-s' || m.seed AND e.step = m.step "
        "AND e.metric = m.metric AND e.k IS NOT DISTINCT FROM m.k WHERE m.experiment = 'tiny' AND m.questions IS NULL",
    )
    assert policies.height > 50
    assert policies["in_study"].to_list() == pytest.approx(policies["in_experiment"].to_list())
    changes = query(
        home_folder(),
        "SELECT d.value AS in_study, avg(e.change) AS in_experiment FROM exploration_differences d "
        "JOIN policy_evaluation e ON e.experiment LIKE 'tiny-' || d.task || '-' || d.arm || '-s_' "
        "AND e.step = d.step AND e.metric = d.metric AND e.k IS NOT DISTINCT FROM d.k "
        "WHERE d.experiment = 'tiny' AND d.reference = 'base' AND d.n_seeds = 2 "
        "GROUP BY d.task, d.arm, d.metric, d.k, d.value",
    )
    assert changes.height > 10
    assert changes["in_study"].to_list() == pytest.approx(changes["in_experiment"].to_list(), abs=1e-12)
    training = query(
        home_folder(),
        "SELECT m.value AS in_study, d.value AS in_experiment FROM exploration_metrics m JOIN training_dynamics d "
        "ON d.experiment = 'tiny-' || m.task || '-' || m.arm || '-s' || m.seed AND d.step = m.step "
        "AND d.questions = m.questions AND d.sampler = 'policy' AND d.metric = m.metric WHERE m.experiment = 'tiny'",
    )
    assert training.height > 10 and training["in_study"].to_list() == pytest.approx(training["in_experiment"].to_list())
    again = runner.invoke(main, ["study", "tiny"])
    assert "4 experiments, 4 of them complete" in again.output and "running" not in again.output
    listed = runner.invoke(main, ["list"])
    assert "study tiny" in listed.output and "tiny-sums-ucb-s1" in listed.output
