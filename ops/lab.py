"""The lab bench of one experiment: what every stage function needs, handed over in one value."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.engines.base import Engine
from ops.engines.settings import LOADING_PROGRESS
from ops.errors import ExperimentError, StorageError
from ops.evaluation.judges.base import ModelJudge
from ops.evaluation.plan import EvaluationPlan, compared_models
from ops.evaluation.settings import Evaluation
from ops.models import AskableModel, BuiltinModel, askable
from ops.plan import ESTIMATED_ASSETS, Plan, asset_name, make_plan
from ops.plan_parts import CODE_VERSIONS, model_fingerprint
from ops.progress import Progress, silent
from ops.prompts.base import PromptFormat
from ops.prompts.compact import CompactFormat
from ops.storage.store import Provenance, Store
from ops.study_files import find_experiment, find_experiments
from ops.types import StageResult
from ops.verifiers.base import ModelVerifier

PROJECT = Path(__file__).resolve().parent.parent

LiveMetrics = Callable[[int, Mapping[str, float]], None]
"""(step, numbers by name) of a training that is under way."""


def unheard(step: int, numbers: Mapping[str, float]) -> None:
    """Tell nobody."""


def home_folder() -> Path:
    """``MINDGAP_HOME`` made absolute; by default ``.mindgap`` in the clone."""
    return Path(os.environ.get("MINDGAP_HOME") or PROJECT / ".mindgap").expanduser().resolve()


def experiments_folder() -> Path:
    """``MINDGAP_EXPERIMENTS``; by default ``experiments`` in the clone."""
    return Path(os.environ.get("MINDGAP_EXPERIMENTS") or PROJECT / "experiments").expanduser().resolve()


def studies_folder() -> Path:
    """``MINDGAP_STUDIES``; by default ``studies`` beside the folder of experiments."""
    return Path(os.environ.get("MINDGAP_STUDIES") or experiments_folder().parent / "studies").expanduser().resolve()


def named_experiment(name: str) -> Experiment:
    """The experiment of that name: of its own file, or of a study.

    Raises:
        ExperimentError: when there is none, or its file cannot be used.
    """
    return find_experiment(name, experiments_folder(), studies_folder())


def known_experiments() -> tuple[dict[str, Experiment], dict[str, ExperimentError]]:
    """Every experiment by name, those of studies included, and the errors by file name."""
    return find_experiments(experiments_folder(), studies_folder())


@dataclass(frozen=True)
class Place:
    """Where a table belongs: ``owner`` is an experiment, or a study; ``fingerprint`` is its identity."""

    owner: str
    table: str
    asset: str
    iteration: int | None
    fingerprint: str

    @property
    def name(self) -> str:
        """The asset with its iteration."""
        return asset_name(self.asset, self.iteration)

    @property
    def where(self) -> dict[str, Any]:
        """The place as arguments of the store."""
        return dict(experiment=self.owner, asset=self.asset, iteration=self.iteration, fingerprint=self.fingerprint)


def commit_or_adopt(
    store: Store,
    place: Place,
    compute: Callable[[], Any],
    metadata: Callable[[Any], Mapping[str, Any]],
    *,
    run_id: str,
    code_version: str,
    seed: int | None,
) -> StageResult:
    """Compute and commit one table, or adopt it where its fingerprint already exists.

    Args:
        compute: returns the table as a Polars frame.
        metadata: numbers for people, from the table; they are kept with it.
    """
    start = time.monotonic()
    known = adopted(store, place, run_id=run_id, code_version=code_version, seed=seed)
    if known is not None:
        return known
    frame = compute()
    seconds = time.monotonic() - start
    shown = dict(metadata(frame))
    provenance = Provenance(run_id, code_version, seconds, False, shown, seed)
    store.commit_table(place.table, frame, provenance=provenance, **place.where)
    return StageResult(place.name, place.owner, place.fingerprint, False, frame.height, seconds, shown)


def stream_or_adopt(
    store: Store,
    place: Place,
    frames: Callable[[], Iterable[Any]],
    metadata: Callable[[Any], Mapping[str, Any]],
    spent: Mapping[str, Any],
    *,
    run_id: str,
    code_version: str,
    seed: int | None,
) -> StageResult:
    """``commit_or_adopt`` of a table that need not fit into memory.

    Args:
        frames: the table's rows as Polars frames, one after the other.
        metadata: numbers for people, from a Polars lazy frame of the written table.
        spent: what this run spent on it; recorded with the materialization, not with the data.
    """
    start = time.monotonic()
    known = adopted(store, place, run_id=run_id, code_version=code_version, seed=seed)
    if known is not None:
        return known
    provenance = Provenance(run_id, code_version, 0.0, False, spent, seed)
    shown = store.commit_stream(place.table, frames, metadata, started=start, provenance=provenance, **place.where)
    n_rows = store.about(place.table, place.fingerprint)["n_rows"]
    seconds = time.monotonic() - start
    return StageResult(place.name, place.owner, place.fingerprint, False, n_rows, seconds, shown)


def adopted(store: Store, place: Place, *, run_id: str, code_version: str, seed: int | None) -> StageResult | None:
    """The table of another run or experiment made this place's own, without reading it; None where there is none."""
    if not store.has(place.table, place.fingerprint):
        return None
    start = time.monotonic()
    about = store.about(place.table, place.fingerprint)
    shown = about["metadata"]
    seconds = time.monotonic() - start
    store.link(place.table, provenance=Provenance(run_id, code_version, seconds, True, shown, seed), **place.where)
    return StageResult(place.name, place.owner, place.fingerprint, True, about["n_rows"], seconds, shown)


