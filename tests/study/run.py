"""All stages of an experiment without training, and of a study, without Dagster."""

from __future__ import annotations

from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.comparison import compare_verifiers, sweep_filters
from ops.stages.diversity import measure_diversity
from ops.stages.gap import measure_gap
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.study_findings import measure_findings
from ops.stages.study_report import write_study_report
from ops.stages.study_scaling import measure_cross, measure_scaling
from ops.stages.test_time import measure_test_time
from ops.stages.verification import verify_responses
from ops.stages.verifier_metrics import measure_calibration, measure_verifiers
from ops.study_plan import StudyBench
from ops.types import StageResult

MEASURES = (
    measure_gap,
    measure_verifiers,
    measure_calibration,
    sweep_filters,
    compare_verifiers,
    measure_test_time,
    measure_diversity,
)


def run_experiment(lab: Lab) -> dict[str, int]:
    """Run it all; returns how many responses were drawn and how many verified."""
    make_problems(lab)
    obtain_base_model(lab)
    drawn = sample_responses(lab, 0)["drawn"]
    grade_responses(lab, 0)
    scored = verify_responses(lab, 0)["scored"]
    collect_scores(lab, 0)
    for measure in MEASURES:
        measure(lab, 0)
    lab.close()
    return {"drawn": drawn, "scored": scored}


def measure_study(bench: StudyBench) -> list[StageResult]:
    """The study's tables without its report."""
    return [*measure_scaling(bench), measure_cross(bench), measure_findings(bench)]


def run_study_stages(bench: StudyBench) -> list[StageResult]:
    return [*measure_study(bench), write_study_report(bench)]
