"""Verifiers that read a choice between two words off the next token after the question."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ops.engines.base import Engine
from ops.prompts.base import PromptFormat
from ops.types import Verification
from ops.verifiers.base import ModelVerifier, VerificationItem, positions_by_text

BLOCK = 8192


class ChoiceVerifier(ModelVerifier):
    """Base: a score per response from the log-probabilities of two words, each one token of the verifier model.

    The score is a function of problem and response, so equal responses are scored once. A prompt after which neither
    word has any probability in double precision has no score.
    """

    @abc.abstractmethod
    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        """The prompt whose next token is one of the words."""

    @abc.abstractmethod
    def words(self, prompts: PromptFormat) -> tuple[str, str]:
        """The words for (correct, incorrect)."""

    @abc.abstractmethod
    def scores_of(self, logprob_N2: np.ndarray) -> np.ndarray:
        """Scores float [N] of the two words' log-probabilities in nats; NaN where there is none."""

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        places = list(positions_by_text(f"{item.problem.problem_id}\0{item.response}" for item in items).values())
        for start in range(0, len(places), BLOCK):
            part = places[start : start + BLOCK]
            questions = [self.question(prompts, items[group[0]]) for group in part]
            score_N = self.scores_of(engine.choice_logprobs(questions, self.words(prompts)))
            done = []
            for group, score in zip(part, score_N.tolist(), strict=True):
                known = None if math.isnan(score) else score
                verification = Verification(known, self.verdict_of(known))
                done += [(index, verification) for index in group]
            yield done
