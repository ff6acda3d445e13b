"""Drawing with vLLM from a model in training: its weights are handed over inside the process, without a file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ops.engines.base import Engine
from ops.engines.vllm_engine import VllmEngine
from ops.engines.vllm_loading import WHO
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError

Shapes = dict[str, tuple[int, ...]]


class VllmPolicy:
    """A ``PolicyEngine``: vLLM with a copy of the model in training, brought up to date by ``update``.

    vLLM loads ``model_path`` for the model's architecture, then takes the weights of ``model``, those of
    every tensor that the checkpoint has: its names are what vLLM knows, and all that it needs. Dtypes may differ:
    vLLM's own (``settings.dtype``) is what it rounds to.

    Raises:
        ModelError: when ``model_path`` is not a safetensors checkpoint with a tokenizer.
        EngineError: when vLLM is not installed or cannot run the model, or ``model`` is not one of this checkpoint's
            architecture, or with several GPUs for one model.
    """

    holds_a_copy = True

    def __init__(self, model: Any, tokenizer: Any, model_path: Path, settings: VllmSettings) -> None:
        if settings.tensor_parallel_size > 1:
            raise EngineError(
                WHO,
                "takes the weights of a model in training into its own process, and tensor_parallel_size "
                f"{settings.tensor_parallel_size} has a process for each GPU",
                field="engine.tensor_parallel_size",
                remedy="take 1, or engine transformers",
            )
        self._folder, self._shapes = model_path, checkpoint_shapes(model_path)
        self._weights(model)  # what does not fit is said before vLLM is loaded
        threads = torch.get_num_threads()
        self._engine = VllmEngine(model_path, settings, tokenizer)
        self.engine: Engine = self._engine
        if settings.threads is None:
            torch.set_num_threads(threads)  # training shares the process
        try:
            self.update(model)
        except BaseException:
            self.close()
            raise

    def update(self, model: Any) -> float:
        """Take the model's weights as they are now and forget the prefix cache; seconds that it took.

        Raises:
            EngineError: when responses are being drawn, or the model is of another shape than the checkpoint.
        """
        _wait()
        start = time.perf_counter()
        self._engine.reload(self._weights(model))
        _wait()
        return time.perf_counter() - start

    def _weights(self, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """The model's tensors under the names of the checkpoint, in its order."""
        from transformers.core_model_loading import revert_weight_conversion

        # What save_pretrained does but for tied weights, which a checkpoint may name once or twice.
        with torch.no_grad():
            found = revert_weight_conversion(model, model.state_dict())
        ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or []
        shapes = {
            name: shape
            for name, shape in self._shapes.items()
            if name in found or not any(re.search(pattern, name) for pattern in ignored)
        }
        for name, shape in shapes.items():
            has = tuple(found[name].shape) if name in found else None
            if has != shape:
                said = "none of this name" if has is None else f"one of shape {list(has)}"
                raise EngineError(
                    WHO,
                    f"the checkpoint {self._folder} has {name} of shape {list(shape)}, the model in training {said}",
                    remedy="train a model of this checkpoint's architecture, or take engine transformers",
                )
        return ((name, found[name]) for name in shapes)

    def close(self) -> None:
        """Stop vLLM and give back its memory; the model in training stays."""
        self.engine.close()


def checkpoint_shapes(folder: Path) -> Shapes:
    """Names and shapes of a checkpoint's tensors, from the files' headers and in their order.

    Files that the index does not name are other copies of the weights, which vLLM leaves out as well.
    """
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (folder / "model.safetensors").exists():
        files = ["model.safetensors"]
    else:
        files = sorted(path.name for path in folder.glob("*.safetensors"))
    shapes: Shapes = {}
    for file in files:
        with safe_open(folder / file, framework="pt") as opened:
            shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    return shapes


def _wait() -> None:
    """Until a GPU has done what it was told: the optimiser's step before, the copying after a handover."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
