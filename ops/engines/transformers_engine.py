"""The embedded engine: any decoder that transformers loads, on CPU or GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers

from ops.engines.base import Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.choices import ChoiceReader, packed
from ops.engines.decoding import Arena, Drawn, decode
from ops.engines.memory import in_parts, is_out_of_memory
from ops.engines.teacher_forcing import batches, read_tokens, rows_at_once
from ops.engines.tokens import DrawnRow, Stops, Tokens, eos_list, first_line, load_tokenizer, windows
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError, ModelError
from ops.types import Completion

Row = TypeVar("Row")
Result = TypeVar("Result")

PREFILL_TOKENS = 65_536
"""Prompt tokens per forward pass, at most."""


class TransformersEngine:
    """One loaded model behind the ``Engine`` interface.

    Raises:
        ModelError: when ``model_path`` is not a safetensors checkpoint that transformers loads
            without code from the checkpoint.
        EngineError: when the wanted device is not there.
    """

    name = "transformers"
    version = transformers.__version__

    def __init__(self, model_path: Path, settings: TransformersEngineSettings) -> None:
        tokenizer = load_tokenizer(model_path)
        model = load_model(model_path, settings)
        self._set(model, tokenizer, settings)

    @classmethod
    def from_model(cls, model: Any, tokenizer: Any, settings: TransformersEngineSettings) -> TransformersEngine:
        """Wrap a model that is already in memory, and is its owner's to train between calls.

        Each call leaves the model as it was, and the memory of the KV cache to others.
        """
        engine = cls.__new__(cls)
        engine._set(model, tokenizer, settings)
        engine._keeps_arena = False
        return engine

    def _set(self, model: Any, tokenizer: Any, settings: TransformersEngineSettings) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self._arena, self._keeps_arena = Arena(), True
        self._batch_size = settings.batch_size  # lowered where memory runs out
        eos = model.generation_config.eos_token_id if model.generation_config else None
        room = getattr(model.config, "max_position_embeddings", None)
        self._tokens = Tokens(tokenizer, eos_list(eos, tokenizer), room, self.name)
        pad, ends = tokenizer.pad_token_id, self._tokens.eos_ids
        self.pad_id = pad if pad is not None else ends[0] if ends else 0

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """See ``Engine.sample``. Batches are made of prompts of like length; each finished batch is yielded."""
        stops, first = self._tokens.stops(settings.stop), 0
        try:
            with evaluating(self.model):
                for window in windows(requests):
                    for index, j, done in self._drawn(window, settings, stops):
                        yield [(first + i, place, item) for i, place, item in zip(index, j, done, strict=True)]
                    first += len(window)
        finally:
            if not self._keeps_arena:
                self._arena = Arena()

    def _drawn(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings, stops: Stops
    ) -> Iterator[tuple[list[int], list[int], list[Completion]]]:
        """Request indices, positions in their seeds and completions, batch by batch."""
        prompts = self._tokens.encode([request.prompt for request in requests], settings.max_tokens)

        def draw(rows: Sequence[tuple[int, int]]) -> Drawn:
            used = sorted({index for index, _ in rows})
            place = {index: i for i, index in enumerate(used)}
            return decode(
                self.model,
                self.tokenizer,
                [prompts[index] for index in used],
                [place[index] for index, _ in rows],
                [requests[index].seeds[j] for index, j in rows],
                settings,
                stops.ids,
                stops.texts,
                self.pad_id,
                self._arena,
            )

        for batch in self._batches(prompts, requests):
            for rows, drawn in self._in_parts(batch, draw):
                yield (
                    [index for index, _ in rows],
                    [j for _, j in rows],
                    self._completions(drawn, stops, settings.with_tokens),
                )

    def _in_parts(self, rows: Sequence[Row], run: Callable[[Sequence[Row]], Result]) -> Iterator[tuple[Any, Result]]:
        """``run`` of a batch, or of halves where memory runs out; later batches are then no larger either."""
        for part, result in in_parts(rows, run, self._release):
            if len(part) < len(rows):
                self._batch_size = min(self._batch_size, len(part))
            yield part, result

    def _release(self) -> None:
        self._arena = Arena()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batches(
        self, prompts: Sequence[list[int]], requests: Sequence[SampleRequest]
    ) -> Iterator[list[tuple[int, int]]]:
        """Rows (request, position in seeds), by prompt length, at most ``batch_size`` and in few lengths each."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        batch: list[tuple[int, int]] = []
        shortest = prefill = 0
        for index in order:
            length = len(prompts[index])
            full = prefill + length > PREFILL_TOKENS
            longer = length > shortest * 1.25 + 8 and len(batch) >= self._batch_size // 4
            if batch and (full or longer):
                yield batch
                batch = []
            for j in range(len(requests[index].seeds)):
                if not batch:
                    shortest, prefill = length, 0
                if not batch or batch[-1][0] != index:
                    prefill += length
                batch.append((index, j))
                if len(batch) >= self._batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``. What prompts begin with in common is computed once."""
        choice_ids = [self._tokens.single_token(choice) for choice in choices]
        places: dict[bytes, list[int]] = {}
        for place, ids in enumerate(self._tokens.encode(prompts, 0)):
            places.setdefault(packed(ids), []).append(place)
        result = np.empty((len(prompts), len(choices)))
        with evaluating(self.model):
            reader = ChoiceReader(self.model, choice_ids, self.pad_id, PREFILL_TOKENS)
            for batch in reader.batches(list(places), lambda: self._batch_size):
                for rows, found in self._in_parts(batch, reader.read):
                    for row, logprobs in zip(rows, found, strict=True):
                        result[places[row]] = logprobs
        return result

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """See ``Engine.token_statistics``. Equal prompts share their prefill; memory for logits is bounded."""
        heads, tails = self._tokens.ids(prompts), self._tokens.ids(continuations)
        room = self._tokens.context
        self._tokens.check([Fit(len(head), len(tail), room) for head, tail in zip(heads, tails, strict=True)])
        found = [TokenStatistics(0, 0.0, float("nan"))] * len(heads)
        limit = rows_at_once(self.model)

        def read(rows: Sequence[int]) -> tuple[list[float], list[float]]:
            used = {prompts[row]: heads[row] for row in rows}
            place = {prompt: i for i, prompt in enumerate(used)}
            return read_tokens(
                self.model,
                list(used.values()),
                [place[prompts[row]] for row in rows],
                [tails[row] for row in rows],
                self.pad_id,
            )

        with evaluating(self.model):
            for batch in batches(prompts, heads, tails, lambda: min(self._batch_size, limit), PREFILL_TOKENS):
                for rows, (logprob_B, kl_B) in self._in_parts(batch, read):
                    for row, logprob, kl in zip(rows, logprob_B, kl_B, strict=True):
                        found[row] = TokenStatistics(len(tails[row]), logprob, kl / len(tails[row]))
        return found

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``."""
        return self._tokens.fits(prompts, new_tokens, continuations)

    def usage(self) -> dict[str, float]:
        """See ``Engine.usage``: nothing is counted here."""
        return {}

    def _completions(self, drawn: Drawn, stops: Stops, with_tokens: bool) -> list[Completion]:
        tokens, logprob_BT = drawn.tokens_BT.tolist(), drawn.logprob_BT.double().cumsum(1).cpu().numpy()
        ends = zip(drawn.length_B.tolist(), drawn.stopped_B.tolist(), strict=True)
        rows = [DrawnRow(tokens[i][:n], logprob_BT[i, :n], stopped) for i, (n, stopped) in enumerate(ends)]
        return self._tokens.completions(rows, stops.texts, with_tokens)

    def close(self) -> None:
        """Drop the model; on a GPU its memory is given back."""
        self.model = None
        self._release()


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode; afterwards each of its modules is back in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def load_model(path: Path, settings: TransformersEngineSettings) -> Any:
    """The model of a checkpoint folder, in the engine's dtype and on its device.

    Raises:
        ModelError: when it does not load from safetensors alone.
        EngineError: when the device is not there.
    """
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, settings.dtype),
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            str(path),
            f"not a checkpoint that loads: {first_line(error)}",
            remedy="save it with save_pretrained(safe_serialization=True)",
        ) from error
    device = device_of(settings.device)
    try:
        return model.to(device).eval()  # type: ignore[arg-type]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise EngineError(
            "engine transformers",
            f"the model of {path} does not fit into the memory of {device}: {first_line(error)}",
            field="engine.dtype",
            remedy="take dtype: bfloat16, another device or a smaller model",
        ) from None


def device_of(name: str) -> torch.device:
    """The device that a setting means.

    Raises:
        EngineError: when it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(
            "engine transformers",
            f"device {name!r} is not available: {first_line(error)}",
            field="engine.device",
            remedy="use auto or cpu",
        ) from error
    return device
