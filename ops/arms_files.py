"""Files of arms: read, and expanded into one experiment for every arm and seed.

Arms of one seed share whatever they agree on by fingerprint: the base model, its responses, their verification.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from ops.arms import SHARED, ArmMember, ArmStudy, LoadedArms
from ops.errors import ExperimentError
from ops.experiment_files import shown_path, validated_file, with_paths
from ops.study_layers import Compared, Layer, Origin, Refused, check_places, check_same

REMEDY = "see docs/studies.md for every field, or copy studies/iterate.yaml"

PROBLEMS = "evaluation problems"
RESPONSES = "responses to each evaluation problem"

SAME = (
    ("problems", "eval", PROBLEMS),
    ("problems", "seed", PROBLEMS),
    ("problems", "eval_file", PROBLEMS),
    ("sampling", "n_eval", RESPONSES),
)
"""What arms are compared on: evaluation problems, and the number of responses to each. Some metrics (majority vote,
answer entropy, self-BLEU) depend on that number, for one and the same model."""

COMPARED = "arms are compared problem by problem: give it under experiment"


def load_arms(path: str | Path) -> LoadedArms:
    """Read, validate and expand one file of arms; relative paths start at it.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = shown_path(path)
    study = validated_file(path, where, ArmStudy, REMEDY)
    folder = path.resolve().parent
    members = []
    for member in expand_arms(study, where):
        try:
            experiment = with_paths(member.experiment, folder, where)
        except ExperimentError as error:
            raise _origin(study, member.arm, member.seed).renamed(error) from None
        members.append(ArmMember(experiment, member.arm, member.seed))
    return LoadedArms(study, tuple(members), where)


def expand_arms(study: ArmStudy, where: str = "study") -> tuple[ArmMember, ...]:
    """The experiments of all arms, seed by seed; a pure function of the study.

    Raises:
        ExperimentError: when an arm is no valid experiment, or arms meet different evaluation problems.
    """
    shared = Refused(SHARED, "arms that are compared problem by problem share it", "give it under experiment")
    arms = {f"arms.{label}": (fields, shared) for label, fields in study.arms.items()}
    check_places({"experiment": (study.experiment, None), **arms}, study.seeded, where)
    members = tuple(_member(study, arm, seed, where) for arm, seed in itertools.product(study.arms, study.seeds))
    compared = (
        Compared(member.seed, member.arm, _origin(study, member.arm, member.seed), member.experiment)
        for member in members
    )
    check_same(compared, SAME, where, COMPARED)
    return members


def _member(study: ArmStudy, arm: str, seed: int, where: str) -> ArmMember:
    origin = _origin(study, arm, seed)
    experiment = origin.experiment(study.hypothesis, seed, where)
    if experiment.exploration is not None:
        raise ExperimentError(
            where,
            "expected no exploration in a study of arms that are iterated",
            field=origin.place("exploration"),
            remedy="a study of exploration lists its tasks under tasks: copy studies/explore.yaml",
        )
    if experiment.evaluation is not None:
        raise ExperimentError(
            where,
            "expected no evaluation in a study of arms that are iterated",
            field=origin.place("evaluation"),
            remedy="compare models in one experiment: copy experiments/win-rates.yaml",
        )
    return ArmMember(experiment, arm, seed)


def _origin(study: ArmStudy, arm: str, seed: int) -> Origin:
    """A filter that nothing gives is wanted of the arm: it is what makes one."""
    layers = (Layer("experiment", study.experiment), Layer(f"arms.{arm}", study.arms[arm]))
    wanted = {"filter": f"arms.{arm}"}
    return Origin(study.experiment_name(arm, seed), layers, study.seeded, REMEDY, wanted=wanted)
