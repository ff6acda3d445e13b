"""The group: the n responses of one problem at one step, as rewards, advantages and bonuses see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Group:
    """One problem's responses that were drawn together. Arrays are [N], in the order of ``answers``.

    Attributes:
        answers: canonical final answers, None where a response is unparseable.
        correct_N: bool; an unparseable response is not correct.
        logprob_N: sum of the natural-log probabilities of a response's tokens under the policy that drew it.
        seen_N: N(x, a_i), how often the answer has been counted for the problem over training, as the bonus wants it
            (``Bonus.counting``, ``Bonus.unparseable``); 0 where it was never counted.
    """

    answers: tuple[str | None, ...]
    correct_N: np.ndarray
    logprob_N: np.ndarray
    seen_N: np.ndarray

    @property
    def n(self) -> int:
        """Responses of the group."""
        return len(self.answers)
