"""Which results MLflow sees, and when.

MLflow is imported (1.5 s) and a run is opened only once something was computed; a run that reuses everything leaves
no trace there. What was reused before that waits and is logged with the rest, so a run that computed anything holds
all of its iterations.

Reinforcement learning is logged while it goes on, into a child run ``exploration``: its steps under the names of the
table ``policy_steps``. A run that resumed another one's training begins with the step at which it resumed; when the
policy is committed, the steps before are filled in from the table, so that the last run always has the whole curve.

Win rates go into a child run ``evaluation``: the step is how many labels there were, so that runs of an experiment to
which labels came draw its estimates against them.

Results are in the store before MLflow hears of them, so a MLflow that fails fails no step: there is one warning, and
what could not be logged waits for the next result and for the run's end. Whatever waits has a mark in the home until it
is logged; with a mark the experiment's next run logs everything, also what it only reuses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.models import RecordedModel
from ops.storage.layout import safe
from ops.storage.tracking import EVALUATION, EXPLORATION, Tracker
from ops.types import StageResult
from orchestration.live_metrics import LiveMetrics, Points, is_number, reason_of, warn

RESULTS = ("exploration/evaluation", "exploration/training_dynamics")
"""Assets whose numbers are metrics of the trained policy, under the asset's name."""

WIN_RATES = "evaluation/win_rates"

LIVE_WAIT_SECONDS = 2.0
"""What a training waits for other processes at a time, and every step once MLflow has failed."""

COMMIT_WAIT_SECONDS = 30.0
"""What a step that has committed its result waits for them."""


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
        self._marks = lab.store.home / "mlflow" / "unlogged" / safe(lab.experiment.name, "experiment")
        self._has_news = not wait_for_news or self._is_marked()
        self._has_logged = self._has_warned = False
        self._waiting: list[tuple[str | None, Callable[[], Any]]] = [(None, self._describe)]
        self.live = LiveMetrics(self._log_live)

    def record(self, result: StageResult) -> None:
        """Log a stage's metrics, or register its model; at once, or when the run has computed something."""
        self._has_news = self._has_news or not result.reused
        asset, iteration = _parts(result.asset)
        if asset in ("gap_metrics", "diversity_metrics"):
            self._wait(result, partial(self._log, iteration or 0, _numbers(result)))
        elif asset in ("base_model", "model"):
            self._wait(result, partial(self._register, iteration))
        elif asset == "exploration/policy":
            self._wait(result, self._complete_steps, self._register_policies)
        elif asset in RESULTS:
            self._wait(result, partial(self._log_results, asset.rpartition("/")[2], _numbers(result)))
        elif asset == WIN_RATES:
            self._wait(result, self._log_win_rates)
        elif not self._has_warned:
            return
        if self._has_news:
            self._attempt(self._log_waiting)

    def _wait(self, result: StageResult, *actions: Callable[[], Any]) -> None:
        self._waiting += [(result.asset, action) for action in actions]

    def _log_waiting(self) -> None:
        self._has_logged = True
        while self._waiting:
            asset, action = self._waiting[0]
            action()
            self._waiting.pop(0)  # only now: what failed is tried again with the next result
            if asset is not None and asset not in {name for name, _ in self._waiting}:
                self._mark(asset).unlink(missing_ok=True)

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Do it; a failure is one warning for each run (and process), and marks what waits."""
        try:
            with self._tracker.waiting(LIVE_WAIT_SECONDS if self._has_warned else COMMIT_WAIT_SECONDS):
                action()
        except Exception as error:
            self._warn(error)
            self._mark_waiting()

    def _warn(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        names = list(dict.fromkeys(name for name, _ in self._waiting if name is not None))
        what = f"the results of {', '.join(names)}" if names else "the end of the run"
        warn(
            f"MLflow did not take {what} ({reason_of(error)}). Results are safe in the store and the run goes on; "
            "MLflow is tried again with the next result and at the run's end. What is missing there then is logged by "
            f"the next `mindgap run {self._lab.experiment.name}`, which computes no result again"
        )

    def _is_marked(self) -> bool:
        """Whether an earlier run could not log a result that the experiment still has."""
        if not self._marks.is_dir():
            return False
        return any(self._mark(asset).exists() for asset in self._lab.plan.fingerprints)

    def _mark(self, asset: str) -> Path:
        return self._marks / asset.replace("/", ".")

    def _mark_waiting(self) -> None:
        try:
            for asset in {name for name, _ in self._waiting if name is not None}:
                self._marks.mkdir(parents=True, exist_ok=True)
                self._mark(asset).touch()
        except OSError as error:
            warn(f"what MLflow did not take could not be noted in {self._marks} ({type(error).__name__})")

    def finish(self, status: str) -> None:
        """Log what still waits, and end the run's MLflow runs, if it has any.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        if self._has_logged or not self._alone:
            self.live.flush()
            if self._has_warned:
                self._attempt(self._log_waiting)
            self._attempt(partial(self._tracker.finish, self._lab.run_id, status))

    def _log_live(self, points: Points) -> None:
        self._has_news = True
        with self._tracker.waiting(LIVE_WAIT_SECONDS):
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

    def _log_win_rates(self) -> None:
        """Every estimate with its interval, ``win_rate/MODEL/control_variate/JUDGE``, and what its judges saved."""
        frame = self._lab.store.read("win_rates", self._lab.plan.fingerprints[WIN_RATES])
        metrics: dict[str, float] = {}
        for row in frame.iter_rows(named=True):
            parts = (row["quantity"], row["model"], row["estimator"], row["judge"])
            name = "/".join(part for part in parts if part is not None)
            cells = {name: row["value"]} | {f"{name}_{end}": row[end] for end in ("low", "high", "saving")}
            metrics |= {key: float(value) for key, value in cells.items() if is_number(value)}
        labels = int(frame.group_by("model").agg(pl.col("n_labelled").max())["n_labelled"].sum())
        self._tracker.log_results(self._lab.experiment.name, self._lab.run_id, labels, metrics, EVALUATION)

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
