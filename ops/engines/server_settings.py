"""Settings of the warm vLLM server; loading it starts or finds the server, reading the settings does not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ops.engines.base import Engine
from ops.engines.vllm_settings import VllmSettings


class VllmServerSettings(VllmSettings):
    """vLLM in a server of this machine that the lab starts, watches and stops; the next step finds it warm.

    The fields of ``VllmSettings`` are the server's; they and the checkpoint say whether a running server is the wanted
    one. ``concurrency``, ``timeout_seconds`` and ``max_retries`` belong to the requests. ``max_retries`` is lower than
    that of ``OpenaiSettings``: a server of this machine that does not answer has died, and is started again.
    """

    name: Literal["vllm_server"] = "vllm_server"  # type: ignore[assignment]
    startup_timeout_seconds: float = Field(1800.0, gt=0.0, le=86400.0)
    idle_seconds: float = Field(600.0, gt=0.0, le=86400.0)
    concurrency: int = Field(256, ge=1, le=4096)
    timeout_seconds: float = Field(600.0, gt=0.0, le=86400.0)
    max_retries: int = Field(3, ge=0, le=100)

    def load(self, model_path: Path) -> Engine:
        from ops.engines.server_engine import ServerEngine

        return ServerEngine(model_path, self)

    def release(self, *, wait: bool = True) -> None:
        """Stop this machine's server, whatever it has loaded; see ``EngineSettings.release``."""
        from ops.engines.server_records import Slot
        from ops.engines.server_start import release

        release(Slot.here(), self.startup_timeout_seconds if wait else 0.0, wait=wait)
