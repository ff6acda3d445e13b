"""Which results MLflow sees, and when.

MLflow is imported (1.5 s) and a run is opened only once something was computed; a run that reuses everything leaves
no trace there. What was reused before that waits and is logged with the rest, so a run that computed anything holds
all of its iterations.

Reinforcement learning is logged while it goes on, into a child run ``exploration``: its steps under the names of the
table ``policy_steps``. A run that resumed another one's training begins with the step at which it resumed; when the
policy is committed, the steps before are filled in from the table, so that the last run always has the whole curve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ops.lab import Lab
from ops.models import RecordedModel
from ops.storage.tracking import EXPLORATION, Tracker
from ops.types import StageResult
from orchestration.live_metrics import LiveMetrics, Points, is_number

RESULTS = ("exploration/evaluation", "exploration/training_dynamics")
"""Assets whose numbers are metrics of the trained policy, under the asset's name."""


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
        self.live = LiveMetrics(self._log_live)

    def record(self, result: StageResult) -> None:
        """Log a stage's metrics, or register its model; at once, or when the run has computed something."""
        self._has_news = self._has_news or not result.reused
        asset, iteration = _parts(result.asset)
        if asset in ("gap_metrics", "diversity_metrics"):
            self._waiting.append(partial(self._log, iteration or 0, _numbers(result)))
        elif asset in ("base_model", "model"):
            self._waiting.append(partial(self._register, iteration))
        elif asset == "exploration/policy":
            self._waiting += [self._complete_steps, self._register_policies]
        elif asset in RESULTS:
            self._waiting.append(partial(self._log_results, asset.rpartition("/")[2], _numbers(result)))
        else:
            return
        if self._has_news:
            self._log_waiting()

    def _log_waiting(self) -> None:
        self._has_logged = True
        while self._waiting:
            self._waiting[0]()
            self._waiting.pop(0)  # only now: what failed is tried again with the next result

    def finish(self, status: str) -> None:
        """End the run's MLflow runs, if it has any. ``status``: FINISHED, FAILED or KILLED."""
        if self._has_logged or not self._alone:
            self._tracker.finish(self._lab.run_id, status)

    def _log_live(self, points: Points) -> None:
        self._has_news = True
        self._log_waiting()
        self._tracker.log_steps(self._lab.experiment.name, self._lab.run_id, points)

    def _complete_steps(self) -> None:
        """Fill in the steps that another run made, or that could not be logged while they were made."""
        frame = self._lab.store.read("policy_steps", self._lab.plan.fingerprints["exploration/policy"])
        points = [
            (row["step"], None, {name: value for name, value in row.items() if name != "step" and is_number(value)})
            for row in frame.iter_rows(named=True)
        ]
        self._tracker.log_steps(self._lab.experiment.name, self._lab.run_id, points)

    def _register_policies(self) -> None:
        """Every snapshot is a version of the experiment's model, the trained policy the latest."""
        for step, fingerprint in sorted(self._lab.plan.policies.items()):
            if step > 0:
                self._tracker.register_model(
                    self._lab.experiment.name,
                    self._lab.policy_path(step),
                    fingerprint=fingerprint,
                    experiment=self._lab.experiment.name,
                    run_id=self._lab.run_id,
                    iteration=EXPLORATION,
                    tags={"exploration_step": str(step)},
                )

    def _log_results(self, asset: str, numbers: dict[str, float]) -> None:
        metrics = {f"{asset}/{name}": value for name, value in numbers.items()}
        self._tracker.log_results(self._lab.experiment.name, self._lab.run_id, max(self._lab.plan.policies), metrics)

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
    """``iteration_2/model`` -> (model, 2); what belongs to no iteration keeps its name."""
    group, _, name = asset.rpartition("/")
    return (name, int(group.removeprefix("iteration_"))) if group.startswith("iteration_") else (asset, None)


def _numbers(result: StageResult) -> dict[str, float]:
    return {key: float(value) for key, value in result.metadata.items() if is_number(value)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, item in value.items() for k, v in _flat(item, f"{prefix}{name}.").items()}
    if isinstance(value, list) and value:
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): value}
