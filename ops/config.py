"""The experiment: what a researcher writes in ``experiments/NAME.yaml``, validated before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ops.builtin.sizes import RECIPES, SIZES
from ops.engines import ENGINES
from ops.errors import ExperimentError, MindgapError
from ops.selection import FILTERS
from ops.tasks import TASKS
from ops.training import METHODS
from ops.variants import Strict, union
from ops.verifiers import VERIFIERS

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"


class BuiltinModel(Strict):
    """A tiny decoder that the lab pretrains itself: a model organism whose verifying was taught with gold labels."""

    kind: Literal["builtin"]
    recipe: str = "countdown"
    size: str = "s"
    steps: int = Field(2100, ge=1, le=1_000_000)
    batch_size: int = Field(64, ge=1, le=4096)
    seed: int = Field(0, ge=0)

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, value: str) -> str:
        if value not in RECIPES:
            raise ValueError(f"one of {', '.join(RECIPES)}")
        return value

    @field_validator("size")
    @classmethod
    def _known_size(cls, value: str) -> str:
        if value not in SIZES:
            raise ValueError(f"one of {', '.join(SIZES)}")
        return value


class FolderModel(Strict):
    """A Hugging Face checkpoint folder on disk (config.json, *.safetensors, tokenizer)."""

    kind: Literal["folder"]
    path: str


class HubModel(Strict):
    """A Hugging Face hub id; needs the hub, or a cache that already holds the revision."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = "main"


class Problems(Strict):
    """Which problems, and how many."""

    seed: int = Field(0, ge=0)
    train_per_iteration: int = Field(400, ge=1)
    eval: int = Field(200, ge=2)
    train_file: str | None = None
    eval_file: str | None = None


class Sampling(Strict):
    """How responses are sampled; n is set apart for the two splits."""

    n_train: int = Field(16, ge=1)
    n_eval: int = Field(64, ge=1)
    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(24, ge=1, le=32768)
    seed: int = Field(0, ge=0)


class Statistics(Strict):
    """How intervals are computed: percentile bootstrap over problems."""

    resamples: int = Field(2000, ge=200, le=100_000)
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    seed: int = Field(0, ge=0)


class Limits(Strict):
    """Limits that the asset checks hold results to."""

    unparseable_fraction: float = Field(0.2, ge=0.0, le=1.0)


