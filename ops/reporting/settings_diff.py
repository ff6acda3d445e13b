"""In which settings experiments differ: what is equal is not listed, and what one only has is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops.config import Experiment

ABSENT = "–"


@dataclass(frozen=True)
class Setting:
    """A field in which the experiments differ: its path in the file, and a value for each (``–`` where it has none)."""

    field: str
    values: tuple[str, ...]


def differing_settings(experiments: Sequence[Experiment]) -> tuple[Setting, ...]:
    """Fields of the experiment files in which they differ, defaults filled in, without name and hypothesis.

    Filter and training of an experiment that trains nothing are left out. Entries of a list with names (verifiers) are
    matched by label, or name. Where two variants have different names (an SFT and a DPO, say) each is described in one
    line: their parameters have nothing to do with each other.
    """
    dumps = [_dump(experiment) for experiment in experiments]
    return tuple(_differences("", dumps))


def _dump(experiment: Experiment) -> dict[str, Any]:
    unread = {"name", "hypothesis"} | ({"filter", "training"} if experiment.iterations == 0 else set())
    return experiment.model_dump(mode="json", exclude=unread)


def _differences(path: str, values: Sequence[Any]) -> list[Setting]:
    if all(value == values[0] for value in values):
        return []
    values = [_by_label(value) for value in values]
    if not all(isinstance(value, Mapping) and value for value in values) or _are_different_variants(values):
        brief = any(value is _Absent for value in values)  # what only one has: its name, not its defaults
        return [Setting(path, tuple(_words(value, brief) for value in values))]
    names = list(dict.fromkeys(name for value in values for name in value))
    found = []
    for name in names:
        below = f"{path}.{name}" if path else str(name)
        found += _differences(below, [value.get(name, _Absent) for value in values])
    return found


class _Absent:
    """Stands for a field that an experiment does not have."""


def _are_different_variants(values: Sequence[Mapping[str, Any]]) -> bool:
    return any(len({value.get(tag) for value in values}) > 1 for tag in ("name", "kind"))


def _by_label(value: Any) -> Any:
    """A list of variants as a mapping by label; where labels repeat, the list."""
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, Mapping) and "name" in item for item in value)
    ):
        return value
    labels = [item.get("label") or item["name"] for item in value]
    return dict(zip(labels, value, strict=True)) if len(set(labels)) == len(labels) else value


def _words(value: Any, brief: bool = False) -> str:
    """One value in one line; a variant as ``name (parameter value, ...)`` with the parameters that are set."""
    if value is _Absent:
        return ABSENT
    if isinstance(value, Mapping):
        name = value.get("name") or value.get("kind") or ""
        if brief and name:
            return str(name)
        rest = [
            f"{key} {_words(item)}" for key, item in value.items() if key not in ("name", "kind") and item is not None
        ]
        return f"{name} ({', '.join(rest)})" if name and rest else str(name or ", ".join(rest) or "none")
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value) or "none"
    return "none" if value is None else str(value)
