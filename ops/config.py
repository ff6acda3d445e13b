"""The experiment: what a researcher writes in ``experiments/NAME.yaml``, validated before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ops.builtin.sizes import RECIPES, SIZES
from ops.engines import ENGINES
from ops.errors import ExperimentError, MindgapError
from ops.explain import explain, show
from ops.selection import FILTERS
from ops.tasks import TASKS
from ops.training import METHODS
from ops.variants import Seed, Strict, union
from ops.verifiers import VERIFIERS
from ops.yaml_file import REMEDY, read_mapping

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"


class BuiltinModel(Strict):
    """A tiny decoder that the lab pretrains itself: a model organism whose verifying was taught with gold labels."""

    kind: Literal["builtin"]
    recipe: str = "countdown"
    size: str = "s"
    steps: int = Field(2100, ge=1, le=1_000_000)
    batch_size: int = Field(64, ge=1, le=4096)
    seed: Seed = 0

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
    prompts: Literal["auto", "chat", "few_shot"] = "auto"


class HubModel(Strict):
    """A Hugging Face hub id; needs the hub, or a cache that already holds the revision."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = "main"
    prompts: Literal["auto", "chat", "few_shot"] = "auto"


class Problems(Strict):
    """Which problems, and how many."""

    seed: Seed = 0
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
    seed: Seed = 0


class Statistics(Strict):
    """How intervals are computed: percentile bootstrap over problems."""

    resamples: int = Field(2000, ge=200, le=100_000)
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    seed: Seed = 0


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
        filters = {"filter": self.filter} | {f"gap_filters[{i}]": item for i, item in enumerate(self.gap_filters)}
        for field, item in filters.items():
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
                if split == "eval":
                    raise ValueError(f"problems.eval: at most {capacity}, all there are of this task, got {count}")
                raise ValueError(
                    f"problems.train_per_iteration: at most {capacity // (self.iterations + 1)} ({capacity} distinct "
                    f"training problems for iterations 0..{self.iterations}), got {self.problems.train_per_iteration}"
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


def load_experiment(path: str | Path) -> Experiment:
    """Read and validate one experiment file.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = _shown(path)
    data = read_mapping(path, where)
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        field, problem = explain(error, Experiment)
        raise ExperimentError(where, problem, field=field, remedy=REMEDY) from None
    except MindgapError as error:
        raise ExperimentError(where, error.problem, field=error.field, remedy=error.remedy or REMEDY) from None
    if experiment.name != path.stem:
        raise ExperimentError(
            where,
            f"expected the file's own name {path.stem!r}, got {experiment.name!r}",
            field="name",
            remedy="rename the file or the experiment",
        )
    return _with_paths(experiment, path.resolve().parent, where)


def _with_paths(experiment: Experiment, folder: Path, where: str) -> Experiment:
    """Make relative paths relative to the experiment file, and refuse files that are not there."""
    update: dict[str, Any] = {}
    if isinstance(experiment.model, FolderModel):
        path = _resolved(folder, experiment.model.path, where, "model.path")
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
            path = _resolved(folder, value, where, f"problems.{field}")
            if not path.is_file():
                raise ExperimentError(
                    where,
                    f"expected a JSONL file, found none at {path}",
                    field=f"problems.{field}",
                    remedy="relative paths start at the experiment file",
                )
            files[field] = str(path)
    if files:
        update["problems"] = experiment.problems.model_copy(update=files)
    return experiment.model_copy(update=update) if update else experiment


def _resolved(folder: Path, value: str, where: str, field: str) -> Path:
    try:
        path = (folder / Path(value).expanduser()).resolve()
        path.exists()
        return path
    except (ValueError, RuntimeError, OSError) as error:
        problem = f"expected a path, got {show(value)} ({_reason(error)})"
        raise ExperimentError(where, problem, field=field, remedy=REMEDY) from None


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


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


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
