"""The table ``training_dynamics`` from rollouts and base responses that the test writes; every number by hand.

Four training problems, the last of which is never visited; two of them and groups of two at a step, so that windows
have two steps; and what the base model drew beside them, first to be compared and then to classify:

::

    step  0                        1                        2                        3
          policy base classifier   policy base classifier   policy base classifier   policy base classifier
    A     x y    x x  x w          x c    y z  c x                                   c c    c w  z z
    B     p -    p q  p q                                   p p    r p  k p
    C                                                                                - -    m k  m m

c and k are correct, ``-`` is unparseable. Response i of a group has 2 + 4 i tokens and an entropy of step + i nats.
"""

from __future__ import annotations

import polars as pl
import pytest

from ops.errors import StorageError
from ops.identity import response_id
from ops.lab import Lab
from ops.stages.drawing import SAMPLE_SCHEMA, source_pool
from ops.stages.evaluation import policy_source
from ops.stages.grading import grader_identity
from ops.stages.problems import stored_problems
from ops.stages.training_dynamics import draw_base_responses, measure_training_dynamics
from ops.types import Problem
from tests.exploration.pools import opened
from tests.studies import commit_rows
from tests.verifiers.scripted import ScriptedEngine

POLICY = (("A", 0, "xy"), ("B", 0, "p-"), ("A", 1, "xc"), ("B", 2, "pp"), ("C", 3, "--"), ("A", 3, "cc"))
BASE = {"A": "xxyzcw" + "xwcxzz", "B": "pqrp" + "pqkp", "C": "mk" + "mm"}


def training_problems(lab: Lab) -> dict[str, Problem]:
    """A, B, C and D, the training problems in their order."""
    return dict(zip("ABCD", (p for p in stored_problems(lab) if p.split == "train"), strict=True))


def verdict(letter: str) -> str:
    return "unparseable" if letter == "-" else "correct" if letter in "ck" else "incorrect"


def commit_rollouts(lab: Lab, groups=POLICY) -> None:
    problems = training_problems(lab)
    rows = [
        {"step": step, "problem_id": problems[name].problem_id, "sample_index": i, "verdict": verdict(letter)}
        | {"answer": None if letter == "-" else letter, "n_tokens": 2 + 4 * i, "entropy_nats": step + i}
        for name, step, word in groups
        for i, letter in enumerate(word)
    ]
    commit_rows(lab, "rollouts", "exploration/rollouts", None, rows)


def put_base(lab: Lab, drawn=BASE) -> None:
    """Graded responses of the base model, last problem and last sample first: the order of a pool means nothing."""
    problems, prompts, pool = training_problems(lab), lab.prompt_format(), lab.plan.policy_pools[0]
    rows = []
    for name, word in drawn.items():
        prompt = prompts.solve(problems[name])
        for j, letter in enumerate(word):
            row = {"response_id": response_id(pool, prompt, j), "prompt": prompt, "sample_index": j, "n_tokens": 3}
            row |= {"response": letter, "finish_reason": "stop", "answer": None if letter == "-" else letter}
            row |= {"verdict": verdict(letter), "strict_verdict": verdict(letter), "reason": "", "seed": j}
            row |= {"grader": grader_identity(lab.experiment), "graded_problem": problems[name].problem_id}
            rows.append({column: row.get(column) for column in SAMPLE_SCHEMA})
    source_pool(lab, policy_source(lab, 0)).append(pl.DataFrame(rows[::-1], schema=SAMPLE_SCHEMA))


@pytest.fixture
def lab(tmp_path) -> Lab:
    problems = {"train_per_iteration": 4, "eval": 3}
    return opened(tmp_path / "home", problems=problems, exploration={"responses_per_problem": 2})


def table(lab: Lab) -> dict[tuple, dict]:
    result = measure_training_dynamics(lab)
    assert not result.reused
    frame = lab.store.read("training_dynamics", result.fingerprint)
    keys = ("sampler", "questions", "metric", "step")
    found = {tuple(row[name] for name in keys): row for row in frame.iter_rows(named=True)}
    assert len(found) == frame.height
    return found


