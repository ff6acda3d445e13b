"""The arithmetic recipe: notation and traces by hand, true labels, no held-out problem, loss where it belongs."""

import hashlib
import random
from itertools import pairwise

import pytest

from ops.builtin.arithmetic import ArithmeticExercises, carried
from ops.builtin.documents import DOCUMENTS, Material, replay_batch
from ops.builtin.notation import VOCABULARY, WORDS
from ops.builtin.pretrain import make_batch
from ops.builtin.sizes import RECIPES, recipe_of
from ops.tasks.arithmetic import Arithmetic, split_of
from ops.tasks.countdown import Countdown
from ops.tasks.steps import Step, read_strict
from ops.types import Problem

EXERCISES = ArithmeticExercises()
KEY = "7 + 5 - 3 * 2"
RIGHT = (Step(7, "+", 5, 12), Step(12, "-", 3, 9), Step(9, "*", 2, 18))
SLIP = (Step(7, "+", 5, 13), Step(13, "-", 3, 10), Step(10, "*", 2, 20))
LATE = (Step(7, "+", 5, 12), Step(12, "-", 3, 9), Step(9, "*", 2, 19))
CANCELLED = (Step(7, "+", 5, 13), Step(13, "-", 3, 9), Step(9, "*", 2, 18))


def material_with(wrong_attempt):
    """One problem with one wrong attempt, so that documents can be written by hand."""

    class OneProblem(ArithmeticExercises):
        def wrong(self, rng, key):
            return wrong_attempt

    return Material([KEY], exercises=OneProblem())


@pytest.fixture(scope="module")
def material():
    return Material(EXERCISES.keys(), exercises=EXERCISES)


def words_of(document):
    return " ".join(word for word, _ in document)


def learnt(document):
    return " ".join(word for word, weight in document if weight > 0)


def test_the_recipe_is_found_by_name_and_by_task():
    assert RECIPES["arithmetic"].task == "arithmetic"
    assert recipe_of("arithmetic") is RECIPES["arithmetic"]
    assert recipe_of("countdown") is RECIPES["countdown"]
    assert recipe_of("sudoku") is None


def test_traces_by_hand():
    assert " ".join(EXERCISES.trace(RIGHT, KEY)) == "7 + 5 = 12 12 ok 12 - 3 = 9 9 ok 9 * 2 = 18 18 ok"
    # each step of the problem goes on from the true value: 12 - 3 = 9 whatever the attempt made of it
    assert " ".join(EXERCISES.trace(SLIP, KEY)) == "7 + 5 = 13 12 bad 12 - 3 = 10 9 bad 9 * 2 = 20 18 bad"
    assert " ".join(EXERCISES.trace(LATE, KEY)) == "7 + 5 = 12 12 ok 12 - 3 = 9 9 ok 9 * 2 = 19 18 bad"
    assert " ".join(EXERCISES.trace(CANCELLED, KEY)) == "7 + 5 = 13 12 bad 12 - 3 = 9 9 ok 9 * 2 = 18 18 ok"


def test_the_last_flag_is_the_truth():
    for attempt, right in ((RIGHT, True), (SLIP, False), (LATE, False), (CANCELLED, True)):
        assert EXERCISES.is_right(attempt, KEY) is right
        assert EXERCISES.trace(attempt, KEY)[-1] == ("ok" if right else "bad")


def test_scores_by_hand():
    rng = random.Random(0)
    scores = [{EXERCISES.score(rng, attempt, KEY) for _ in range(200)} for attempt in (RIGHT, CANCELLED, LATE, SLIP)]
    assert scores == [{8, 9, 10}, {6, 7}, {2, 3, 4, 5}, {0, 1, 2}]


def test_carried_by_hand():
    assert carried(KEY) == RIGHT
    assert carried(KEY, {0: 1}) == SLIP
    assert carried(KEY, {2: 1}) == LATE
    assert carried(KEY, {0: 1, 1: -1}) == CANCELLED
    assert carried(KEY, {0: -10}) is None  # 2 - 3 leaves 0..99
    assert carried("9 * 9 + 9", {0: 10}) is None  # 91 + 9 = 100


