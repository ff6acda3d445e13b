"""Documents of the Countdown recipe: notation by hand, labels that are true, loss where it belongs."""

import hashlib
import random

import pytest

from ops.builtin.countdown import CountdownExercises, flaws, problem_words, random_chain
from ops.builtin.documents import DOCUMENTS, Material, replay_batch, to_tokens
from ops.builtin.notation import VOCABULARY, WORDS, true_result_word
from ops.builtin.pretrain import make_batch
from ops.tasks.countdown import keys_of, solutions
from ops.tasks.steps import Step, check_steps, read_strict

EXERCISES = CountdownExercises()
NUMBERS, TARGET = (10, 8, 6), 12
RIGHT = [Step(10, "+", 8, 18), Step(18, "-", 6, 12)]


@pytest.fixture(scope="module")
def material():
    return Material(keys_of(3, 12, "train")[:200])


def test_the_vocabulary_has_each_word_once():
    assert len(set(WORDS)) == len(WORDS) == len(VOCABULARY)
    assert all(str(number) in VOCABULARY for number in range(100))


def test_trace_of_a_right_attempt():
    assert " ".join(EXERCISES.trace(RIGHT, (NUMBERS, TARGET))) == "10 + 8 = 18 18 ok 18 - 6 = 12 12 ok use ok goal ok"


def test_trace_flags_each_flaw():
    wrong = [Step(5, "-", 3, 2), Step(2, "*", 3, 4)]
    assert " ".join(EXERCISES.trace(wrong, ((5, 3, 2), 4))) == "5 - 3 = 2 2 ok 2 * 3 = 4 6 bad use bad goal ok"
    assert flaws([Step(10, "+", 8, 18), Step(18, "-", 6, 11)], NUMBERS, TARGET) == ([False, True], False, True)


def test_a_result_outside_the_range_has_its_own_word():
    assert true_result_word(Step(12, "*", 12, 44)) == "out"
    assert true_result_word(Step(3, "-", 9, 6)) == "out"


def test_is_right_agrees_with_the_grader(material):
    rng = random.Random(0)
    for _ in range(500):
        key, _ = material.pose(rng)
        steps = material.attempt(rng, key, own=False)
        assert EXERCISES.is_right(steps, key) == (check_steps(steps, *key) == "")


def test_wrong_attempts_are_wrong_and_in_the_notation(material):
    rng = random.Random(1)
    for _ in range(500):
        key, _ = material.pose(rng)
        steps = EXERCISES.wrong(rng, key)
        assert not EXERCISES.is_right(steps, key)
        assert all(0 <= value <= 99 for step in steps for value in (step.left, step.right, step.result))
        assert EXERCISES.parse(" ; ".join(str(step) for step in steps), key) == list(steps)


def test_random_chains_are_legal():
    rng = random.Random(2)
    for _ in range(300):
        steps = random_chain(rng, (3, 4, 12))
        assert check_steps(steps, (3, 4, 12), steps[-1].result) == ""


@pytest.mark.parametrize("kind", list(DOCUMENTS))
def test_documents_use_known_words_and_learn_something(kind, material):
    rng = random.Random(3)
    for _ in range(50):
        document = DOCUMENTS[kind](rng, material)
        assert document[0][0] == "<s>"
        assert all(word in VOCABULARY for word, _ in document)
        assert any(weight > 0 for _, weight in document)
        assert len(document) <= 128


def test_verdicts_in_documents_are_true(material):
    rng = random.Random(4)
    for _ in range(200):
        document = [word for word, _ in DOCUMENTS["logit"](rng, material)]
        posed = document[1 : document.index(":")]
        numbers, target = [int(word) for word in posed[:3]], int(posed[4])
        for part in " ".join(document).split(" : ")[1:]:
            attempt, verdict = part.split(" . ? ")
            assert (verdict == "yes") == (check_steps(read_strict(attempt, 2), numbers, target) == "")