def values(found: dict[tuple, dict], *key: str) -> list[float | None]:
    """After 1, 2, 3 and 4 steps."""
    return [found[*key, step]["value"] for step in (1, 2, 3, 4)]


def test_the_table_by_hand(lab):
    """Of 4 problems the policy solves A at the second step; the base model A and C at the fourth.

    Answers: policy A xy, B p; then xyc, p; then the same; then C has none: (3 + 1 + 0)/3. Base A x, B pq; xyz, pq; xyz,
    pqr; xyzcw, pqr, mk. The classifier solves A at the second step, B at the third, C never. Groups of the windows: A0
    B0; A0 A1 B0; A1 B2; B2 A3 C3, of which the classifier solves A1 and B2, the policy A1 and A3. Answers of the
    policy: A0 2, A1 2, B0 1, B2 1, A3 1, C3 0; of the base model: 1, 2, 2, 2, 2, 2.
    """
    commit_rollouts(lab), put_base(lab)
    found = table(lab)
    solved = "all", "solved_questions"
    assert values(found, "policy", *solved) == pytest.approx([0, 1 / 4, 1 / 4, 1 / 4])
    assert values(found, "base", *solved) == pytest.approx([0, 0, 0, 1 / 2])
    distinct = "all", "distinct_answers"
    assert values(found, "policy", *distinct) == pytest.approx([3 / 2, 2, 2, 4 / 3])
    assert values(found, "base", *distinct) == pytest.approx([3 / 2, 5 / 2, 3, 10 / 3])
    assert values(found, "policy_minus_base", *distinct) == pytest.approx([0, -1 / 2, -1, -2])
    unsolved = "policy_minus_base", "unsolved", "distinct_answers"
    assert values(found, *unsolved) == [0, -1, None, -2]
    assert values(found, "policy", "solved", "distinct_answers") == [None, 3, 2, 2]
    per_group = "distinct_answers_per_group"
    assert values(found, "policy", "all", per_group) == pytest.approx([3 / 2, 5 / 3, 3 / 2, 2 / 3])
    assert values(found, "base", "all", per_group) == pytest.approx([3 / 2, 5 / 3, 2, 2])
    assert values(found, "policy", "unsolved", per_group) == [3 / 2, 3 / 2, None, 1 / 2]
    assert values(found, "policy", "unsolved", f"{per_group}_own") == [3 / 2, 3 / 2, 1, 1 / 2]
    last = found["policy_minus_base", "all", "distinct_answers", 4]
    assert (last["low"], last["high"], last["n_problems"]) == (-2, -2, 3)
    assert {row["n_problems"] for key, row in found.items() if "solved_questions" in key} == {4}
    assert {row["step"]: row["n_responses"] for row in found.values()} == {1: 4, 2: 6, 3: 8, 4: 12}


def test_what_is_measured_of_the_policy_alone(lab):
    """Responses by step: x y p -; x c; p p; - - c c; windows: step 0, then 0 and 1, 1 and 2, 2 and 3. Right: 0 of 4, 1
    of 6, 1 of 4, 2 of 6. Entropy is step + i: of the right c at (1, i = 1) 2, at step 3 of both (3 + 4)/2; of the
    others (0 + 1 + 0 + 1)/4, (0 + 1 + 0 + 1 + 1)/5, (1 + 2 + 3)/3, (2 + 3 + 3 + 4)/4. Tokens 2, 6.
    """
    commit_rollouts(lab), put_base(lab)
    found = table(lab)
    assert values(found, "policy", "all", "accuracy") == pytest.approx([0, 1 / 6, 1 / 4, 1 / 3])
    assert values(found, "policy", "all", "unparseable_fraction") == pytest.approx([1 / 4, 1 / 6, 0, 1 / 3])
    assert values(found, "policy", "all", "entropy_nats_correct") == [None, 2, 2, 7 / 2]
    assert values(found, "policy", "all", "entropy_nats_incorrect") == pytest.approx([1 / 2, 3 / 5, 2, 3])
    assert values(found, "policy", "all", "response_tokens") == [4, 4, 4, 4]
    assert ("base", "all", "accuracy", 4) not in found