def test_is_right_agrees_with_the_grader(material):
    rng = random.Random(0)
    for _ in range(500):
        key, _ = material.pose(rng)
        attempt = material.attempt(rng, key, own=False)
        (problem,) = [EXERCISES.task.read_row({"expression": key}, "test", "train")]
        grade = EXERCISES.task.grade(problem, " ; ".join(str(step) for step in attempt))
        assert grade.strict_verdict == ("correct" if EXERCISES.is_right(attempt, key) else "incorrect")


def test_wrong_attempts_are_wrong_and_in_the_notation(material):
    rng = random.Random(1)
    kinds = set()
    for _ in range(1000):
        key, _ = material.pose(rng)
        attempt = EXERCISES.wrong(rng, key)
        assert not EXERCISES.is_right(attempt, key)
        assert all(0 <= value <= 99 for step in attempt for value in (step.left, step.right, step.result))
        assert EXERCISES.parse(" ; ".join(str(step) for step in attempt), key) == list(attempt)
        posed = key.split()
        copied = [word for step in attempt for word in (step.operator, str(step.right))] == posed[1:]
        joined = all(after.left == before.result for before, after in pairwise(attempt))
        kinds.add("slip" if copied and joined else "misread" if joined else "lost")
    assert kinds == {"slip", "misread", "lost"}


def test_documents_by_hand():
    material, rng = material_with(LATE), random.Random(0)
    right, late = "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18", "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 19"
    clean = "7 + 5 = 12 12 ok 12 - 3 = 9 9 ok 9 * 2 = 18 18 ok"
    flagged = "7 + 5 = 12 12 ok 12 - 3 = 9 9 ok 9 * 2 = 19 18 bad"
    solve = DOCUMENTS["solve"](rng, material)
    assert words_of(solve) == f"<s> {KEY} : {right} . </s>"
    assert learnt(solve) == f"{right} . </s>"
    segments = {f"<s> {KEY} : {right} . ? yes", f"<s> {KEY} : {late} . ? no"}
    found = {f"<s> {part}" for _ in range(20) for part in words_of(DOCUMENTS["logit"](rng, material)).split("<s> ")[1:]}
    assert {part.strip() for part in found} == segments
    segments = {f"{KEY} : {right} . # {clean} => yes </s>", f"{KEY} : {late} . # {flagged} => no </s>"}
    found = {part.strip() for _ in range(20) for part in words_of(DOCUMENTS["binary"](rng, material)).split("<s>")[1:]}
    assert found == segments
    contest = {
        f"<s> {KEY} : A {right} . B {late} . ! A {clean} B {flagged} => A </s>",
        f"<s> {KEY} : A {late} . B {right} . ! A {flagged} B {clean} => B </s>",
    }
    assert {words_of(DOCUMENTS["tournament"](rng, material)) for _ in range(20)} == contest


def test_loss_in_a_verification_document():
    material, rng = material_with(LATE), random.Random(0)
    document = next(d for d in (DOCUMENTS["binary"](rng, material) for _ in range(50)) if "no" in words_of(d).split())
    words = [word for word, _ in document]
    end = words.index("19") + 1  # the first 19 ends the wrong attempt: 3 steps of 5 words and 2 marks
    assert {weight for _, weight in document[end - 17 : end]} == {0.0}
    assert words[end - 18] == ":"
    assert document[end] == (".", 1.0)
    assert dict(document)["no"] == 4.0
    assert dict(document)["bad"] == EXERCISES.flag_weight


@pytest.mark.parametrize("kind", list(DOCUMENTS))
def test_documents_use_known_words_and_fit(kind, material):
    rng = random.Random(3)
    for _ in range(100):
        document = DOCUMENTS[kind](rng, material)
        assert document[0][0] == "<s>"
        assert all(word in VOCABULARY for word, _ in document)
        assert any(weight > 0 for _, weight in document)
        assert len(document) <= 160