class Experiment(Strict):
    """One experiment = one file = one partition. The hypothesis comes first."""

    name: str = Field(pattern=NAME_PATTERN)
    hypothesis: str = Field(min_length=10)
    model: Annotated[BuiltinModel | FolderModel | HubModel, Field(discriminator="kind")]
    task: union(TASKS)  # type: ignore[valid-type]
    problems: Problems = Problems()
    sampling: Sampling = Sampling()
    verifiers: tuple[union(VERIFIERS), ...] = Field(min_length=1)  # type: ignore[valid-type]
    filter: union(FILTERS)  # type: ignore[valid-type]
    gap_filters: tuple[union(FILTERS), ...] = ()  # type: ignore[valid-type]
    iterations: int = Field(3, ge=1, le=20)
    training: union(METHODS)  # type: ignore[valid-type]
    engine: union(ENGINES) = ENGINES["transformers"]()  # type: ignore[valid-type]
    statistics: Statistics = Statistics()
    limits: Limits = Limits()

    @field_validator("verifiers", "gap_filters", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _combinations(self) -> Experiment:
        names = [verifier.name for verifier in self.verifiers]
        if len(set(names)) != len(names):
            raise ValueError(f"verifiers: each verifier once, got {', '.join(names)}")
        for field, filters in (("filter", (self.filter,)), ("gap_filters", self.gap_filters)):
            for item in filters:
                if item.verifier_name is not None and item.verifier_name not in names:
                    raise ValueError(
                        f"{field}.verifier: one of the listed verifiers ({', '.join(names)}), got {item.verifier_name}"
                    )
        if isinstance(self.model, BuiltinModel):
            RECIPES[self.model.recipe].check_task(self.task)
        elif self.training.replay_fraction > 0:
            raise ValueError(
                "training.replay_fraction: 0 with a model that is not built in (there are no pretraining documents)"
            )
        if self.sampling.temperature == 0.0 and max(self.sampling.n_train, self.sampling.n_eval) > 1:
            raise ValueError("sampling.temperature: above 0 when n is above 1 (greedy samples are all the same)")
        if (self.problems.train_file is None) != (self.problems.eval_file is None):
            raise ValueError("problems.train_file: both train_file and eval_file, or neither")
        if self.problems.train_file is None:
            self._check_capacity()
        return self

    def _check_capacity(self) -> None:
        wanted = {"train": self.problems.train_per_iteration * (self.iterations + 1), "eval": self.problems.eval}
        for split, count in wanted.items():
            capacity = self.task.capacity(split)
            if capacity is not None and count > capacity:
                field = "eval" if split == "eval" else "train_per_iteration"
                detail = f" for {self.iterations + 1} iterations" if split == "train" else ""
                raise ValueError(
                    f"problems.{field}: at most {capacity} distinct {split} problems exist{detail}, {count} asked for"
                )

    def measured_filters(self) -> tuple[Any, ...]:
        """Filters whose gap is reported: ``gap_filters``, or one per verifier; the training filter always."""
        threshold = FILTERS["threshold"]
        chosen = list(self.gap_filters) or [
            threshold(verifier=verifier.name, threshold=verifier.default_threshold) for verifier in self.verifiers
        ]
        if self.filter.verifier_name is not None and self.filter not in chosen:
            chosen.append(self.filter)
        return tuple(chosen)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads 1e-3 as a number."""


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf)$|^\.(nan|NaN)$"),
    list("-+0123456789."),
)

REMEDY = "see docs/experiments.md for every field, or copy experiments/demo.yaml"


def load_experiment(path: str | Path) -> Experiment:
    """Read and validate one experiment file.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = _shown(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise ExperimentError(where, "no such file", remedy="`mindgap list` shows the experiments there are") from None
    except OSError as error:
        raise ExperimentError(where, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ExperimentError(where, f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8") from None
    except (yaml.YAMLError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ExperimentError(where, f"not valid YAML: {text}", remedy=REMEDY) from None
    if not isinstance(data, dict):
        raise ExperimentError(where, f"expected a mapping of fields, got {_kind(data)}", remedy=REMEDY)
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        field, problem = explain(error)
        raise ExperimentError(where, problem, field=field, remedy=REMEDY) from None
    except MindgapError as error:
        raise ExperimentError(where, error.problem, field=error.field, remedy=error.remedy or REMEDY) from None
    if experiment.name != path.stem:
        raise ExperimentError(
            where, f"expected the file's own name {path.stem!r}, got {experiment.name!r}", field="name"
        )
    return _with_paths(experiment, path.resolve().parent, where)


def _with_paths(experiment: Experiment, folder: Path, where: str) -> Experiment:
    """Make relative paths relative to the experiment file, and refuse files that are not there."""
    update: dict[str, Any] = {}
    if isinstance(experiment.model, FolderModel):
        path = (folder / Path(experiment.model.path).expanduser()).resolve()
        if not (path / "config.json").is_file():
            raise ExperimentError(
                where,
                f"expected a Hugging Face checkpoint folder with config.json, found none at {path}",
                field="model.path",
                remedy="give the folder that save_pretrained wrote; relative paths start at the experiment file",
            )
        update["model"] = experiment.model.model_copy(update={"path": str(path)})
    files: dict[str, str] = {}
    for field in ("train_file", "eval_file"):
        value = getattr(experiment.problems, field)
        if value is not None:
            path = (folder / Path(value).expanduser()).resolve()
            if not path.is_file():
                raise ExperimentError(where, f"no such file: {path}", field=f"problems.{field}")
            files[field] = str(path)
    if files:
        update["problems"] = experiment.problems.model_copy(update=files)
    return experiment.model_copy(update=update) if update else experiment


def load_experiments(folder: str | Path) -> tuple[dict[str, Experiment], dict[str, ExperimentError]]:
    """All experiments of a folder by name, and the errors of those files that cannot be used."""
    good: dict[str, Experiment] = {}
    bad: dict[str, ExperimentError] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            good[path.stem] = load_experiment(path)
        except ExperimentError as error:
            bad[path.stem] = error
    return good, bad


def explain(error: ValidationError) -> tuple[str | None, str]:
    """The first wrong field of a pydantic error and a sentence saying what was expected and found."""
    first = error.errors(include_url=False)[0]
    variant_names = {*TASKS, *VERIFIERS, *FILTERS, *METHODS, *ENGINES, "builtin", "folder", "hub"}
    parts = [str(part) for i, part in enumerate(first["loc"]) if not (i > 0 and part in variant_names)]
    field = re.sub(r"\.(\d+)", r"[\1]", ".".join(parts)) or None
    found = first.get("input")
    kind = first["type"]
    more = f" ({error.error_count() - 1} more wrong)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        return field, f"unknown key{more}"
    if kind == "missing":
        return field, f"required, but missing{more}"
    if kind == "value_error":
        message = str(first["ctx"]["error"])
        match = re.match(r"^([a-z_]+(?:[.\[][\w\].]+)*): (.*)$", message, re.S)
        if match and not field:
            return match[1], f"expected {match[2]}"
        return field, f"expected {message}" + (f", got {found!r}" if not isinstance(found, dict) else "") + more
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = "kind" if "builtin" in str(first["ctx"].get("expected_tags", "")) or field == "model" else "name"
        if kind == "union_tag_not_found":
            return f"{field}.{key}", f"required, but missing{more}"
        expected = first["ctx"]["expected_tags"].replace("'", "")
        return f"{field}.{key}", f"expected one of {expected}, got {first['ctx']['tag']!r}{more}"
    message = first["msg"].replace("Input should be", "expected").replace("String should", "expected text that should")
    return field, f"{message}, got {_shorten(found)}{more}"


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: Any) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
