"""Settings of the Ray engine; loading it imports Ray, reading the settings does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ops.engines.base import Engine
from ops.engines.settings import EngineSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings
from ops.variants import union

IN_WORKERS: dict[str, Any] = {
    "transformers": TransformersEngineSettings,
    "vllm": VllmSettings,
}
"""Engines that run in a worker; the Ray engine is not among them, and a server needs none."""


class RaySettings(EngineSettings):
    """One engine in each of ``workers`` Ray actors, on one machine or many.

    ``address`` None starts a Ray of this machine's own, on loopback, which ends with the engine. A worker gets
    ``gpus_per_worker`` GPUs (a fraction: several share one; 0: none) and ``cpus_per_worker`` cores. ``in_flight``
    counts samples that a worker has taken and not finished: what one has taken no other can do.
    """

    name: Literal["ray"]
    workers: int = Field(ge=1, le=4096)
    address: str | None = Field(None, min_length=1)
    gpus_per_worker: float = Field(1.0, ge=0, le=64)
    cpus_per_worker: int = Field(1, ge=1)
    in_flight: int = Field(2048, ge=1, le=65536)
    worker: union(IN_WORKERS) = TransformersEngineSettings()  # type: ignore[valid-type]
    startup_timeout_seconds: int = Field(600, ge=1)

    @model_validator(mode="after")
    def _whole_gpus(self) -> RaySettings:
        if self.gpus_per_worker > 1 and not self.gpus_per_worker.is_integer():
            problem = f"a fraction of one GPU, or a whole number, got {self.gpus_per_worker:g}"
            raise ValueError(f"gpus_per_worker: {problem}")
        return self

    @model_validator(mode="after")
    def _gpus_for_the_model(self) -> RaySettings:
        wanted = self.worker.tensor_parallel_size if isinstance(self.worker, VllmSettings) else 1
        if wanted > 1 and 0 < self.gpus_per_worker < wanted:
            problem = f"at least worker.tensor_parallel_size ({wanted}), or 0 on CPUs, got {self.gpus_per_worker:g}"
            raise ValueError(f"gpus_per_worker: {problem}")
        return self

    @property
    def loads_checkpoints(self) -> bool:
        return self.worker.loads_checkpoints

    @property
    def reads_choices(self) -> bool:
        return self.worker.reads_choices

    @property
    def reads_distributions(self) -> bool:
        return self.worker.reads_distributions

    @property
    def round_samples(self) -> int:
        """Samples that a worker's engine is given in one go.

        The transformers engine decodes a batch to its end, so it gets no more than one batch at a time; the others
        batch continuously and get the next ones while the last are running.
        """
        if isinstance(self.worker, TransformersEngineSettings):
            return min(self.in_flight, self.worker.batch_size)
        return max(1, self.in_flight // 8)

    def load(self, model_path: Path) -> Engine:
        from ops.engines.ray_engine import RayEngine

        return RayEngine(model_path, self)