@dataclass
class Lab:
    """Experiment, plan and store, with where progress goes and which run this is.

    ``engines`` holds loaded engines by model fingerprint, so that sampling and verification by the
    same model load it once; ``close`` frees them. ``spent``: numbers of the GPU step whose table is committed next.
    ``live``: is told numbers of a running training by its step, as MLflow shows them while it runs.
    """

    experiment: Experiment
    plan: Plan
    store: Store
    run_id: str = ""
    progress: Progress = silent
    live: LiveMetrics = unheard
    engines: dict[str, Engine] = field(default_factory=dict)
    spent: Mapping[str, Any] = field(default_factory=dict)
    _formats: dict[AskableModel, PromptFormat] = field(default_factory=dict)

    @classmethod
    def open(
        cls, experiment: str | Experiment, *, home: Path | None = None, run_id: str = "", progress: Progress = silent
    ) -> Lab:
        """Load, plan and register an experiment, given by name or as a value.

        Raises:
            ExperimentError: when the file cannot be used.
        """
        if isinstance(experiment, str):
            experiment = named_experiment(experiment)
        plan = make_plan(experiment)
        store = Store(home or home_folder())
        store.register_experiment(experiment.name, experiment.model_dump(mode="json"), plan.fingerprints, run_id=run_id)
        return cls(experiment, plan, store, run_id, progress)

    def materialise(
        self,
        table: str,
        asset: str,
        iteration: int | None,
        compute: Callable[[], Any],
        metadata: Callable[[Any], Mapping[str, Any]],
    ) -> StageResult:
        """Compute and commit one table of the plan, or adopt it where its fingerprint already exists.

        Args:
            compute: returns the table as a Polars frame.
            metadata: numbers for people, from the table; a reused table keeps its own.
        """
        return commit_or_adopt(self.store, self._place(table, asset, iteration), compute, metadata, **self._how(asset))

    def materialise_stream(
        self,
        table: str,
        asset: str,
        iteration: int | None,
        frames: Callable[[], Iterable[Any]],
        metadata: Callable[[Any], Mapping[str, Any]],
    ) -> StageResult:
        """``materialise`` for a table that need not fit into memory.

        Args:
            frames: the rows as Polars frames, one after the other.
            metadata: numbers for people, from a Polars lazy frame of the written table.
        """
        place = self._place(table, asset, iteration)
        return stream_or_adopt(self.store, place, frames, metadata, self.spent, **self._how(asset))

    def _place(self, table: str, asset: str, iteration: int | None) -> Place:
        name = asset_name(asset, iteration)
        return Place(self.experiment.name, table, asset, iteration, self.plan.fingerprints[name])

    def _how(self, asset: str) -> dict[str, Any]:
        code = CODE_VERSIONS[asset.rpartition("/")[2]]
        return dict(run_id=self.run_id, code_version=code, seed=self._seed(asset))

    def _seed(self, asset: str) -> int | None:
        """The seed of the experiment file that the asset draws from."""
        experiment = self.experiment
        return {
            "problems": experiment.problems.seed,
            "base_model": getattr(experiment.model, "seed", None),
            "generations": experiment.sampling.seed,
            **dict.fromkeys(ESTIMATED_ASSETS, experiment.statistics.seed),
            "finetune_data": experiment.training.seed,
            "model": experiment.training.seed,
            **dict.fromkeys(
                ("exploration/policy", "exploration/rollouts"), getattr(experiment.exploration, "seed", None)
            ),
            "evaluation/pairs": experiment.sampling.seed,
        }.get(asset)

    def prompt_format(self, model: AskableModel | None = None) -> PromptFormat:
        """How the generator is spoken to, or another model.

        Raises:
            ModelError: when the checkpoint has no tokenizer that loads.
        """
        model = model or askable(self.experiment.model)
        if model not in self._formats:
            self._formats[model] = self._new_format(model)
        return self._formats[model]

    def _new_format(self, model: AskableModel) -> PromptFormat:
        if isinstance(model, BuiltinModel):
            return CompactFormat()
        from ops.checkpoints import locate_checkpoint
        from ops.prompts.text import TextFormat

        folder = locate_checkpoint(model)
        return TextFormat(self.experiment.task, folder, model.prompts, self.experiment.prompts.folder)

    def model_path(self, iteration: int) -> Path:
        """The checkpoint folder of the model that generates at ``iteration``."""
        if iteration == 0:
            return self.path_of(askable(self.experiment.model))
        return self.store.model_folder(self.plan.models[iteration])

    def path_of(self, model: AskableModel) -> Path:
        """The checkpoint folder of a model that is not fine-tuned here."""
        if isinstance(model, BuiltinModel):
            return self.store.model_folder(model_fingerprint(model))
        from ops.checkpoints import locate_checkpoint

        return locate_checkpoint(model)

    def engine(self, iteration: int, verifier: ModelVerifier | None = None) -> Engine:
        """The engine with the iteration's model, or with the one that ``verifier`` asks.

        Loaded once; another model's engine is closed first.
        """
        model = None if verifier is None else verifier.model
        wanted = self.plan.models[iteration] if model is None else model_fingerprint(model)
        return self._loaded(wanted, lambda: self.model_path(iteration) if model is None else self.path_of(model))

    @property
    def evaluation(self) -> Evaluation:
        """What the experiment says of win rates.

        Raises:
            ExperimentError: when it says nothing.
        """
        if self.experiment.evaluation is None:
            name = self.experiment.name
            remedy = "docs/experiments.md shows the key evaluation"
            raise ExperimentError(name, "this experiment compares no models", field="evaluation", remedy=remedy)
        return self.experiment.evaluation

    @property
    def evaluation_plan(self) -> EvaluationPlan:
        """Its fingerprints.

        Raises:
            ExperimentError: as ``evaluation``.
        """
        assert self.evaluation is not None
        assert self.plan.evaluation is not None  # planned from the same experiment
        return self.plan.evaluation

    def writer(self, label: str) -> AskableModel:
        """The model of that label, which writes responses.

        Raises:
            ModelError: for one of which there are recorded responses only.
        """
        return askable(compared_models(self.experiment, self.evaluation)[label])

    def writer_format(self, label: str) -> PromptFormat:
        """How it is spoken to."""
        return self.prompt_format(self.writer(label))

    def writer_engine(self, label: str) -> Engine:
        """The engine with it; another model's engine is closed first."""
        return self._loaded(self.evaluation_plan.models[label], lambda: self.path_of(self.writer(label)))

    def judge_format(self, judge: ModelJudge) -> PromptFormat:
        """How the model that a judge asks is spoken to."""
        return self.prompt_format(judge.model)

    def judge_engine(self, judge: ModelJudge) -> Engine:
        """The engine with that model; another model's engine is closed first."""
        model = judge.model or askable(self.experiment.model)
        return self._loaded(self.evaluation_plan.judge_models[judge.called], lambda: self.path_of(model))

    def policy_path(self, step: int) -> Path:
        """The checkpoint folder of the policy after ``step`` steps of exploration; of the base model after 0.

        Raises:
            StorageError: when it is not there.
        """
        if step == 0:
            return self.model_path(0)
        folder = self.store.model_folder(self.plan.policies[step])
        if not self.store.has_model(self.plan.policies[step]):
            last = self.store.model_folder(self.plan.policies[max(self.plan.policies)])
            raise StorageError(
                str(folder),
                f"the policy after {step} steps of exploration is not there",
                remedy=f"run the experiment again; where {last} is there and this one was removed, remove that, too: "
                "the policy is then trained again",
            )
        return folder

    def policy_engine(self, step: int) -> Engine:
        """The engine with the policy after ``step`` steps; another model's engine is closed first."""
        return self._loaded(self.plan.policies[step], lambda: self.policy_path(step))

    def _loaded(self, wanted: str, path_of: Callable[[], Path]) -> Engine:
        if wanted not in self.engines:
            self.close()
            path = path_of()
            shown = LOADING_PROGRESS.set(self.progress)
            try:
                self.engines[wanted] = self.experiment.engine.load(path)
            finally:
                LOADING_PROGRESS.reset(shown)
        return self.engines[wanted]

    def close(self) -> None:
        """Free every loaded engine."""
        while self.engines:
            self.engines.popitem()[1].close()

    def free_memory(self, *, wait: bool = True) -> None:
        """Free every loaded engine, and what it leaves loaded outside this process: before training, after a run.

        Args:
            wait: until no other process uses what is loaded there; False: leave it to them.

        Raises:
            EngineError: when it stays in use.
        """
        self.close()
        self.experiment.engine.release(wait=wait)
