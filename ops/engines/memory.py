"""Out of memory: the batch is halved and the work goes on: but for rounding, results do not depend on batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from ops.errors import EngineError

Row = TypeVar("Row")
Result = TypeVar("Result")

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Of allocators that raise a plain RuntimeError: the CPU's, MPS', and what cuBLAS says of its workspace."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocator found no memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def in_parts(
    rows: Sequence[Row], run: Callable[[Sequence[Row]], Result], release: Callable[[], None]
) -> Iterator[tuple[Sequence[Row], Result]]:
    """``run`` of all rows at once, or of halves of them (of halves of these ...) where memory runs out.

    Args:
        release: gives back the memory that a failed attempt has left behind.

    Raises:
        EngineError: when a single row is too much.
    """
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        failure = ""
        try:
            result = run(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not failure:
            yield part, result
            continue
        # Out of the `except`, so that its traceback keeps no tensor of the failed attempt alive.
        release()
        if len(part) == 1:
            raise EngineError(
                "engine transformers",
                f"no memory for a single sequence: {failure}",
                field="engine.batch_size, engine.dtype",
                remedy="take dtype: bfloat16, a lower max_tokens or a smaller model; batches were halved down to 1",
            )
        logging.getLogger("mindgap").warning(
            "no memory for %d sequences at once: going on with half as many", len(part)
        )
        half = len(part) // 2
        waiting += [part[half:], part[:half]]
