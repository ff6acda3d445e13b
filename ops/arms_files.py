"""Files of arms: read, and expanded into one experiment for every arm and seed.

Arms of one seed share whatever they agree on by fingerprint: the base model, its responses, their verification.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.arms import MERGED, SHARED, ArmMember, ArmStudy, LoadedArms
from ops.config import Experiment
from ops.errors import ExperimentError, MindgapError
from ops.experiment_files import shown_path, validated_file, with_paths
from ops.explain import explain

REMEDY = "see docs/studies.md for every field, or copy studies/iterate.yaml"

SAME = (("problems", "eval"), ("problems", "seed"), ("problems", "eval_file"), ("sampling", "n_eval"))
"""What arms are compared on: evaluation problems, and the number of responses to each. Some metrics (majority vote,
answer entropy, self-BLEU) depend on that number, for one and the same model."""


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
            raise _renamed(error, study, member.arm, member.seed) from None
        members.append(ArmMember(experiment, member.arm, member.seed))
    return LoadedArms(study, tuple(members), where)


def expand_arms(study: ArmStudy, where: str = "study") -> tuple[ArmMember, ...]:
    """The experiments of all arms, seed by seed; a pure function of the study.

    Raises:
        ExperimentError: when an arm is no valid experiment, or arms meet different evaluation problems.
    """
    _check_places(study, where)
    members = tuple(_member(study, arm, seed, where) for arm, seed in itertools.product(study.arms, study.seeds))
    _check_same_problems(study, members, where)
    return members


def _member(study: ArmStudy, arm: str, seed: int, where: str) -> ArmMember:
    fields = _seeded(study, _merged(study.experiment, study.arms[arm]), seed, where)
    about = {"name": study.experiment_name(arm, seed), "hypothesis": study.hypothesis}
    try:
        return ArmMember(Experiment.model_validate({**fields, **about}), arm, seed)
    except ValidationError as error:
        field, problem = explain(error, Experiment)
        found = ExperimentError(where, problem, field=field, remedy=REMEDY)
    except MindgapError as error:
        found = ExperimentError(where, error.problem, field=error.field, remedy=error.remedy or REMEDY)
    raise _renamed(found, study, arm, seed) from None


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common fields with an arm's own. A training method of another name replaces the common one as a whole."""
    fields = {**common, **own}
    for name in MERGED:
        first, second = common.get(name), own.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            is_another = second.get("name", first.get("name")) != first.get("name")
            fields[name] = second if is_another else {**first, **second}
    return fields


def _seeded(study: ArmStudy, fields: Mapping[str, Any], seed: int, where: str) -> dict[str, Any]:
    """The fields with ``seed`` in every part that ``seeded`` lists; a missing part has nothing to be seeded but its
    defaults, and a missing model or method is an error of the experiment."""
    new = dict(fields)
    for part in study.seeded:
        given = fields.get(part, {} if part in ("sampling", "problems") else None)
        if part == "model" and isinstance(given, dict) and given.get("kind") != "builtin":
            raise ExperimentError(
                where,
                f"expected a built-in model where seeded lists model, got kind {given.get('kind')}",
                field="seeded",
                remedy="a checkpoint has no seed: leave model out of seeded",
            )
        if isinstance(given, dict):
            new[part] = {**given, "seed": seed}
    return new


def _check_places(study: ArmStudy, where: str) -> None:
    """Fields that stand where they mean nothing: another place decides them."""
    for place, field, reason, remedy in _misplaced(study):
        raise ExperimentError(where, f"expected nothing here: {reason}", field=f"{place}.{field}", remedy=remedy)


def _misplaced(study: ArmStudy) -> Iterator[tuple[str, str, str, str]]:
    """(place, field, reason, remedy)."""
    given = {"experiment": study.experiment} | {f"arms.{label}": fields for label, fields in study.arms.items()}
    for place, fields in given.items():
        for name in ("name", "hypothesis"):
            if name in fields:
                yield place, name, "it stands at the top of the file, for all arms", "take it out"
        for name in SHARED if place != "experiment" else ():
            if name in fields:
                yield place, name, "arms that are compared problem by problem share it", "give it under experiment"
        for part in study.seeded:
            if isinstance(fields.get(part), dict) and "seed" in fields[part]:
                reason = f"seeded lists {part}, so its seeds are those of the list seeds"
                yield place, f"{part}.seed", reason, f"take it out, or take {part} out of seeded"


def _check_same_problems(study: ArmStudy, members: tuple[ArmMember, ...], where: str) -> None:
    """All arms of a seed are asked the same evaluation problems equally often: differences are taken by problem."""
    first: dict[int, ArmMember] = {}
    for member in members:
        other = first.setdefault(member.seed, member)
        for part, field in SAME:
            if _value(member, part, field) == _value(other, part, field):
                continue
            given = study.arms[member.arm].get(part)
            own, of = (member, other) if isinstance(given, dict) and field in given else (other, member)
            asked = "responses to each evaluation problem" if part == "sampling" else "evaluation problems"
            raise ExperimentError(
                where,
                f"expected the {asked} of the arm {of.arm} ({_value(of, part, field)}), got {_value(own, part, field)}",
                field=_place(study, own.arm, f"{part}.{field}"),
                remedy="arms are compared problem by problem: give it under experiment",
            )


def _value(member: ArmMember, part: str, field: str) -> Any:
    return getattr(getattr(member.experiment, part), field)


def _renamed(error: ExperimentError, study: ArmStudy, arm: str, seed: int) -> ExperimentError:
    """An experiment's error in the words of the file of arms."""
    problem = f"{error.problem} (experiment {study.experiment_name(arm, seed)})"
    field = None if error.field is None else _place(study, arm, error.field)
    return ExperimentError(error.where, problem, field=field, remedy=error.remedy)


def _place(study: ArmStudy, arm: str, field: str) -> str:
    """Where the file decides an experiment's field: ``filter.verifier`` -> ``arms.cross.filter.verifier``."""
    own, name = study.arms[arm], re.split(r"[.\[]", field)[0]
    rest = field.removeprefix(name).removeprefix(".")
    if name in study.seeded and rest == "seed":
        return "seeds"
    if name not in own:
        needed = name == "filter" and name not in study.experiment
        return f"arms.{arm}.{field}" if needed else f"experiment.{field}"
    merged = name in MERGED and isinstance(own[name], dict) and isinstance(study.experiment.get(name), dict)
    is_common = merged and rest and rest not in own[name] and rest in study.experiment[name]
    return f"experiment.{field}" if is_common else f"arms.{arm}.{field}"
