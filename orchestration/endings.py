"""How a run ended, read from its events: the first failed step and why, and whether its user interrupted it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ops.gpu_ops import INTERRUPTED

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance


def was_interrupted(instance: DagsterInstance, run_id: str) -> bool:
    """Whether the run ended by Ctrl-C or was cancelled, not by an error of its own.

    A step may report an interrupt as a failure of its own (``ops.gpu_ops``), Dagster one in any other step as an error
    whose source is an interrupt, and one between steps as an unexpected end of the run.
    """
    from dagster import DagsterEventType, DagsterRunStatus
    from dagster._core.events import JobFailureData, RunFailureReason
    from dagster._core.execution.plan.objects import ErrorSource, StepFailureData

    run = instance.get_run_by_id(run_id)
    if run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED):
        return True
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=kinds):
        data = entry.dagster_event.event_specific_data if entry.dagster_event is not None else None
        if isinstance(data, JobFailureData) and data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION:
            return True
        if isinstance(data, StepFailureData):
            described = data.user_failure_data.description if data.user_failure_data is not None else None
            if data.error_source == ErrorSource.INTERRUPT or described == INTERRUPTED:
                return True
    return False


def reason_of(instance: DagsterInstance, run_id: str) -> str:
    """``first_failure`` of a run that another process may have executed."""
    from dagster import DagsterEventType

    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    entries = instance.all_logs(run_id, of_type=kinds)
    return first_failure([entry.dagster_event for entry in entries if entry.dagster_event is not None])


def first_failure(events: Iterable[DagsterEvent]) -> str:
    """The first failed step and why, without a stack trace; of a run without one, how it ended; '' where none says."""
    events = list(events)
    for event in events:
        if event.is_step_failure:
            return _of_step(event)
    return next((str(event.message) for event in events if event.is_failure), "")


def _of_step(event: DagsterEvent) -> str:
    from dagster._core.execution.plan.objects import ErrorSource

    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    if data.error_source == ErrorSource.INTERRUPT:
        return f"{event.step_key}: interrupted"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error is not None else 'failed'}"
