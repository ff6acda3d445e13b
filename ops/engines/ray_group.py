"""The workers of the Ray engine as its driver sees them: placed, loaded, called, buried."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ops.engines.ray_cluster import WHO
from ops.engines.ray_settings import RaySettings
from ops.engines.ray_worker import Piece, Worker
from ops.engines.tokens import first_line
from ops.errors import EngineError, MindgapError


@dataclass(eq=False)
class Remote:
    """One worker as the driver sees it.

    Attributes:
        owed: the piece of every sample that it was given and has not finished, by request index and position.
    """

    actor: Any
    where: str
    owed: dict[tuple[int, int], Piece] = field(default_factory=dict)


class WorkerGroup:
    """The workers that are there, and what became of the others."""

    def __init__(self, ray: Any, settings: RaySettings) -> None:
        self.ray, self.settings = ray, settings
        self.workers: list[Remote] = []
        self._last_death = ""

    def start(self, path: Path) -> list[dict[str, Any]]:
        """Place the workers and load their engines; what each says of itself.

        Raises:
            ModelError: as the worker's engine.
            EngineError: when the resources are not there, a worker dies or is late, or as the worker's engine.
        """
        settings, ray = self.settings, self.ray
        self._check_resources()
        actor = ray.remote(Worker).options(
            num_cpus=settings.cpus_per_worker,
            num_gpus=settings.gpus_per_worker,
            scheduling_strategy="SPREAD",
            max_concurrency=4,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(settings.cpus_per_worker)}},
        )
        for number in range(settings.workers):
            made = actor.remote(number, settings.in_flight, settings.round_samples)
            self.workers.append(Remote(made, f"worker {number}"))
        loading = [worker.actor.load.remote(str(path), settings.worker) for worker in self.workers]
        deadline = time.monotonic() + settings.startup_timeout_seconds
        waiting = list(loading)
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                self._late(len(waiting))
            self._loaded(ready[0], self.workers[loading.index(ready[0])])
        answers = ray.get(loading)
        for worker, one in zip(self.workers, answers, strict=True):
            worker.where = one["where"]
        if len({(one["name"], one["version"]) for one in answers}) > 1:
            self._differ(answers)
        return answers

    def _loaded(self, reference: Any, worker: Remote) -> None:
        try:
            self.get(reference, worker)
        except self.ray.exceptions.RayError as error:
            raise EngineError(
                WHO,
                f"{worker.where} died while it loaded the model: {said(error)}",
                field="engine.worker",
                remedy="give it more memory (fewer workers on a node, dtype: bfloat16, a lower kv_cache_gib), and see "
                "that every node has this project's packages",
            ) from error

    def _check_resources(self) -> None:
        """A Ray of this machine does not grow: what is not there now never comes."""
        settings, have = self.settings, self.ray.cluster_resources()
        for kind, each in (("CPU", settings.cpus_per_worker), ("GPU", settings.gpus_per_worker)):
            there = have.get(kind, 0.0)
            if settings.address is None and there < settings.workers * each:
                raise EngineError(
                    WHO,
                    f"{settings.workers} workers with {each:g} {kind}s each, and there are {there:g}",
                    field=f"engine.{kind.lower()}s_per_worker",
                    remedy="lower workers, or what each gets (gpus_per_worker: 0 on a CPU, below 1 to share a GPU)",
                )

    def _late(self, missing: int) -> NoReturn:
        have = self.ray.cluster_resources()
        found = ", ".join(f"{have.get(kind, 0.0):g} {kind}s" for kind in ("CPU", "GPU"))
        raise EngineError(
            WHO,
            f"{missing} of {self.settings.workers} workers were not ready after "
            f"{self.settings.startup_timeout_seconds} s; the cluster has {found}",
            field="engine.startup_timeout_seconds",
            remedy="lower workers, gpus_per_worker or cpus_per_worker, free the cluster, or give the model more time",
        )

    @staticmethod
    def _differ(answers: Sequence[dict[str, Any]]) -> NoReturn:
        found = ", ".join(f"{one['name']} {one['version']} ({one['where']})" for one in answers)
        raise EngineError(
            WHO,
            f"workers have engines of different versions: {found}",
            field="engine.worker",
            remedy="install the same versions on every node",
        )

    def get(self, reference: Any, worker: Remote) -> Any:
        """The result of a call.

        Raises:
            ray.exceptions.RayError: when the worker has died, or its result is lost.
            MindgapError: that the call has raised on purpose.
            EngineError: with the worker's name, of anything else that it has raised.
        """
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, MindgapError):
                raise cause from None
            raise EngineError(
                f"{WHO}, {worker.where}", f"{type(cause).__name__}: {said(cause)}", remedy="see the error above"
            ) from error

    def alive(self) -> list[Remote]:
        """The workers that are there.

        Raises:
            EngineError: when none is.
        """
        if not self.workers:
            raise EngineError(
                WHO,
                f"no worker is left; the last was lost: {self._last_death}",
                field="engine.workers",
                remedy="look into Ray's logs why they died; run again, what is committed is kept",
            )
        return list(self.workers)

    def bury(self, worker: Remote, error: BaseException) -> None:
        """Leave a dead worker out. One that merely does not answer is ended: its work goes to others."""
        self.workers.remove(worker)
        self._last_death = f"{worker.where}: {said(error)}"
        self.ray.kill(worker.actor)
        logging.getLogger("mindgap").warning(
            "%s died, %d go on with its work: %s", worker.where, len(self.workers), said(error)
        )

    def end(self) -> None:
        """End all workers."""
        while self.workers:
            self.ray.kill(self.workers.pop().actor)


def said(error: BaseException) -> str:
    """What an error says; Ray's own say the cause some lines below the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith(("The actor", "Worker exit", "The node"))]
    return "; ".join([first_line(error), *wanted[:3]])[:600]
