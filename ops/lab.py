"""The lab bench of one experiment: what every stage function needs, handed over in one value."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.config import BuiltinModel, Experiment, load_experiment
from ops.engines.base import Engine
from ops.plan import CODE_VERSIONS, Plan, asset_name, make_plan
from ops.progress import Progress, silent
from ops.prompts.base import PromptFormat
from ops.prompts.compact import CompactFormat
from ops.storage.store import Provenance, Store
from ops.types import StageResult

PROJECT = Path(__file__).resolve().parent.parent


def home_folder() -> Path:
    """``MINDGAP_HOME`` made absolute; by default ``.mindgap`` in the clone."""
    return Path(os.environ.get("MINDGAP_HOME") or PROJECT / ".mindgap").expanduser().resolve()


def experiments_folder() -> Path:
    """``MINDGAP_EXPERIMENTS``; by default ``experiments`` in the clone."""
    return Path(os.environ.get("MINDGAP_EXPERIMENTS") or PROJECT / "experiments").expanduser().resolve()


@dataclass
class Lab:
    """Experiment, plan and store, with where progress goes and which run this is.

    ``engines`` holds loaded engines by model fingerprint, so that sampling and verification by the
    same model load it once; ``close`` frees them.
    """

    experiment: Experiment
    plan: Plan
    store: Store
    run_id: str = ""
    progress: Progress = silent
    engines: dict[str, Engine] = field(default_factory=dict)
    _format: PromptFormat | None = None

    @classmethod
    def open(
        cls, experiment: str | Experiment, *, home: Path | None = None, run_id: str = "", progress: Progress = silent
    ) -> Lab:
        """Load, plan and register an experiment, given by name or as a value.

        Raises:
            ExperimentError: when the file cannot be used.
        """
        if isinstance(experiment, str):
            experiment = load_experiment(experiments_folder() / f"{experiment}.yaml")
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
            metadata: numbers for people, from the table (called for reused tables as well).
        """
        start = time.monotonic()
        name = asset_name(asset, iteration)
        fingerprint = self.plan.fingerprints[name]
        reused = self.store.has(table, fingerprint)
        frame = self.store.read(table, fingerprint) if reused else compute()
        seconds = time.monotonic() - start
        shown = dict(metadata(frame))
        provenance = Provenance(
            run_id=self.run_id,
            code_version=CODE_VERSIONS[asset],
            seconds=seconds,
            reused=reused,
            metadata=shown,
            seed=self._seed(asset),
        )
        where: dict[str, Any] = dict(
            experiment=self.experiment.name, asset=asset, iteration=iteration, fingerprint=fingerprint
        )
        if reused:
            self.store.link(table, provenance=provenance, **where)
        else:
            self.store.commit_table(table, frame, provenance=provenance, **where)
        return StageResult(name, self.experiment.name, fingerprint, reused, frame.height, seconds, shown)

    def _seed(self, asset: str) -> int | None:
        """The seed of the experiment file that the asset draws from."""
        experiment = self.experiment
        return {
            "problems": experiment.problems.seed,
            "base_model": getattr(experiment.model, "seed", None),
            "generations": experiment.sampling.seed,
            "gap_metrics": experiment.statistics.seed,
            "diversity_metrics": experiment.statistics.seed,
            "finetune_data": experiment.training.seed,
            "model": experiment.training.seed,
        }.get(asset)

    def prompt_format(self) -> PromptFormat:
        """How this experiment's model is spoken to."""
        if self._format is None:
            self._format = self._new_format()
        return self._format

    def _new_format(self) -> PromptFormat:
        if isinstance(self.experiment.model, BuiltinModel):
            return CompactFormat()
        from ops.prompts.text import TextFormat

        return TextFormat(self.experiment.task, self.model_path(0), self.experiment.model.prompts)

    def model_path(self, iteration: int) -> Path:
        """The checkpoint folder of the model that generates at ``iteration``."""
        if iteration == 0 and not isinstance(self.experiment.model, BuiltinModel):
            from ops.checkpoints import locate_checkpoint

            return locate_checkpoint(self.experiment.model)
        return self.store.model_folder(self.plan.models[iteration])

    def engine(self, iteration: int) -> Engine:
        """The engine with the iteration's model, loaded once; another model's engine is closed first."""
        wanted = self.plan.models[iteration]
        if wanted not in self.engines:
            self.close()
            self.engines[wanted] = self.experiment.engine.load(self.model_path(iteration))
        return self.engines[wanted]

    def close(self) -> None:
        """Free every loaded engine."""
        while self.engines:
            self.engines.popitem()[1].close()
