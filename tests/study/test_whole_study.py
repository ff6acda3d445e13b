"""A real study of two hardly trained models: stages, and the command."""

from __future__ import annotations

import pytest

from ops.lab import Lab
from ops.study_files import load_study
from ops.study_plan import StudyBench
from tests.study.run import run_experiment, run_study_stages


def run_members(path) -> dict[str, dict[str, int]]:
    return {member.experiment.name: run_experiment(Lab.open(member.experiment)) for member in load_study(path).members}


@pytest.mark.slow
def test_cross_verification_samples_nothing(write_study):
    before = run_members(write_study(cross=[]))
    assert before == {
        "tiny-countdown-small": {"drawn": 8 * 4 + 6 * 4, "scored": 2 * 56},
        "tiny-countdown-large": {"drawn": 8 * 4 + 6 * 4, "scored": 2 * 56},
    }
    after = run_members(write_study())
    # only the other model's verdicts are new: one check, 56 responses
    assert after == {name: {"drawn": 0, "scored": 56} for name in before}
    bench = StudyBench.open("tiny")
    assert bench.is_complete
    run_study_stages(bench)
    cells = bench.store.read("cross_verification", bench.fingerprints["cross_verification"])
    assert cells.select("generator", "verifier_model").rows() == [
        ("small", "small"),
        ("small", "large"),
        ("large", "large"),
        ("large", "small"),
    ]
    assert (bench.folder / "index.html").is_file()


@pytest.mark.slow
def test_the_command_runs_resumes_and_reports(write_study, monkeypatch):
    from click.testing import CliRunner

    from ops.lab import home_folder
    from ops.storage.query import query
    from orchestration.cli import main

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_study()
    runner = CliRunner()
    early = runner.invoke(main, ["study", "tiny", "--report"])
    assert early.exit_code == 2 and "no complete experiment" in early.output
    first = runner.invoke(main, ["study", "tiny"])
    assert first.exit_code == 0, first.output
    assert "2 experiments, 0 of them complete" in first.output and "index.html" in first.output
    found = query(home_folder(), "SELECT DISTINCT asset FROM materializations WHERE experiment = 'tiny' AND is_current")
    assert set(found["asset"]) == {"scaling_points", "scaling_law", "cross_verification", "findings", "study_report"}
    again = runner.invoke(main, ["study", "tiny"])
    assert "2 experiments, 2 of them complete" in again.output and "running" not in again.output
    assert runner.invoke(main, ["study", "tiny", "--report"]).exit_code == 0
    listed = runner.invoke(main, ["list"])
    assert "study tiny" in listed.output and "tiny-countdown-large" in listed.output
    assert runner.invoke(main, ["study", "nothing"]).exit_code == 2


@pytest.mark.slow
def test_a_failing_experiment_does_not_end_the_study_but_an_interrupt_does(write_study, monkeypatch):
    from click.testing import CliRunner

    from ops.errors import ModelError
    from orchestration.cli import main

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_study(cross=[])
    runner, real = CliRunner(), Lab.engine

    def small_raises(error: BaseException) -> None:
        def engine(lab, *args, **kwargs):
            if lab.experiment.name == "tiny-countdown-small":
                raise error
            return real(lab, *args, **kwargs)

        monkeypatch.setattr(Lab, "engine", engine)

    small_raises(KeyboardInterrupt())
    stopped = runner.invoke(main, ["study", "tiny"])
    assert stopped.exit_code == 1 and "tiny-countdown-large: running" not in stopped.output
    small_raises(ModelError("small", "broken for this test", remedy="none"))
    partly = runner.invoke(main, ["study", "tiny"])
    assert partly.exit_code == 1, partly.output
    assert "tiny-countdown-large: done" in partly.output and "index.html" in partly.output
    assert "1 of 2 experiments failed and are missing from the report: tiny-countdown-small" in partly.output
    bench = StudyBench.open("tiny", register=False)
    assert bench.missing == ("tiny-countdown-small",)
    assert "Not complete: tiny-countdown-small is missing." in (bench.folder / "index.html").read_text()
    monkeypatch.setattr(Lab, "engine", real)
    whole = runner.invoke(main, ["study", "tiny"])
    assert whole.exit_code == 0 and "tiny-countdown-large: running" not in whole.output
    assert "Not complete" not in (bench.folder / "index.html").read_text()
