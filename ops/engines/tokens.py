"""What engines share before and after the model: tokens of prompts, what fits, where a response ends, its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from ops.engines.base import Fit, SampleRequest
from ops.engines.fitting import refuse_misfits
from ops.errors import EngineError, ModelError
from ops.types import Completion

WINDOW_SAMPLES = 65_536
"""Samples that an engine holds at once, asked for or being drawn; a stage may want any number."""


@dataclass(frozen=True)
class Stops:
    """Where a response ends: after one of ``ids``, or where one of the strings ``texts`` appears."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class DrawnRow:
    """What was drawn for one sample.

    Attributes:
        ids: token ids, the one that stopped it included.
        running_logprob: for each token the sum of the natural-log probabilities up to it.
        stopped: whether the last token is a stop id.
    """

    ids: Sequence[int]
    running_logprob: Sequence[float] | np.ndarray
    stopped: bool


class Tokens:
    """The tokenizer of one model with its context and its end-of-sequence tokens.

    Args:
        context: tokens that the model can take in; None where it has no limit.
        who: the engine, for error messages.
    """

    def __init__(self, tokenizer: Any, eos_ids: Sequence[int], context: int | None, who: str) -> None:
        self.tokenizer, self.eos_ids, self.context, self.who = tokenizer, list(eos_ids), context, f"engine {who}"
        self._last: tuple[list[str], list[list[int]]] = [], []

    @classmethod
    def of_folder(cls, path: Path, who: str, context: int | None = None, tokenizer: Any = None) -> Tokens:
        """The tokens of a checkpoint folder, without its weights.

        Args:
            context: a limit of the engine's own, where it is lower than the model's.
            tokenizer: one that is loaded already; None loads the folder's.

        Raises:
            ModelError: when there is no tokenizer or no configuration that loads.
        """
        tokenizer = load_tokenizer(path) if tokenizer is None else tokenizer
        try:
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                str(path), f"no configuration that loads: {first_line(error)}", remedy="save it with save_pretrained"
            ) from error
        try:
            generation = transformers.GenerationConfig.from_pretrained(path, local_files_only=True)
            eos = generation.eos_token_id
        except OSError:  # a checkpoint without generation_config.json
            eos = config.eos_token_id
        limits = [n for n in (context, getattr(config, "max_position_embeddings", None)) if n is not None]
        return cls(tokenizer, eos_list(eos, tokenizer), min(limits, default=None), who)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; special tokens are written out in it, none is added.

        The last answer is remembered: whether prompts fit is asked before they are used.
        """
        texts = list(texts)
        if texts != self._last[0]:
            self._last = texts, self._encoded(texts)
        return self._last[1]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if not texts or fast is None:
            return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        # What the call above does for these tokenizers, without making offsets and masks that nobody reads.
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = bool(getattr(self.tokenizer, "split_special_tokens", False))
        return [encoding.ids for encoding in fast.encode_batch_fast(texts, add_special_tokens=False)]

    def encode(self, texts: Sequence[str], new_tokens: int) -> list[list[int]]:
        """Token ids of prompts that have to fit together with ``new_tokens`` more.

        Raises:
            EngineError: when one does not.
        """
        encoded = self.ids(texts)
        self.check([Fit(len(head), new_tokens, self.context) for head in encoded])
        return encoded

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``."""
        heads = self.ids(prompts)
        after = [new_tokens] * len(heads) if continuations is None else [len(tail) for tail in self.ids(continuations)]
        return [Fit(len(head), more, self.context) for head, more in zip(heads, after, strict=True)]

    def check(self, found: Sequence[Fit]) -> None:
        """Refuse what does not fit, naming the longest.

        Raises:
            EngineError: when something does not.
        """
        refuse_misfits(self.who, found)

    def single_token(self, word: str) -> int:
        """The id of a word that is one token.

        Raises:
            EngineError: when it is not.
        """
        problem = no_single_token(self.tokenizer, word)
        if problem is not None:
            remedy = "choose other words for logit verification, or leave the logit verifier out"
            raise EngineError(self.who, f"the choice {word!r} {problem}", remedy=remedy)
        return self.tokenizer(word, add_special_tokens=False)["input_ids"][0]

    def stops(self, stops: Sequence[str]) -> Stops:
        """Stop strings that are one token are stopped at by id, the others by looking at the text."""
        ids = list(self.eos_ids)
        for stop in stops:
            encoded = self.tokenizer(stop, add_special_tokens=False)["input_ids"]
            if len(encoded) == 1 and self.tokenizer.decode(encoded) == stop:
                ids.append(encoded[0])
        single = {self.tokenizer.decode([token]) for token in ids}
        return Stops(tuple(ids), tuple(stop for stop in stops if stop not in single))

    def completions(
        self, rows: Sequence[DrawnRow], texts: Sequence[str], with_tokens: bool = False
    ) -> list[Completion]:
        """Drawn tokens as completions, cut at the first of the stop strings ``texts``.

        Args:
            with_tokens: keep the token ids of each, up to the one that ended it.
        """
        bodies = [list(row.ids[:-1]) if row.stopped else list(row.ids) for row in rows]
        completions = []
        for row, body, text in zip(rows, bodies, self._decode(bodies), strict=True):
            length, finished = len(row.ids), row.stopped
            cuts = [text.find(stop) for stop in texts if stop in text]
            if cuts:
                length, finished = self._length_to(body, texts), True
                text = text[: min(cuts)]
            logprob = float(row.running_logprob[length - 1])
            kept = tuple(row.ids[:length]) if with_tokens else ()
            completions.append(Completion(text, length, logprob, "stop" if finished else "length", kept))
        return completions

    def _decode(self, rows: list[list[int]]) -> list[str]:
        different = list(dict.fromkeys(tuple(row) for row in rows))
        texts = self.tokenizer.batch_decode([list(row) for row in different], skip_special_tokens=True)
        known = dict(zip(different, texts, strict=True))
        return [known[tuple(row)] for row in rows]

    def _length_to(self, row: list[int], stops: Sequence[str]) -> int:
        """Tokens up to and including the first stop string."""
        for length in range(1, len(row) + 1):
            text = self.tokenizer.decode(row[:length], skip_special_tokens=True)
            if any(stop in text for stop in stops):
                return length
        return len(row)


