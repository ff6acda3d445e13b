"""The embedded engine: any decoder that transformers loads, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from ops.engines.base import SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.decoding import Arena, decode, left_padded
from ops.engines.teacher_forcing import batches, read_tokens, rows_at_once
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError, ModelError
from ops.types import Completion

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
        """Wrap a model that is already in memory."""
        engine = cls.__new__(cls)
        engine._set(model, tokenizer, settings)
        return engine

    def _set(self, model: Any, tokenizer: Any, settings: TransformersEngineSettings) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self._arena = Arena()
        eos = model.generation_config.eos_token_id if model.generation_config else None
        eos = eos if eos is not None else tokenizer.eos_token_id
        self.eos_ids = list(eos) if isinstance(eos, list | tuple) else [] if eos is None else [eos]
        pad = tokenizer.pad_token_id
        self.pad_id = pad if pad is not None else self.eos_ids[0] if self.eos_ids else 0

    def sample(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """See ``Engine.sample``. Batches are made of prompts of like length; each finished batch is yielded."""
        was_training = self.model.training
        self.model.eval()
        prompts = self._encode([request.prompt for request in requests], settings.max_tokens)
        stop_ids, text_stops = self._stops(settings.stop)
        try:
            for rows in self._batches(prompts, requests):
                used = sorted({index for index, _ in rows})
                place = {index: i for i, index in enumerate(used)}
                drawn = decode(
                    self.model,
                    self.tokenizer,
                    [prompts[index] for index in used],
                    [place[index] for index, _ in rows],
                    [requests[index].seeds[j] for index, j in rows],
                    settings,
                    stop_ids,
                    text_stops,
                    self.pad_id,
                    self._arena,
                )
                completions = self._completions(drawn, set(stop_ids), text_stops)
                yield [(index, j, done) for (index, j), done in zip(rows, completions, strict=True)]
        finally:
            self.model.train(was_training)

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
            longer = length > shortest * 1.25 + 8 and len(batch) >= self.settings.batch_size // 4
            if batch and (full or longer):
                yield batch
                batch = []
            for j in range(len(requests[index].seeds)):
                if not batch:
                    shortest, prefill = length, 0
                if not batch or batch[-1][0] != index:
                    prefill += length
                batch.append((index, j))
                if len(batch) == self.settings.batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``."""
        choice_ids = [self._single_token(choice) for choice in choices]
        encoded = self._encode(list(prompts), 0)
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        result = np.empty((len(encoded), len(choices)))
        self.model.eval()
        start = 0
        while start < len(order):
            stop = start + 1
            length = len(encoded[order[start]])
            while (
                stop < len(order)
                and stop - start < self.settings.batch_size
                and len(encoded[order[stop]]) <= length * 1.25 + 8
                and (stop - start + 1) * len(encoded[order[stop]]) <= PREFILL_TOKENS
            ):
                stop += 1
            rows = order[start:stop]
            result[rows] = self._last_logprobs([encoded[row] for row in rows])[:, choice_ids].double().cpu().numpy()
            start = stop
        return result

    @torch.inference_mode()
    def _last_logprobs(self, rows: Sequence[list[int]]) -> torch.Tensor:
        """Log-softmax of the token after each row, float32 [B, V]; left padding, masked."""
        input_BT, mask_BT, position_BT = left_padded(rows, self.pad_id, self.model.device)
        logits = self.model(
            input_ids=input_BT, attention_mask=mask_BT, position_ids=position_BT, use_cache=False, logits_to_keep=1
        ).logits[:, -1]
        return torch.log_softmax(logits.float(), -1)

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """See ``Engine.token_statistics``. Equal prompts share their prefill; memory for logits is bounded."""
        heads = self._encode(list(prompts), 0)
        tails = self.tokenizer(list(continuations), add_special_tokens=False)["input_ids"] if continuations else []
        room = getattr(self.model.config, "max_position_embeddings", None)
        longest = max((len(head) + len(tail) for head, tail in zip(heads, tails, strict=True)), default=0)
        if room is not None and longest > room:
            raise EngineError(
                "engine transformers",
                f"a prompt and its response have {longest} tokens, more than the model's context of {room}",
                field="max_tokens",
                remedy="take a model with a longer context, or leave this verifier out",
            )
        found = [TokenStatistics(0, 0.0, float("nan"))] * len(heads)
        most = min(self.settings.batch_size, rows_at_once(self.model))
        was_training = self.model.training
        self.model.eval()
        try:
            for rows in batches(prompts, heads, tails, most, PREFILL_TOKENS):
                used = {prompts[row]: heads[row] for row in rows}
                place = {prompt: i for i, prompt in enumerate(used)}
                logprob_B, kl_B = read_tokens(
                    self.model,
                    list(used.values()),
                    [place[prompts[row]] for row in rows],
                    [tails[row] for row in rows],
                    self.pad_id,
                )
                for row, logprob, kl in zip(rows, logprob_B, kl_B, strict=True):
                    found[row] = TokenStatistics(len(tails[row]), logprob, kl / len(tails[row]))
        finally:
            self.model.train(was_training)
        return found

    def _encode(self, texts: list[str], new_tokens: int) -> list[list[int]]:
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        room = getattr(self.model.config, "max_position_embeddings", None)
        longest = max((len(ids) for ids in encoded), default=0)
        if room is not None and longest + new_tokens > room:
            raise EngineError(
                "engine transformers",
                f"a prompt of {longest} tokens and {new_tokens} new tokens exceed the model's context of {room}",
                field="max_tokens",
                remedy="lower max_tokens, or take a model with a longer context",
            )
        if any(len(ids) == 0 for ids in encoded):
            raise EngineError("engine transformers", "a prompt has no tokens", remedy="check the prompt format")
        return encoded

    def _single_token(self, word: str) -> int:
        ids = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise EngineError(
                "engine transformers",
                f"the choice {word!r} is {len(ids)} tokens of this model, expected one",
                remedy="choose other words for logit verification, or leave the logit verifier out",
            )
        return ids[0]

    def _stops(self, stops: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
        """Stop strings that are one token are stopped at by id, the others by looking at the text."""
        ids, texts = list(self.eos_ids), []
        for stop in stops:
            encoded = self.tokenizer(stop, add_special_tokens=False)["input_ids"]
            if len(encoded) == 1 and self.tokenizer.decode(encoded) == stop:
                ids.append(encoded[0])
            texts.append(stop)
        single = {self.tokenizer.decode([token]) for token in ids}
        return ids, tuple(stop for stop in texts if stop not in single)

    def _completions(self, drawn: Any, stop_ids: set[int], text_stops: tuple[str, ...]) -> list[Completion]:
        tokens = drawn.tokens_BT.tolist()
        lengths, stopped = drawn.length_B.tolist(), drawn.stopped_B.tolist()
        logprob_BT = drawn.logprob_BT.double().cumsum(1).cpu().numpy()
        bodies = [row[: n - 1] if end else row[:n] for row, n, end in zip(tokens, lengths, stopped, strict=True)]
        texts = self._decode(bodies)
        completions = []
        for i, text in enumerate(texts):
            length, finished = lengths[i], stopped[i]
            cuts = [text.find(stop) for stop in text_stops if stop in text]
            if cuts:
                length, finished = self._length_to(bodies[i], text_stops), True
                text = text[: min(cuts)]
            logprob = float(logprob_BT[i, length - 1])
            completions.append(Completion(text, length, logprob, "stop" if finished else "length"))
        return completions

    def _decode(self, rows: list[list[int]]) -> list[str]:
        different = list(dict.fromkeys(tuple(row) for row in rows))
        texts = self.tokenizer.batch_decode([list(row) for row in different], skip_special_tokens=True)
        known = dict(zip(different, texts, strict=True))
        return [known[tuple(row)] for row in rows]

    def _length_to(self, row: list[int], text_stops: tuple[str, ...]) -> int:
        """Tokens up to and including the first stop string."""
        for length in range(1, len(row) + 1):
            text = self.tokenizer.decode(row[:length], skip_special_tokens=True)
            if any(stop in text for stop in text_stops):
                return length
        return len(row)

    def close(self) -> None:
        """Drop the model; on a GPU its memory is given back."""
        self.model, self._arena = None, Arena()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a checkpoint folder.

    Raises:
        ModelError: when there is none that loads.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            str(path), f"no tokenizer that loads: {_first_line(error)}", remedy="save the tokenizer with the model"
        ) from error


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
            f"not a checkpoint that loads: {_first_line(error)}",
            remedy="save it with save_pretrained(safe_serialization=True)",
        ) from error
    return model.to(_device(settings.device)).eval()  # type: ignore[arg-type]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(
            "engine transformers",
            f"device {name!r} is not available: {_first_line(error)}",
            field="engine.device",
            remedy="use auto or cpu",
        ) from error
    return device


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