def test_half_of_the_attempts_are_right(material):
    rng = random.Random(5)
    words = [word for _ in range(400) for word, _ in DOCUMENTS["logit"](rng, material)]
    assert 0.45 < words.count("yes") / (words.count("yes") + words.count("no")) < 0.55


def test_a_wrong_attempt_is_not_learnt(material):
    rng = random.Random(6)
    for _ in range(100):
        document = DOCUMENTS["binary"](rng, material)
        words = [word for word, _ in document]
        colon, mark = words.index(":"), words.index("#")
        right = words[words.index("=>") + 1] == "yes"
        assert {weight for _, weight in document[colon + 1 : mark - 1]} == {1.0 if right else 0.0}
        assert document[mark - 1] == (".", 1.0)


def test_replay_teaches_verifying_only(material):
    for document in replay_batch(0, 60, 0, material):
        words = [WORDS[i] for i in document.ids]
        attempt = True
        for word, weight in zip(words, document.weights, strict=True):
            if word in ("?", "#", "%", "!", "quote", "recompute"):
                attempt = False
            elif word == ":":
                attempt = True
            elif attempt:
                assert weight == 0.0
        assert sum(document.weights) > 0


def test_batches_are_a_function_of_seed_and_step(material):
    first = [document.ids for document in replay_batch(7, 8, 1, material)]
    assert first == [document.ids for document in replay_batch(7, 8, 1, Material(material.keys))]
    assert first != [document.ids for document in replay_batch(8, 8, 1, material)]


def test_no_document_poses_a_held_out_problem():
    held_out = set(keys_of(3, 12, "eval"))
    material = Material(keys_of(3, 12, "train"))
    rng = random.Random(8)
    for kind in ("solve", "logit", "binary", "score", "tournament"):
        for _ in range(200):
            words = [word for word, _ in DOCUMENTS[kind](rng, material)]
            assert (tuple(sorted(int(word) for word in words[1:4])), int(words[5])) not in held_out


def test_to_tokens_keeps_weights():
    document = to_tokens([("<s>", 0.0), *[(word, 2.0) for word in problem_words([1, 2, 3], 6)]])
    assert list(document.weights) == [0.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def digest_of(value) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


BEFORE = {
    "solve": "52be67167f7ec482",
    "logit": "c075e57c181719a4",
    "binary": "6ba8eb912c32171d",
    "score": "28be45421626bcef",
    "tournament": "197d7f982199d94c",
    "quote": "212630c385c7db59",
    "recompute": "b31045ea5c8f3e8b",
}
"""Digests of 200 documents of each kind, recorded before there was a second recipe."""


@pytest.mark.parametrize("kind", list(DOCUMENTS))
def test_documents_are_those_of_version_1(kind):
    material, rng = Material(keys_of(3, 12, "train")), random.Random(0)
    assert digest_of([DOCUMENTS[kind](rng, material) for _ in range(200)]) == BEFORE[kind]


def test_words_and_batches_are_those_of_version_1():
    assert digest_of(WORDS) == "3064a7e8e87ca6a8"
    material = Material(keys_of(3, 12, "train"))

    def batch(documents):
        return digest_of([(list(document.ids), list(document.weights)) for document in documents])

    assert batch(make_batch(0, 1500, 64, 0, material)) == "9a4236846c65cece"
    assert batch(make_batch(500, 1500, 64, 0, material)) == "b55d06bd0ebbfbcc"
    assert batch(make_batch(1400, 1500, 64, 0, material)) == "ca065af4b723d5e0"
    assert batch(replay_batch(3, 40, 5, material)) == "00c694cbf40517ea"
    own = {}
    for numbers, target in material.keys[:50]:
        first, last = solutions(list(numbers), target)[0]
        own[numbers, target] = ([(first, last)], [(first, last._replace(result=1))])
    graded = Material(material.keys, own, 0.8)
    assert batch(make_batch(1400, 1500, 64, 0, graded)) == "690946752a58755b"
