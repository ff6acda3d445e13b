"""Which results MLflow sees, and when.

MLflow is imported (1.5 s) and a run is opened only once something was computed; a run that reuses everything leaves
no trace there. What was reused before that waits and is logged with the rest, so a run that computed anything holds
all of its iterations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ops.lab import Lab
from ops.models import RecordedModel
from ops.storage.tracking import Tracker
from ops.types import StageResult


class RunTracking:
    """The MLflow side of one Dagster run in this process."""

    def __init__(self, lab: Lab, *, wait_for_news: bool) -> None:
        """
        Args:
            wait_for_news: False where every step has its own process, which cannot know what the others computed.
        """
        self._lab = lab
        self._tracker = Tracker(lab.store.home)
        self._alone = wait_for_news
        self._has_news = not wait_for_news
        self._has_logged = False
        self._waiting: list[Callable[[], Any]] = [self._describe]

    def record(self, result: StageResult) -> None:
        """Log a stage's metrics, or register its model; at once, or when the run has computed something."""
        self._has_news = self._has_news or not result.reused
        asset, iteration = _parts(result.asset)
        if asset in ("gap_metrics", "diversity_metrics"):
            metrics = {key: float(value) for key, value in result.metadata.items() if _is_number(value)}
            self._waiting.append(partial(self._log, iteration or 0, metrics))
        elif asset in ("base_model", "model"):
            self._waiting.append(partial(self._register, iteration))
        else:
            return
        if self._has_news:
            waiting, self._waiting = self._waiting, []
            self._has_logged = True
            for call in waiting:
                call()

    def finish(self, status: str) -> None:
        """End the run's MLflow runs, if it has any. ``status``: FINISHED, FAILED or KILLED."""
        if self._has_logged or not self._alone:
            self._tracker.finish(self._lab.run_id, status)

    def _log(self, iteration: int, metrics: dict[str, float]) -> None:
        self._tracker.log_iteration(self._lab.experiment.name, iteration, self._lab.run_id, metrics)

    def _register(self, iteration: int | None) -> None:
        generates = 0 if iteration is None else iteration + 1
        if generates == 0 and isinstance(self._lab.experiment.model, RecordedModel):
            return  # there are responses, but no model to register
        self._tracker.register_model(
            self._lab.experiment.name,
            self._lab.model_path(generates),
            fingerprint=self._lab.plan.models[generates],
            experiment=self._lab.experiment.name,
            run_id=self._lab.run_id,
            iteration=iteration,
            tags={"generates_iteration": str(generates)},
        )

    def _describe(self) -> None:
        experiment = self._lab.experiment
        self._tracker.log_parent(
            experiment.name,
            self._lab.run_id,
            params=_flat(experiment.model_dump(mode="json", exclude={"name", "hypothesis"})),
            tags={"mlflow.note.content": experiment.hypothesis},
        )


def _parts(asset: str) -> tuple[str, int | None]:
    if "/" not in asset:
        return asset, None
    group, name = asset.split("/", 1)
    return name, int(group.removeprefix("iteration_"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, item in value.items() for k, v in _flat(item, f"{prefix}{name}.").items()}
    if isinstance(value, list) and value:
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): value}
