"""Pretraining documents of the built-in recipes: solving, four ways to verify, and drills.

A document is a list of (word, loss weight). The loss falls on what the model must learn to write;
verdict words weigh more. A right attempt also teaches solving; of a wrong attempt only its end mark,
its trace and its verdict are learnt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ops.builtin.countdown import CountdownExercises
from ops.builtin.exercises import Attempt, Exercises, Key
from ops.builtin.notation import (
    BAD,
    BINARY,
    BOS,
    END,
    EOS,
    LOGIT,
    NO,
    OK,
    QUESTIONS,
    SCORE,
    THEREFORE,
    TOURNAMENT,
    VOCABULARY,
    YES,
    attempt_words,
    true_result_word,
)
from ops.tasks.steps import LARGEST, Step
from ops.training.loss import TokenDocument

VERDICT_WEIGHT = 4.0
Document = list[tuple[str, float]]


@dataclass
class Material:
    """What documents are made from.

    Attributes:
        keys: training problems; never a held-out one.
        own_attempts: per problem the model's own (right, wrong) attempts, once it can make some.
        own_share: share of verification documents that grade the model's own attempts.
        exercises: of the recipe.
    """

    keys: Sequence[Key]
    own_attempts: Mapping[Key, tuple[list[Attempt], list[Attempt]]] = field(default_factory=dict)
    own_share: float = 0.0
    exercises: Exercises = field(default_factory=CountdownExercises)

    def __post_init__(self) -> None:
        self.own_keys = [key for key, (right, wrong) in self.own_attempts.items() if right or wrong]

    def pose(self, rng: random.Random) -> tuple[Key, list[str]]:
        """A problem, and its words as they are shown."""
        key = rng.choice(self.keys)
        return key, self.exercises.shown(rng, key)

    def pose_for_verification(self, rng: random.Random) -> tuple[Key, list[str], bool]:
        """A problem to verify, and whether its attempts are the model's own."""
        if self.own_keys and rng.random() < self.own_share:
            key = rng.choice(self.own_keys)
            return key, self.exercises.shown(rng, key), True
        return (*self.pose(rng), False)

    def attempt(self, rng: random.Random, key: Key, own: bool) -> Attempt:
        """An attempt, half of them right."""
        right = rng.random() < 0.5
        if own:
            pool = self.own_attempts[key][0 if right else 1]
            if pool:
                return rng.choice(pool)
        return self.exercises.right(rng, key) if right else self.exercises.wrong(rng, key)


def _plain(words: Sequence[str], weight: float = 0.0) -> Document:
    return [(word, weight) for word in words]


def _attempt(steps: Sequence[Step], right: bool) -> Document:
    """An attempt with its end mark; its own words are learnt only when it is right."""
    return [*_plain(attempt_words(steps), 1.0 if right else 0.0), (END, 1.0)]


def _trace(exercises: Exercises, steps: Attempt, key: Key) -> Document:
    words = exercises.trace(steps, key)
    return [(word, exercises.flag_weight if word in (OK, BAD) else 1.0) for word in words]


def solve(rng: random.Random, material: Material) -> Document:
    """``<s> 10 8 6 -> 12 : [10 + 8 = 18 ; 18 - 6 = 12 . </s>]``."""
    key, shown = material.pose(rng)
    steps = material.exercises.right(rng, key)
    return [*_plain([BOS, *shown, ":"]), *_attempt(steps, True), (EOS, 1.0)]


def logit(rng: random.Random, material: Material) -> Document:
    """``<s> PROBLEM : ATTEMPT [.] ? [no] : ATTEMPT [.] ? [yes] ...``, or every attempt after ``<s> PROBLEM`` anew."""
    key, shown, own = material.pose_for_verification(rng)
    document = _plain([BOS, *shown])
    for i in range(material.exercises.logit_attempts):
        if i and not material.exercises.same_problem:
            key, shown, own = material.pose_for_verification(rng)
            document += _plain([BOS, *shown])
        steps = material.attempt(rng, key, own)
        right = material.exercises.is_right(steps, key)
        document += [(":", 0.0), *_attempt(steps, right), (LOGIT, 0.0), (YES if right else NO, VERDICT_WEIGHT)]
    return document


def _traced(
    rng: random.Random, material: Material, mark: str, count: int, verdict: Callable[[Attempt, Key], str]
) -> Document:
    key, shown, own = material.pose_for_verification(rng)
    exercises = material.exercises
    document = _plain([BOS, *shown])
    for i in range(count):
        if i and not material.exercises.same_problem:
            key, shown, own = material.pose_for_verification(rng)
            document += [(EOS, 1.0), *_plain([BOS, *shown])]
        steps = material.attempt(rng, key, own)
        colon = 1.0 if i and exercises.same_problem else 0.0
        document += [(":", colon), *_attempt(steps, exercises.is_right(steps, key)), (mark, 0.0)]
        document += [*_trace(exercises, steps, key), (THEREFORE, 1.0), (verdict(steps, key), VERDICT_WEIGHT)]
    return [*document, (EOS, 1.0)]