def test_metadata_and_reuse(lab):
    """After the last step; see above. Unsolved is C: nothing against mk."""
    commit_rollouts(lab), put_base(lab)
    shown = measure_training_dynamics(lab).metadata
    assert (shown["solved_questions_policy"], shown["solved_questions_base"]) == (1 / 4, 1 / 2)
    assert shown["distinct_answers_policy_minus_base"] == shown["distinct_answers_policy_minus_base_low"] == -2
    assert (shown["distinct_answers_unsolved_policy"], shown["distinct_answers_unsolved_base"]) == (0, 2)
    assert shown["responses"] == shown["base_responses_compared"] == shown["base_responses_classifying"] == 12
    assert measure_training_dynamics(lab).reused
    assert draw_base_responses(lab) == {"drawn": 0, "reused": True}


def test_a_problem_visited_twice_in_one_step(lab):
    """A pass over the problems may end within a step: A xc and A yz at step 0 are two groups, in the order of the
    table. The base model has xx and yz: 4 and 3 answers, of groups 2 2 and 1 2. The classifier, next in the pool, has
    cw and xw: the second group is unsolved."""
    commit_rollouts(lab, (("A", 0, "xc"), ("A", 0, "yz"))), put_base(lab)
    found = table(lab)
    assert found["policy", "all", "distinct_answers", 1]["value"] == 4
    assert found["base", "all", "distinct_answers", 1]["value"] == 3
    assert found["policy_minus_base", "all", "distinct_answers_per_group", 1]["value"] == pytest.approx(1 / 2)
    for questions, base in (("solved", 1), ("unsolved", 2)):
        assert found["policy", questions, "distinct_answers_per_group", 1]["value"] == 2
        assert found["base", questions, "distinct_answers_per_group", 1]["value"] == base


def scripted(lab: Lab, monkeypatch) -> ScriptedEngine:
    engine = ScriptedEngine(lambda prompt, seed: f"10 + {seed % 7}")
    engine.usage, sample = dict, engine.sample
    engine.sample = lambda requests, settings: sample(list(requests), settings)
    monkeypatch.setattr(lab, "policy_engine", lambda step: {0: engine}[step])
    return engine


def test_the_base_model_draws_twice_what_the_policy_drew_and_no_more(lab, monkeypatch):
    """A 12, B 8, C 4, D never; 3 of A are there already."""
    commit_rollouts(lab), put_base(lab, {"A": "xxy"})
    engine = scripted(lab, monkeypatch)
    numbers = draw_base_responses(lab)
    assert (numbers["drawn"], numbers["reused_samples"]) == (21, 3)
    assert (numbers["compared_samples"], numbers["classifying_samples"]) == (12, 12)
    problems, prompts = training_problems(lab), lab.prompt_format()
    wanted = {prompts.solve(problems[name]): n for name, n in (("A", 9), ("B", 8), ("C", 4))}
    assert {prompt: sum(call.count(prompt) for call in engine.calls) for prompt in wanted} == wanted
    assert sum(map(len, engine.calls)) == 21
    assert draw_base_responses(lab)["drawn"] == 0
    assert not measure_training_dynamics(lab).reused


def test_base_responses_that_are_missing_are_an_error(lab):
    commit_rollouts(lab), put_base(lab, BASE | {"B": "pqrppqk", "C": ""})
    with pytest.raises(StorageError, match="5 of 24 responses are not in their pool"):
        measure_training_dynamics(lab)


@pytest.mark.parametrize("groups", [(("A", 0, "x"),), (("A", 0, "xy"), ("A", 0, "x")), (("A", 1, "xyz"),)])
def test_a_group_that_is_not_whole_is_an_error(lab, groups):
    commit_rollouts(lab, groups)
    with pytest.raises(StorageError, match=r"the group of problem \S+ at step \d is not of 2 responses"):
        measure_training_dynamics(lab)


def test_a_problem_that_is_not_trained_on_is_an_error(lab, monkeypatch):
    commit_rollouts(lab)
    known = stored_problems(lab)
    without = [problem for problem in known if problem != training_problems(lab)["B"]]
    monkeypatch.setattr("ops.stages.training_dynamics.stored_problems", lambda lab: without)
    with pytest.raises(StorageError, match="1 problems are no training problems"):
        draw_base_responses(lab)
