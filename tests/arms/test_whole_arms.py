"""A real study of arms with hardly trained models, by the command."""

from __future__ import annotations

import pytest

SMALL_ARMS = {
    "self": {"filter": {"name": "quantile", "verifier": "logit", "q": 0.5}},
    "unfiltered": {"filter": {"name": "none"}},
}


@pytest.mark.slow
def test_the_command_runs_resumes_and_reports(write_arms, monkeypatch):
    from click.testing import CliRunner

    from ops.arms_plan import ArmsBench
    from ops.lab import home_folder
    from ops.storage.query import query
    from orchestration.cli import main

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_arms(arms=SMALL_ARMS)
    runner = CliRunner()
    early = runner.invoke(main, ["study", "tiny", "--report"])
    assert early.exit_code == 2 and "no complete experiment" in early.output
    first = runner.invoke(main, ["study", "tiny"])
    assert first.exit_code == 0, first.output
    assert "4 experiments, 0 of them complete" in first.output and "index.html" in first.output
    assert "Findings 5 and 6" in first.output
    bench = ArmsBench.open("tiny", register=False)
    assert bench.is_complete and set(bench.measured.values()) == {2}
    found = query(home_folder(), "SELECT DISTINCT asset FROM materializations WHERE experiment = 'tiny' AND is_current")
    assert set(found["asset"]) == {"arm_metrics", "arm_differences", "findings", "arms_report"}
    # what the study computes from responses is what the experiments' own tables say of them
    both = query(
        home_folder(),
        "SELECT a.value AS in_study, d.value AS in_experiment FROM arm_metrics a JOIN diversity_metrics d "
        "ON d.experiment = 'tiny-' || a.arm || '-s' || a.seed AND d.iteration = a.arm_iteration AND d.split = 'eval' "
        "AND d.metric = a.metric AND d.k IS NOT DISTINCT FROM a.k WHERE a.experiment = 'tiny' AND a.rule IS NULL",
    )
    assert both.height > 50 and both["in_study"].to_list() == pytest.approx(both["in_experiment"].to_list())
    changes = query(
        home_folder(),
        "SELECT a.value AS in_study, c.value AS in_experiment FROM arm_metrics a JOIN iteration_changes c "
        "ON c.experiment = 'tiny-' || a.arm || '-s' || a.seed AND c.iteration = a.arm_iteration "
        "AND c.reference = 'previous' AND c.metric = 'update_error' "
        "WHERE a.metric = 'update_error' AND a.arm = 'self' AND c.rule LIKE '%50 %%'",
    )
    assert changes.height == 2 and changes["in_study"].to_list() == pytest.approx(changes["in_experiment"].to_list())
    again = runner.invoke(main, ["study", "tiny"])
    assert "4 experiments, 4 of them complete" in again.output and "running" not in again.output
    listed = runner.invoke(main, ["list"])
    assert "study tiny" in listed.output and "tiny-unfiltered-s1" in listed.output
