"""Which tokens of a drawn response are its final answer: they carry no bonus (arXiv 2509.06941 §4, as reported).

Offsets are found by decoding prefixes of the drawn tokens. That is exact for every tokenizer, also where one character
is several tokens or one token several characters; encoding the text again would not give back the drawn tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ops.exploration.bonuses.base import Bonus, OutcomeBonus
from ops.tasks.base import Task

_OPEN = "\ufffd"
"""What decoding shows for a character whose bytes are not all there yet."""


def answer_mask(tokenizer: Any, response_ids: Sequence[int], text: str, span: tuple[int, int] | None) -> np.ndarray:
    """Tokens that stand, wholly or in part, for the characters ``text[span[0]:span[1]]``.

    A token that holds a part of the answer and something else is an answer token. End and stop tokens are none: they
    stand for no character of the text. Where the tokens do not decode to ``text`` (an engine that writes bytes which
    are no UTF-8 in its own way), nobody can tell which are the answer's, and all are masked.

    Args:
        tokenizer: the model's; ``decode`` is called about 2 log2(T) times.
        response_ids: the T drawn tokens, with the end or stop token where one was drawn.
        text: the response, as the engine gave it: decoded without special tokens, and cut before a stop string.
        span: first character and the one after the last; None or empty: no token.

    Returns:
        bool, shape [T].
    """
    mask_T = np.zeros(len(response_ids), dtype=bool)
    if span is None or span[0] >= span[1]:
        return mask_T
    ids = list(response_ids)

    def prefix(length: int) -> str:
        return str(tokenizer.decode(ids[:length], skip_special_tokens=True))

    if not prefix(len(ids)).startswith(text):
        mask_T[:] = True
        return mask_T
    first = _first(len(ids), lambda i: _ends(prefix(i + 1), text) > span[0])
    after = _first(len(ids), lambda i: _starts(prefix(i), text) >= span[1])
    mask_T[first:after] = True
    return mask_T


def masks_answer(bonus: Bonus, task: Task) -> bool:
    """Whether answer tokens carry no bonus: what ``bonus.mask_answer`` says, or else where the answer is a part."""
    if not isinstance(bonus, OutcomeBonus):
        return False
    return task.answer_is_part if bonus.mask_answer is None else bonus.mask_answer


def check_mask(bonus: Bonus, task: Task) -> None:
    """Refuse a mask that would leave no token.

    Raises:
        ValueError: ``field: what was expected``, the field as in the experiment file.
    """
    if masks_answer(bonus, task) and not task.answer_is_part:
        raise ValueError(
            "exploration.bonus.mask_answer: null or false with a task whose answer is the whole response (nothing "
            f"would carry the bonus), got true with task {task.name}"  # type: ignore[attr-defined]
        )


def _starts(before: str, text: str) -> int:
    """Where the token after ``before`` starts. An open character is this token's too, and so is one that never closes
    (bytes that are no UTF-8): rather a token too many is masked than one too few.
    """
    return _common(before.rstrip(_OPEN), text)


def _ends(upto: str, text: str) -> int:
    """Where the last token of ``upto`` ends: behind a character that it opens or goes on with."""
    closed = upto.rstrip(_OPEN)
    return max(_common(upto, text), _common(closed, text) + (len(closed) < len(upto)))


def _common(left: str, right: str) -> int:
    """Characters that two texts have in common at their beginning."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    return next(i for i in range(most) if left[i] != right[i])


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first i in 0..count - 1 from which on ``holds`` is true, by bisection; count where it never is."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
