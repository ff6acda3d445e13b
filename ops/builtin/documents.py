"""Pretraining documents of the Countdown recipe: solving, four ways to verify, and drills.

A document is a list of (word, loss weight). The loss falls on what the model must learn to write;
verdict words weigh more. A right attempt also teaches solving; of a wrong attempt only its end mark,
its trace and its verdict are learnt.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ops.builtin.notation import (
    BAD,
    BOS,
    END,
    EOS,
    NO,
    OK,
    VOCABULARY,
    YES,
    attempt_words,
    flaws,
    is_right,
    problem_words,
    trace_words,
    true_result_word,
)
from ops.tasks.countdown import solutions
from ops.tasks.steps import LARGEST, Step, apply
from ops.training.loss import TokenDocument

VERDICT_WEIGHT = 4.0
_QUESTIONS = ("?", "#", "%", "!", "quote", "recompute")
Document = list[tuple[str, float]]
Key = tuple[tuple[int, ...], int]


@dataclass
class Material:
    """What documents are made from.

    Attributes:
        keys: training problems as (sorted numbers, target); never a held-out one.
        own_attempts: per problem the model's own (right, wrong) attempts, once it can make some.
        own_share: share of verification documents that grade the model's own attempts.
    """

    keys: Sequence[Key]
    own_attempts: Mapping[Key, tuple[list[tuple[Step, ...]], list[tuple[Step, ...]]]] = field(default_factory=dict)
    own_share: float = 0.0

    def __post_init__(self) -> None:
        self.own_keys = [key for key, (right, wrong) in self.own_attempts.items() if right or wrong]
        self._solved: dict[Key, list[tuple[Step, ...]]] = {}

    def solutions(self, key: Key) -> list[tuple[Step, ...]]:
        """Every right chain of a problem, computed once."""
        if key not in self._solved:
            self._solved[key] = solutions(list(key[0]), key[1])
        return self._solved[key]

    def pose(self, rng: random.Random) -> tuple[Key, list[int]]:
        """A problem with its numbers in the order in which they are shown."""
        key = rng.choice(self.keys)
        return key, rng.sample(key[0], len(key[0]))

    def pose_for_verification(self, rng: random.Random) -> tuple[Key, list[int], bool]:
        """A problem to verify, and whether its attempts are the model's own."""
        if self.own_keys and rng.random() < self.own_share:
            key = rng.choice(self.own_keys)
            return key, rng.sample(key[0], len(key[0])), True
        return (*self.pose(rng), False)

    def attempt(self, rng: random.Random, key: Key, own: bool) -> tuple[Step, ...]:
        """An attempt, half of them right."""
        right = rng.random() < 0.5
        if own:
            pool = self.own_attempts[key][0 if right else 1]
            if pool:
                return rng.choice(pool)
        if right:
            return rng.choice(self.solutions(key))
        return wrong_attempt(rng, self, key)


def random_chain(rng: random.Random, numbers: Sequence[int]) -> tuple[Step, ...]:
    """A legal chain over all numbers, to whatever target it leads."""
    while True:
        left, steps = list(numbers), []
        while len(left) > 1:
            rng.shuffle(left)
            a, b = left.pop(), left.pop()
            operator = rng.choice("+-*")
            result = apply(a, operator, b)
            if result is None:
                break
            steps.append(Step(a, operator, b, result))
            left.append(result)
        else:
            return tuple(steps)


def wrong_attempt(rng: random.Random, material: Material, key: Key) -> tuple[Step, ...]:
    """A synthetic wrong attempt: forced target 30 %, slip 25 %, number misuse 25 %, another target 20 %."""
    numbers, target = key
    while True:
        kind = rng.random()
        if kind < 0.30:
            steps = _force_target(random_chain(rng, numbers), target)
        elif kind < 0.55:
            steps = _slip(rng, rng.choice(material.solutions(key)))
        elif kind < 0.80:
            steps = _misuse(rng, numbers, target)
        else:
            steps = random_chain(rng, numbers)
        if not is_right(steps, numbers, target):
            return tuple(steps)


def _force_target(steps: tuple[Step, ...], target: int) -> tuple[Step, ...]:
    return (*steps[:-1], steps[-1]._replace(result=target))


def _slip(rng: random.Random, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """One result is off; later steps go on from the wrong value where it is used."""
    place = rng.randrange(len(steps))
    true = steps[place].result
    false = min(LARGEST, max(0, true + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))))
    out = [*steps[:place], steps[place]._replace(result=false)]
    for step in steps[place + 1 :]:
        left = false if step.left == true else step.left
        right = false if step.left != true and step.right == true else step.right
        result = apply(left, step.operator, right)
        step = Step(left, step.operator, right, step.result if result is None else result)
        true, false = steps[len(out)].result, step.result
        out.append(step)
    return tuple(out)


def _misuse(rng: random.Random, numbers: Sequence[int], target: int) -> tuple[Step, ...]:
    """A chain over numbers of which one is not given; half of them still claim the target."""
    changed = list(numbers)
    place = rng.randrange(len(changed))
    changed[place] = rng.choice(numbers) if rng.random() < 0.5 else rng.randint(1, 12)
    steps = random_chain(rng, changed)
    return _force_target(steps, target) if rng.random() < 0.25 else steps


