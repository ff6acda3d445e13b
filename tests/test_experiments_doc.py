"""docs/experiments.md lists every field with its type and default, and nothing else."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ops.adapt import ADAPTATIONS
from ops.config import Experiment, Limits, Monitoring, Problems, Prompts, Sampling, Statistics
from ops.engines import ENGINES
from ops.evaluation.judges import JUDGES
from ops.evaluation.labels import FileLabels, GoldLabels
from ops.evaluation.settings import ComparedModel, Evaluation
from ops.experiment_files import load_experiment
from ops.exploration.advantages import ADVANTAGES
from ops.exploration.bonuses import BONUSES
from ops.exploration.rewards import REWARDS
from ops.exploration.settings import Exploration
from ops.models import BuiltinModel, FolderModel, HubModel, RecordedModel, RegistryModel
from ops.selection import FILTERS
from ops.tasks import TASKS
from ops.training import METHODS
from ops.training.lora_settings import Lora
from ops.verifiers import VERIFIERS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "experiments.md"
VARIANTS = {"task": TASKS, "verifiers": VERIFIERS, "filter": FILTERS, "training": METHODS, "engine": ENGINES}
VARIANTS |= {"adapt": ADAPTATIONS, "reward": REWARDS, "advantage": ADVANTAGES, "bonus": BONUSES, "judges": JUDGES}
SECTIONS: dict[str, type[BaseModel]] = {
    "experiment": Experiment,
    "model: builtin": BuiltinModel,
    "model: folder": FolderModel,
    "model: hub": HubModel,
    "model: recorded": RecordedModel,
    "model: registry": RegistryModel,
    **{f"{field}: {name}": cls for field, table in VARIANTS.items() for name, cls in table.items()},
    "problems": Problems,
    "sampling": Sampling,
    "prompts": Prompts,
    "statistics": Statistics,
    "limits": Limits,
    "monitoring": Monitoring,
    "lora": Lora,
    "exploration": Exploration,
    "evaluation": Evaluation,
    "evaluation: models": ComparedModel,
    "labels: file": FileLabels,
    "labels: gold": GoldLabels,
}


def type_words(field: FieldInfo) -> str:
    """``integer, at least 1``; the section of a nested field says its type."""
    annotation, optional = field.annotation, False
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        annotation, optional = next(item for item in get_args(annotation) if item is not type(None)), True
    if get_origin(annotation) is Literal:
        words = " or ".join(f"`{item}`" for item in get_args(annotation))
    elif get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is Literal:
        *names, last = (f"`{item}`" for item in get_args(get_args(annotation)[0]))
        words = f"list of {', '.join(names)} or {last}"
    elif annotation in (int, float, str, bool):
        words = {int: "integer", float: "number", str: "text", bool: "true or false"}[annotation]
    elif get_args(annotation) in ((int, int), (float, float)):
        words = "two integers" if get_args(annotation)[0] is int else "two numbers"
    elif get_args(annotation) and getattr(get_args(annotation)[0], "__origin__", get_args(annotation)[0]) is float:
        words = "list of numbers"
    elif get_args(annotation) == (str, ...):
        words = "list of texts"
    else:
        words = "list of mappings" if get_origin(annotation) is tuple else "mapping"
    names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}
    for item in field.metadata:
        for name, text in names.items():
            bound = getattr(item, name, None)
            if bound is not None:
                words += f", {text} {'2^63' if bound == 2**63 else f'{bound:g}' if bound < 1e5 else f'{bound:,}'}"
    return words + (", or null" if optional else "")


def default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, BaseModel):
        return "all defaults"
    if isinstance(value, tuple) and value:
        return f"`{list(value)}`"
    words = {None: "null", (): "empty"}
    return f"`{str(value).lower()}`" if isinstance(value, bool) else words.get(value, f"`{value}`")


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    current = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"#+ `([a-z0-9_: ]+)`", line)
        row = re.match(r"\| `([a-z_]+)` \| (.*?) \| (.*?) \| (.+) \|$", line)
        if heading:
            current = heading[1]
            sections[current] = {}
        elif row:
            assert row[1] not in sections[current], f"{current}.{row[1]} stands twice"
            sections[current][row[1]] = (row[2], row[3])
    return sections


def test_every_section_is_there():
    assert set(documented()) == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_fields_of_a_section(section):
    fields = SECTIONS[section].model_fields
    assert documented()[section] == {name: (type_words(field), default_words(field)) for name, field in fields.items()}


def test_the_examples_on_the_page_are_valid_experiments(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    complete = [block for block in blocks if block.startswith("name:")]
    assert len(complete) >= 2
    for block in complete:
        file = tmp_path / f"{block.splitlines()[0].removeprefix('name: ')}.yaml"
        file.write_text(block, encoding="utf-8")
        assert load_experiment(file).name == file.stem