def eos_list(eos: Any, tokenizer: Any) -> list[int]:
    """End-of-sequence ids as a list: what a configuration says, or else the tokenizer."""
    eos = eos if eos is not None else tokenizer.eos_token_id
    return list(eos) if isinstance(eos, list | tuple) else [] if eos is None else [eos]


def windows(requests: Iterable[SampleRequest], samples: int = WINDOW_SAMPLES) -> Iterator[list[SampleRequest]]:
    """Requests in lists of at most so many samples each (one that has more stands alone), read as they are needed."""
    window: list[SampleRequest] = []
    held = 0
    for request in requests:
        if window and held + len(request.seeds) > samples:
            yield window
            window, held = [], 0
        window.append(request)
        held += len(request.seeds)
    if window:
        yield window


def no_single_token(tokenizer: Any, word: str) -> str | None:
    """Why a word is not one token of this tokenizer; None where it is."""
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        return "is unknown to this tokenizer"
    return None if len(ids) == 1 else f"is {len(ids)} tokens of this model, expected one token"


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a checkpoint folder.

    Raises:
        ModelError: when there is none that loads, or one that knows no word: for some kinds of model transformers
            makes that up where the folder has none.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            str(path), f"no tokenizer that loads: {first_line(error)}", remedy="save the tokenizer with the model"
        ) from error
    if not tokenizer("Problem", add_special_tokens=False)["input_ids"]:
        raise ModelError(str(path), "no tokenizer that knows a word", remedy="save the tokenizer with the model")
    return tokenizer


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