def _plain(words: Sequence[str], weight: float = 0.0) -> Document:
    return [(word, weight) for word in words]


def _attempt(steps: Sequence[Step], right: bool) -> Document:
    """An attempt with its end mark; its own words are learnt only when it is right."""
    return [*_plain(attempt_words(steps), 1.0 if right else 0.0), (END, 1.0)]


def solve(rng: random.Random, material: Material) -> Document:
    """``<s> 10 8 6 -> 12 : [10 + 8 = 18 ; 18 - 6 = 12 . </s>]``."""
    key, shown = material.pose(rng)
    steps = rng.choice(material.solutions(key))
    return [*_plain([BOS, *problem_words(shown, key[1]), ":"]), *_attempt(steps, True), (EOS, 1.0)]


def logit(rng: random.Random, material: Material, count: int = 5) -> Document:
    """``<s> PROBLEM : ATTEMPT [.] ? [no] : ATTEMPT [.] ? [yes] ...``."""
    key, shown, own = material.pose_for_verification(rng)
    document = _plain([BOS, *problem_words(shown, key[1])])
    for _ in range(count):
        steps = material.attempt(rng, key, own)
        right = is_right(steps, *key)
        document += [(":", 0.0), *_attempt(steps, right), ("?", 0.0), (YES if right else NO, VERDICT_WEIGHT)]
    return document


def _traced(rng: random.Random, material: Material, mark: str, count: int, verdict) -> Document:
    key, shown, own = material.pose_for_verification(rng)
    document = _plain([BOS, *problem_words(shown, key[1])])
    for i in range(count):
        steps = material.attempt(rng, key, own)
        right = is_right(steps, *key)
        document += [(":", 1.0 if i else 0.0), *_attempt(steps, right), (mark, 0.0)]
        document += [*_plain(trace_words(steps, *key), 1.0), ("=>", 1.0), (verdict(rng, steps, key), VERDICT_WEIGHT)]
    return [*document, (EOS, 1.0)]


def binary(rng: random.Random, material: Material) -> Document:
    """``<s> PROBLEM : ATTEMPT [.] # [TRACE => no :] ATTEMPT [.] # [TRACE => yes </s>]``."""
    return _traced(rng, material, "#", 2, lambda _, steps, key: YES if is_right(steps, *key) else NO)


def score(rng: random.Random, material: Material) -> Document:
    """As ``binary`` after ``%``, ending in ``=> 0..10``: clean 8-10, one flaw 2-5, more 0-2."""

    def verdict(rng: random.Random, steps: Sequence[Step], key: Key) -> str:
        wrong, misuse, missed = flaws(steps, *key)
        count = sum(wrong) + misuse + missed
        return str(rng.randint(8, 10) if count == 0 else rng.randint(2, 5) if count == 1 else rng.randint(0, 2))

    return _traced(rng, material, "%", 2, verdict)


def tournament(rng: random.Random, material: Material) -> Document:
    """``<s> PROBLEM : A ATTEMPT . B ATTEMPT . ! [A TRACE B TRACE => A </s>]``, one of the two right."""
    key, shown, own = material.pose_for_verification(rng)
    pair = [rng.choice(material.solutions(key)), wrong_attempt(rng, material, key)]
    if own:
        pair = [rng.choice(pool) if pool else made for pool, made in zip(material.own_attempts[key], pair, strict=True)]
    winner = rng.choice("AB")
    attempts = pair if winner == "A" else pair[::-1]
    document = _plain([BOS, *problem_words(shown, key[1]), ":"])
    for letter, steps in zip("AB", attempts, strict=True):
        document += [(letter, 0.0), *_attempt(steps, is_right(steps, *key))]
    document.append(("!", 0.0))
    for letter, steps in zip("AB", attempts, strict=True):
        document += [(letter, 1.0), *_plain(trace_words(steps, *key), 1.0)]
    return [*document, ("=>", 1.0), (winner, VERDICT_WEIGHT), (EOS, 1.0)]


def _fact(rng: random.Random) -> Step:
    """A claimed step as it occurs in attempts, true half the time; false ones are mostly near misses."""
    while True:
        numbers = [rng.randint(1, 12) for _ in range(3)]
        step = rng.choice(random_chain(rng, numbers))
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
        step = _fact(rng)
        right = true_result_word(step) == str(step.result)
        document += [*_plain(attempt_words([step])), (OK if right else BAD, VERDICT_WEIGHT)]
    return document


def recompute(rng: random.Random, material: Material, count: int = 6) -> Document:
    """``<s> recompute  3 * 9 = 28 [27 bad] ...``."""
    document: Document = [(BOS, 0.0), ("recompute", 0.0)]
    for _ in range(count):
        step = _fact(rng)
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
            if word in _QUESTIONS:
                attempt = False
            elif word == ":":
                attempt = True
            elif attempt:
                weights[i] = 0.0
    return TokenDocument(ids, weights)
