"""The run launcher of an instance that several machines share: a run carries the machine on which it was launched.

Without it nobody could tell whether a process id in a run's events is of this machine (see ``orchestration.recover``).
"""

from __future__ import annotations

from dagster import DefaultRunLauncher
from dagster._core.launcher.base import LaunchRunContext

from ops.storage.atomic import host_mark
from orchestration.recover import MACHINE_TAG


class MarkedRunLauncher(DefaultRunLauncher):
    """Dagster's default, which starts a process of the code server beside it; named in deploy/postgres/dagster.yaml."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Mark the run, replacing the mark that a re-execution copied from its parent; then launch it."""
        self._instance.add_run_tags(context.dagster_run.run_id, {MACHINE_TAG: host_mark()})
        super().launch_run(context)
