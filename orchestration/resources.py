"""Resources: the bench (one open lab per run) and the courier of small dicts between a GPU op and its CPU op."""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import dagster as dg

from ops.engines.server_records import OWNER_VARIABLE, mark_of, own_mark
from ops.errors import ExperimentError
from ops.lab import Lab, home_folder, named_experiment
from ops.plan import make_plan
from ops.progress import Progress, Throttled, both, silent, terminal
from ops.storage.atomic import write_text_atomically
from ops.storage.store import Store
from ops.types import StageResult
from orchestration.instance import executor_name
from orchestration.run_tags import tag_run
from orchestration.tracking import RunTracking

LOG_EVERY_SECONDS = 15.0
"""How often progress is written to Dagster's event log, where every line is kept for ever."""

PROGRESS_VARIABLE = "MINDGAP_PROGRESS"
"""Set to ``terminal`` by ``mindgap run``, for its own process and the steps' processes."""


class Bench:
    """The lab of the run's experiment, opened once per process.

    With the in-process executor that is once per run: sampling and verification by the same model load it once.
    """

    def __init__(self, graph_iterations: int, *, alone: bool) -> None:
        """
        Args:
            graph_iterations: the last iteration in the loaded graph.
            alone: whether this process executes the whole run.
        """
        self._graph_iterations, self._alone = graph_iterations, alone
        self.interrupted = False  # set by a step that was interrupted; those behind it do not start
        self._lab: Lab | None = None
        self._tracking: RunTracking | None = None
        self._terminal: Progress = terminal() if os.environ.get(PROGRESS_VARIABLE) == "terminal" else silent

    def close(self, status: str) -> None:
        """Free the engines, and end the MLflow run: after a failure, or where this process executed all of it."""
        if self._lab is not None and self._alone:
            self._lab.free_memory(wait=False)
        elif self._lab is not None:
            self._lab.close()  # what it leaves loaded is for the run's next step; its end ends that, too
        if self._tracking is not None and (self._alone or status == "FAILED"):
            self._tracking.finish(status)

    def lab(self, experiment: str, run_id: str, log: Any) -> Lab:
        """The lab, its progress going to this step's log and, under ``mindgap run``, to the terminal.

        Raises:
            ExperimentError: when the file cannot be used, or wants more iterations than the loaded graph has.
        """
        if self._lab is None:
            value = named_experiment(experiment)
            if value.iterations > self._graph_iterations:
                raise ExperimentError(
                    f"experiment {experiment}",
                    f"wants {value.iterations} iterations, but the loaded graph ends at {self._graph_iterations}",
                    field="iterations",
                    remedy="reload the code location (Deployment > mindgap > Reload) or start the command again",
                )
            self._lab = Lab.open(value, run_id=run_id)
            self._tracking = RunTracking(self._lab, wait_for_news=self._alone)
            self._lab.live = self._tracking.live
        self._lab.progress = both(self._terminal, Throttled(log.info, LOG_EVERY_SECONDS))
        return self._lab

    def reader(self, experiment: str) -> Lab:
        """A lab for asset checks, which only read: nothing is registered or logged."""
        if self._lab is not None:
            return self._lab
        value = named_experiment(experiment)
        return Lab(value, make_plan(value), Store(home_folder()))

    def committed(self, result: StageResult) -> None:
        """After every stage: bring the SQL catalog up to date, so that a reader sees it while the run goes on.

        Measured at about 0.05 s, and a few milliseconds where nothing changed.
        """
        from ops.storage.catalog import rebuild_catalog

        if self._lab is None or self._tracking is None:
            raise RuntimeError("committed: no lab is open")
        rebuild_catalog(self._lab.store.home)
        self._tracking.record(result)
        if result.asset == "report" and not self._alone:
            self._tracking.finish("FINISHED")

    def flush(self) -> None:
        """At the end of every step, also of one that failed: log the last of what was logged while it ran."""
        if self._tracking is not None:
            self._tracking.live.flush()

    def free_engines(self) -> None:
        """Close loaded engines, so that a retry starts with empty memory."""
        if self._lab is not None:
            self._lab.free_memory(wait=False)


def bench_resource(graph_iterations: int) -> dg.ResourceDefinition:
    """The resource ``bench`` of a graph whose last iteration is ``graph_iterations``."""

    @dg.resource(description="The open lab of the run's experiment; its engines stay loaded from step to step.")
    def bench(context: dg.InitResourceContext) -> Iterator[Bench]:
        in_process = executor_name() == "in_process"
        os.environ[OWNER_VARIABLE] = _run_process(executor_name())
        if not in_process:
            _die_with_parent()
        if context.instance is not None and context.dagster_run is not None:
            tag_run(context.instance, context.dagster_run)
        value = Bench(graph_iterations, alone=in_process)
        try:
            yield value
        finally:
            failures = context.instance and context.run_id and _failed_steps(context.instance, context.run_id)
            value.close("FAILED" if failures else "FINISHED")

    return bench


class NumbersIOManager(dg.IOManager):
    """Small dicts between two ops of one asset, as JSON beside the run's logs. Tables never travel here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def handle_output(self, context: dg.OutputContext, obj: dict[str, Any]) -> None:
        """Write the dict."""
        write_text_atomically(self._path(context), json.dumps(obj, allow_nan=False))

    def load_input(self, context: dg.InputContext) -> dict[str, Any]:
        """Read it back."""
        if context.upstream_output is None:
            raise RuntimeError("numbers come from an op")
        return json.loads(self._path(context.upstream_output).read_text(encoding="utf-8"))

    def _path(self, context: dg.OutputContext) -> Path:
        return self._folder.joinpath(*context.get_identifier()).with_suffix(".json")


@dg.io_manager(description="Small dicts between the GPU op and the CPU op of one asset, as JSON.")
def numbers_io_manager(context: dg.InitResourceContext) -> NumbersIOManager:
    """The folder is the instance's, so that a repeated run finds what its parent wrote."""
    if context.instance is None:
        raise RuntimeError("numbers need an instance")
    return NumbersIOManager(Path(context.instance.storage_directory()))


def _failed_steps(instance: dg.DagsterInstance, run_id: str) -> bool:
    return bool(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE))


def _run_process(executor: str) -> str:
    """The process that executes the run, as ``OWNER_VARIABLE`` has it: it keeps a warm server alive."""
    parent = multiprocessing.parent_process()
    if executor == "k8s":
        return ""  # every step is in a pod of its own
    pid = parent.pid if executor == "multiprocess" and parent is not None else os.getpid()
    return mark_of(pid or os.getpid()) or own_mark()


def _die_with_parent() -> None:
    """Exit when the run's process is gone, so that no orphan keeps computing (or holds the GPU) after a kill."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()