def test_verdicts_in_documents_are_true(material):
    rng = random.Random(4)
    said = []
    for _ in range(200):
        for part in words_of(DOCUMENTS["logit"](rng, material)).split("<s> ")[1:]:
            posed, _, rest = part.strip().partition(" : ")
            attempt, verdict = rest.split(" . ? ")
            steps = read_strict(attempt, posed.count(" ") // 2)
            value, words = int(posed.split()[0]), posed.split()
            for operator, number in zip(words[1::2], words[2::2], strict=True):
                value = {"+": value + int(number), "-": value - int(number), "*": value * int(number)}[operator]
            assert (verdict == "yes") == (steps[-1].result == value)
            said.append(verdict)
    assert 0.45 < said.count("yes") / len(said) < 0.55


def test_pretraining_never_poses_a_held_out_problem(material):
    assert len(set(material.keys)) == len(material.keys) == 40_000
    assert {key.count(" ") // 2 for key in material.keys} == {2, 3, 4}
    assert {split_of(key) for key in material.keys} == {"train"}
    held_out = EXERCISES.task.generate("eval", 500, 0)
    assert not set(material.keys) & {problem.data["expression"] for problem in held_out}
    assert not any(RECIPES["arithmetic"].may_pose(problem) for problem in held_out)
    assert all(RECIPES["arithmetic"].may_pose(problem) for problem in EXERCISES.task.generate("train", 50, 9))


def test_posed_problems_are_shown_as_they_are_asked(material):
    rng = random.Random(5)
    key, shown = material.pose(rng)
    problem = Problem("p", "arithmetic", "train", {"expression": key})
    assert EXERCISES.posed(problem) == shown == key.split()


def test_batches_are_a_function_of_seed_and_step(material):
    def ids(step, seed):
        own = Material(EXERCISES.keys(), exercises=ArithmeticExercises())
        return [document.ids for document in make_batch(step, 100, 16, seed, own)]

    assert ids(50, 0) == ids(50, 0)
    assert ids(50, 0) != ids(51, 0)
    assert ids(50, 0) != ids(50, 1)


def test_own_attempts_are_graded(material):
    own = Material([KEY], {KEY: ([CANCELLED], [SLIP])}, 1.0, EXERCISES)
    rng = random.Random(6)
    texts = {words_of(DOCUMENTS["binary"](rng, own)) for _ in range(30)}
    assert any("9 * 2 = 18 18 ok => yes" in text and "7 + 5 = 13 12 bad" in text for text in texts)
    assert all("20 18 bad => no" in text or "18 18 ok => yes" in text for text in texts)


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


TRAINED = EXERCISES.task


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (Countdown(), "task.name"),
        (TRAINED.model_copy(update={"min_steps": TRAINED.min_steps - 1}), "task.min_steps"),
        (TRAINED.model_copy(update={"max_steps": TRAINED.max_steps + 1}), "task.max_steps"),
        (TRAINED.model_copy(update={"max_number": TRAINED.max_number + 1}), "task.max_number"),
    ],
)
def test_tasks_that_do_not_fit_are_named(task, field):
    with pytest.raises(ValueError, match=field):
        RECIPES["arithmetic"].check_task(task)


def test_tasks_that_fit():
    RECIPES["arithmetic"].check_task(TRAINED)
    fewer = Arithmetic(min_steps=TRAINED.min_steps, max_steps=TRAINED.min_steps, max_number=TRAINED.max_number - 1)
    RECIPES["arithmetic"].check_task(fewer)
    with pytest.raises(ValueError, match=r"task\.name"):
        RECIPES["countdown"].check_task(TRAINED)


DIGESTS = {
    "solve": "01e40fc1f3f6d96e",
    "logit": "93745e560b597271",
    "binary": "6e34435e5c90d9f6",
    "score": "21457a987dd009e6",
    "tournament": "9e2dc29185e9bcdd",
    "quote": "984e800648f35b19",
    "recompute": "d4bc20016b62cfb5",
}
"""Digests of 200 documents of each kind: changing one needs a new version of the recipe."""


@pytest.mark.parametrize("kind", list(DOCUMENTS))
def test_documents_are_those_of_version_1(kind, material):
    assert RECIPES["arithmetic"].version == "1"
    rng = random.Random(0)
    documents = [DOCUMENTS[kind](rng, material) for _ in range(200)]
    assert hashlib.sha256(repr(documents).encode()).hexdigest()[:16] == DIGESTS[kind]
