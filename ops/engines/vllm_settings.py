"""Settings of the vLLM engine; loading it imports vLLM, reading the settings does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ops.engines.base import Engine, PolicyEngine
from ops.engines.settings import EngineSettings


class VllmSettings(EngineSettings):
    """vLLM in this process. None of the fields changes what is sampled, but for rounding.

    ``dtype`` auto is bfloat16 on a GPU, as vLLM's users expect, and float32 on a CPU, where it agrees with the
    transformers engine to 1e-3. ``enforce_eager`` None runs eagerly on a CPU (seconds to load instead of tens of
    seconds) and compiled, with CUDA graphs, on a GPU. ``kv_cache_gib`` None takes on a GPU what
    ``gpu_memory_utilization`` leaves, on a CPU a quarter of the free memory and at most 4 GiB.
    """

    name: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(None, ge=2)
    tensor_parallel_size: int = Field(1, ge=1, le=64)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    kv_cache_gib: float | None = Field(None, gt=0)
    max_num_seqs: int | None = Field(None, ge=1, le=65536)
    max_num_batched_tokens: int | None = Field(None, ge=1)
    enforce_eager: bool | None = None
    enable_prefix_caching: bool = True
    threads: int | None = Field(None, ge=1)
    cpu_binding: str = Field("nobind", min_length=1)

    @property
    def trains_policies(self) -> bool:
        return True

    def load(self, model_path: Path) -> Engine:
        from ops.engines.vllm_engine import VllmEngine

        return VllmEngine(model_path, self)

    def policy(self, model: Any, tokenizer: Any, model_path: Path) -> PolicyEngine:
        """See ``EngineSettings.policy``: vLLM holds a copy of the model."""
        from ops.engines.vllm_policy import VllmPolicy

        return VllmPolicy(model, tokenizer, model_path, self)