def binary(rng: random.Random, material: Material) -> Document:
    """``<s> PROBLEM : ATTEMPT [.] # [TRACE => no :] ATTEMPT [.] # [TRACE => yes </s>]``."""
    return _traced(rng, material, BINARY, 2, lambda steps, key: YES if material.exercises.is_right(steps, key) else NO)


def score(rng: random.Random, material: Material) -> Document:
    """As ``binary`` after ``%``, ending in ``=> 0..10``."""
    return _traced(rng, material, SCORE, 2, lambda steps, key: str(material.exercises.score(rng, steps, key)))


def tournament(rng: random.Random, material: Material) -> Document:
    """``<s> PROBLEM : A ATTEMPT . B ATTEMPT . ! [A TRACE B TRACE => A </s>]``, one of the two right."""
    key, shown, own = material.pose_for_verification(rng)
    exercises = material.exercises
    pair = [exercises.right(rng, key), exercises.wrong(rng, key)]
    if own:
        pair = [rng.choice(pool) if pool else made for pool, made in zip(material.own_attempts[key], pair, strict=True)]
    winner = rng.choice("AB")
    attempts = pair if winner == "A" else pair[::-1]
    document = _plain([BOS, *shown, ":"])
    for letter, steps in zip("AB", attempts, strict=True):
        document += [(letter, 0.0), *_attempt(steps, exercises.is_right(steps, key))]
    document.append((TOURNAMENT, 0.0))
    for letter, steps in zip("AB", attempts, strict=True):
        document += [(letter, 1.0), *_trace(exercises, steps, key)]
    return [*document, (THEREFORE, 1.0), (winner, VERDICT_WEIGHT), (EOS, 1.0)]


def _fact(rng: random.Random, material: Material) -> Step:
    """A claimed step as it occurs in attempts, true half the time; false ones are mostly near misses."""
    while True:
        step = material.exercises.true_step(rng)
        if rng.random() < 0.5:
            return step
        off = (
            rng.choice((-10, -3, -2, -1, -1, 1, 1, 2, 3, 10)) if rng.random() < 0.7 else rng.randint(-LARGEST, LARGEST)
        )
        if off and 0 <= step.result + off <= LARGEST:
            return step._replace(result=step.result + off)


def quote(rng: random.Random, material: Material, count: int = 6) -> Document:
    """``<s> quote  3 * 9 = 28 [bad] ...``."""
    document: Document = [(BOS, 0.0), ("quote", 0.0)]
    for _ in range(count):
        step = _fact(rng, material)
        right = true_result_word(step) == str(step.result)
        document += [*_plain(attempt_words([step])), (OK if right else BAD, VERDICT_WEIGHT)]
    return document


def recompute(rng: random.Random, material: Material, count: int = 6) -> Document:
    """``<s> recompute  3 * 9 = 28 [27 bad] ...``."""
    document: Document = [(BOS, 0.0), ("recompute", 0.0)]
    for _ in range(count):
        step = _fact(rng, material)
        right = true_result_word(step) == str(step.result)
        document += [
            *_plain(attempt_words([step])),
            (true_result_word(step), 1.0),
            (OK if right else BAD, VERDICT_WEIGHT),
        ]
    return document


DOCUMENTS = {
    "solve": solve,
    "logit": logit,
    "binary": binary,
    "score": score,
    "tournament": tournament,
    "quote": quote,
    "recompute": recompute,
}


REPLAY_MIX = {"quote": 0.06, "recompute": 0.06, "logit": 0.32, "binary": 0.28, "score": 0.12, "tournament": 0.16}


def replay_batch(step: int, count: int, seed: int, material: Material) -> list[TokenDocument]:
    """Verification documents that fine-tuning replays: a function of (seed, step) and the material.

    Their attempts carry no loss, so that replay keeps verifying alive and teaches no solving.
    """
    rng = random.Random(f"replay:{seed}:{step}")
    kinds = rng.choices(list(REPLAY_MIX), weights=list(REPLAY_MIX.values()), k=count)
    return [to_tokens(DOCUMENTS[kind](rng, material), learn_attempts=False) for kind in kinds]


def to_tokens(document: Document, learn_attempts: bool = True) -> TokenDocument:
    """Words to token ids; ``learn_attempts`` False takes the loss off attempts and their end marks."""
    ids = [VOCABULARY[word] for word, _ in document]
    weights = [weight for _, weight in document]
    if not learn_attempts:
        attempt = True
        for i, (word, _) in enumerate(document):
            if word in QUESTIONS:
                attempt = False
            elif word == ":":
                attempt = True
            elif attempt:
                weights[i] = 0.0
    return TokenDocument(ids, weights)
