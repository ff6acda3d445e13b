"""Fields of an experiment that a study's file gives in several places, one laid over the other.

A study of arms gives them under ``experiment`` and ``arms.ARM``, a study of exploration under ``tasks.TASK`` too. An
error of the experiment is told in the words of the place that decides the wrong field.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from ops.config import Experiment
from ops.errors import ExperimentError, MindgapError
from ops.explain import explain

Fields = Mapping[str, Any]

MERGED = ("training", "problems", "sampling", "exploration")
"""Mappings of which a layer gives only the fields in which it differs; every other field it gives whole."""


class Layer(NamedTuple):
    """Fields at one place of the file: ``arms.ucb``."""

    place: str
    fields: Fields


@dataclass(frozen=True)
class Origin:
    """Where the fields of one experiment of a study stand in its file.

    Attributes:
        name: the experiment's.
        layers: each laid over those before it.
        seeded: parts whose seeds are those of the list ``seeds``.
        own: index of the first layer that is the arm's own.
        wanted: places of fields that no layer has, where that is not the first layer.
    """

    name: str
    layers: tuple[Layer, ...]
    seeded: tuple[str, ...]
    remedy: str
    own: int = 1
    wanted: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """Of all layers, without seeds."""
        found: dict[str, Any] = {}
        for layer in self.layers:
            found = _merged(found, layer.fields)
        return found

    def experiment(self, hypothesis: str, seed: int, where: str) -> Experiment:
        """The experiment with this seed.

        Raises:
            ExperimentError: when it is not valid, in the words of the file.
        """
        fields = _seeded(self.seeded, self.fields, seed, where)
        try:
            return Experiment.model_validate({**fields, "name": self.name, "hypothesis": hypothesis})
        except ValidationError as error:
            wrong, problem = explain(error, Experiment)
            found = ExperimentError(where, problem, field=wrong, remedy=self.remedy)
        except MindgapError as error:
            found = ExperimentError(where, error.problem, field=error.field, remedy=error.remedy or self.remedy)
        raise self.renamed(found) from None

    def renamed(self, error: ExperimentError) -> ExperimentError:
        """An experiment's error in the words of the file."""
        wrong = None if error.field is None else self.place(error.field)
        problem = f"{error.problem} (experiment {self.name})"
        return ExperimentError(error.where, problem, field=wrong, remedy=error.remedy)

    def place(self, wrong: str) -> str:
        """Where the file decides an experiment's field: ``filter.verifier`` -> ``arms.cross.filter.verifier``."""
        name, *rest = re.split(r"[.\[]", wrong)
        if name in self.seeded and rest == ["seed"]:
            return "seeds"
        for i, layer in reversed(list(enumerate(self.layers))):
            if name in layer.fields and not (rest and self._comes_from_below(i, name, rest[0])):
                return f"{layer.place}.{wrong}"
        return f"{self.wanted.get(name, self.layers[0].place)}.{wrong}"

    def gives(self, part: str, name: str) -> bool:
        """Whether the arm itself gives a field of a part, rather than what arms share."""
        return any(
            isinstance(layer.fields.get(part), dict) and name in layer.fields[part] for layer in self.layers[self.own :]
        )

    def _comes_from_below(self, i: int, part: str, name: str) -> bool:
        """Whether a field of a merged part is none of layer i's, but of one below it."""
        given = self.layers[i].fields[part]
        below = [layer.fields.get(part) for layer in self.layers[:i]]
        return (
            part in MERGED
            and isinstance(given, dict)
            and name not in given
            and any(isinstance(item, dict) and name in item for item in below)
        )


def _merged(common: Fields, own: Fields) -> dict[str, Any]:
    """The common fields with a layer's own. A training method of another name replaces the common one as a whole."""
    fields = {**common, **own}
    for name in MERGED:
        first, second = common.get(name), own.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            is_another = second.get("name", first.get("name")) != first.get("name")
            fields[name] = second if is_another else {**first, **second}
    return fields


def _seeded(parts: tuple[str, ...], fields: Fields, seed: int, where: str) -> dict[str, Any]:
    """The fields with ``seed`` in every one of ``parts``; a missing part has nothing to be seeded but its defaults, and
    a missing model or method is an error of the experiment."""
    new = dict(fields)
    for part in parts:
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


class Refused(NamedTuple):
    """Fields that a place cannot give, why, and where they belong."""

    names: tuple[str, ...]
    reason: str
    remedy: str


def check_places(places: Mapping[str, tuple[Fields, Refused | None]], seeded: tuple[str, ...], where: str) -> None:
    """Refuse fields that stand where they mean nothing, because another place decides them.

    Raises:
        ExperimentError: names the first.
    """
    for place, (fields, refused) in places.items():
        for name, reason, remedy in _misplaced(fields, refused, seeded):
            raise ExperimentError(where, f"expected nothing here: {reason}", field=f"{place}.{name}", remedy=remedy)


def _misplaced(fields: Fields, refused: Refused | None, seeded: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """(field, reason, remedy)."""
    for name in ("name", "hypothesis"):
        if name in fields:
            yield name, "it stands at the top of the file, for all arms", "take it out"
    for name in refused.names if refused is not None else ():
        if refused is not None and name in fields:
            yield name, refused.reason, refused.remedy
    for part in seeded:
        if isinstance(fields.get(part), dict) and "seed" in fields[part]:
            reason = f"seeded lists {part}, so its seeds are those of the list seeds"
            yield f"{part}.seed", reason, f"take it out, or take {part} out of seeded"


class Compared(NamedTuple):
    """One experiment with what it is compared on: all of one ``group`` must agree."""

    group: Hashable
    arm: str
    origin: Origin
    experiment: Experiment


def check_same(items: Iterable[Compared], same: Iterable[tuple[str, str, str]], where: str, remedy: str) -> None:
    """Refuse experiments that are compared and differ in what they have to share.

    Args:
        same: (part, field, what it decides in words).

    Raises:
        ExperimentError: names the field of the arm that gives it.
    """
    first: dict[Hashable, Compared] = {}
    for item in items:
        other = first.setdefault(item.group, item)
        for part, name, words in same:
            if _value(item, part, name) == _value(other, part, name):
                continue
            own, of = (item, other) if item.origin.gives(part, name) else (other, item)
            raise ExperimentError(
                where,
                f"expected the {words} of the arm {of.arm} ({_value(of, part, name)}), got {_value(own, part, name)}",
                field=own.origin.place(f"{part}.{name}"),
                remedy=remedy,
            )


def _value(item: Compared, part: str, name: str) -> Any:
    return getattr(getattr(item.experiment, part), name)
