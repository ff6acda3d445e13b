"""Sampling streams: graded and committed while the engine goes on, resumed without loss, in the problems' order."""

import threading

import polars as pl
import pytest

from ops.engines.base import Fit
from ops.errors import EngineError, StorageError
from ops.lab import Lab
from ops.stages import chunks, wanted
from ops.stages.generations import SAMPLE_SCHEMA, grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.types import Completion
from tests.conftest import sample_pool, tiny_experiment


class Scripted:
    """An engine that answers with its seed, backwards, so that nothing comes in the order in which it was asked."""

    name, version = "scripted", "1"

    def __init__(self):
        self.drawn, self.asked, self.most = [], 0, 0

    def sample(self, requests, settings):
        waiting = []
        for index, request in enumerate(requests):
            self.asked += len(request.seeds)
            waiting += [(index, j, seed) for j, seed in enumerate(request.seeds)]
            self.most = max(self.most, len(waiting))
            if len(waiting) >= 12:
                yield self.answers(waiting)
                waiting = []
        if waiting:
            yield self.answers(waiting)

    def answers(self, waiting):
        self.drawn += [seed for _, _, seed in waiting]
        return [(i, j, Completion(f"{seed % 7} + {seed % 5}", 3, -1.0, "stop")) for i, j, seed in reversed(waiting)]

    def choice_logprobs(self, prompts, choices):
        raise AssertionError("not asked here")

    def fits(self, prompts, new_tokens=0, continuations=None):
        return [Fit(1, new_tokens, None) for _ in prompts]

    def usage(self):
        return {"prompt_tokens": float(self.asked)}

    def close(self):
        pass


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A lab whose engine is scripted, with its problems made; (lab, engine)."""
    engine = Scripted()
    monkeypatch.setattr(Lab, "engine", lambda self, iteration, verifier=None: engine)
    lab = Lab.open(tiny_experiment(iterations=0, verifiers=[{"name": "majority"}]), home=tmp_path / "home", run_id="t")
    make_problems(lab)
    return lab, engine


def _generations(lab):
    return lab.store.read("generations", lab.plan.fingerprints["iteration_0/generations"])


def test_rows_are_graded_while_sampling_and_stand_in_the_order_of_the_problems(scripted, monkeypatch):
    lab, _engine = scripted
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 32)
    numbers = sample_responses(lab, 0)
    assert (numbers["drawn"], numbers["new_tokens"], numbers["prompt_tokens"]) == (88, 264, 88.0)
    pool = sample_pool(lab, 0).read()
    assert pool["grader"].null_count() < pool.height  # all but what was under way when the engine was done
    calls = []
    monkeypatch.setattr(
        "ops.stages.drawing.grade_texts",
        lambda experiment, items, *rest: calls.append(len(items)) or _grade(experiment, items),
    )
    grade_responses(lab, 0)
    assert sum(calls) == pool["grader"].null_count()
    table = _generations(lab)
    assert table.height == 88
    assert table["sample_index"].to_list() == [*list(range(8)) * 8, *list(range(4)) * 6]
    problems = lab.store.read("problems", lab.plan.fingerprints["problems"])
    assert table["problem_id"].unique(maintain_order=True).to_list() == problems["problem_id"].to_list()[:14]
    said = {row["response_id"]: row["response"] for row in pool.iter_rows(named=True)}
    assert all(said[row["response_id"]] == row["response"] for row in table.iter_rows(named=True))
    assert table["verdict"].null_count() == 0
    assert set(table["engine"]) == {"scripted"}


def _grade(experiment, items):
    from ops.stages.grading import grade_texts

    return grade_texts(experiment, items)


def test_grades_of_a_pool_without_them_are_the_same(scripted):
    """Chunks of an earlier version: no grades, no column for them."""
    lab, _ = scripted
    sample_responses(lab, 0)
    pool = sample_pool(lab, 0)
    old = pool.read().drop("answer", "verdict", "strict_verdict", "reason", "grader", "graded_problem")
    grade_responses(lab, 0)
    expected = _generations(lab)
    other = Lab.open(lab.experiment, home=lab.store.home / "other", run_id="o")
    make_problems(other)
    schema = {name: SAMPLE_SCHEMA[name] for name in old.columns}
    other.store.pool("samples", other.plan.sample_pools[0], schema).append(old)
    assert sample_responses(other, 0)["drawn"] == 0
    grade_responses(other, 0)
    assert _generations(other).equals(expected)


def test_grades_of_another_grader_do_not_count(scripted):
    lab, _ = scripted
    sample_responses(lab, 0)
    pool = sample_pool(lab, 0)
    wrong = pool.read().with_columns(verdict=pl.lit("correct"), grader=pl.lit("another"))
    other = Lab.open(lab.experiment, home=lab.store.home / "other", run_id="o")
    make_problems(other)
    sample_pool(other, 0).append(wrong)
    grade_responses(lab, 0)
    grade_responses(other, 0)
    assert _generations(other).equals(_generations(lab))
    assert (_generations(lab)["verdict"] == "correct").mean() < 0.5


def test_a_sample_that_two_processes_drew_counts_once_and_the_first_one_counts(scripted):
    lab, _ = scripted
    sample_responses(lab, 0)
    pool = sample_pool(lab, 0)
    first = pool.read()
    pool.append(first.head(30).with_columns(response=pl.lit("drawn again"), grader=pl.lit(None, dtype=pl.String)))
    grade_responses(lab, 0)
    assert "drawn again" not in set(_generations(lab)["response"])
    assert _generations(lab).height == 88


def test_a_sample_that_is_gone_is_an_error_and_no_table(scripted):
    lab, _ = scripted
    sample_responses(lab, 0)
    pool = sample_pool(lab, 0)
    rows = pool.read()
    for chunk in pool.chunks():
        chunk.unlink()
    pool.append(rows.slice(3))
    with pytest.raises(StorageError, match="3 of 88 responses are not in their pool"):
        grade_responses(lab, 0)
    assert not lab.store.has("generations", lab.plan.fingerprints["iteration_0/generations"])
    assert sample_responses(lab, 0)["drawn"] == 3
    grade_responses(lab, 0)
    assert _generations(lab).height == 88


def test_more_samples_draw_only_the_missing_ones(scripted):
    lab, engine = scripted
    sample_responses(lab, 0)
    before = set(engine.drawn)
    more = tiny_experiment(
        iterations=0,
        verifiers=[{"name": "majority"}],
        sampling={"n_train": 4, "n_eval": 16, "max_tokens": 16},
    )
    again = Lab.open(more, home=lab.store.home, run_id="more")
    make_problems(again)
    engine.drawn = []
    assert sample_responses(again, 0) | {"seconds": 0, "tokens_per_second": 0, "waited_for_commits_seconds": 0} == {
        "drawn": 64,
        "reused": False,
        "reused_samples": 88,
        "new_tokens": 192,
        "prompt_tokens": 64.0,
        "seconds": 0,
        "tokens_per_second": 0,
        "waited_for_commits_seconds": 0,
    }
    assert len(engine.drawn) == 64
    assert not before & set(engine.drawn)


def test_what_was_spent_is_kept_with_the_result_of_this_run_only(scripted):
    """In SQL by the run that drew; another experiment that adopts the table has not spent it."""
    lab, _ = scripted
    lab.spent = sample_responses(lab, 0)
    grade_responses(lab, 0)
    twin = Lab.open(lab.experiment.model_copy(update={"name": "twin"}), home=lab.store.home, run_id="twin")
    make_problems(twin)
    assert sample_responses(twin, 0) == {"drawn": 0, "reused": True}
    grade_responses(twin, 0)
    rebuild_catalog(lab.store.home)
    rows = query(
        lab.store.home,
        "SELECT experiment, metadata->>'prompt_tokens' AS spent, metadata->>'responses' AS n FROM materializations "
        "WHERE asset = 'generations' ORDER BY experiment",
    ).rows()
    assert rows == [("tiny", "88.0", "88"), ("twin", None, "88")]


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_drawn(scripted):
    lab, engine = scripted
    engine.fits = lambda prompts, new_tokens=0, continuations=None: [
        Fit(40 + i, new_tokens, 48) for i in range(len(prompts))
    ]
    with pytest.raises(EngineError, match=r"engine scripted: max_tokens: a prompt of 53 tokens and 16 tokens after it"):
        sample_responses(lab, 0)
    assert not engine.drawn


def test_requests_are_made_as_the_engine_reads_them(scripted, monkeypatch):
    """Identities are made in parts of 8 samples: when the first answer comes, not all 88 have been asked for."""
    lab, engine = scripted
    monkeypatch.setattr(wanted, "SAMPLES_AT_ONCE", 8)
    asked = []
    answers = engine.answers
    engine.answers = lambda waiting: asked.append(engine.asked) or answers(waiting)
    sample_responses(lab, 0)
    assert asked[0] <= 24
    assert engine.most <= 24


def test_grading_is_left_for_later_when_it_is_slower_than_the_engine(scripted, monkeypatch):
    """The grader needs more time than the engine: what is committed meanwhile has no grade, and nothing is lost."""
    lab, _ = scripted
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 16)
    monkeypatch.setattr("ops.stages.grading.MOST_ITEMS", 1)
    monkeypatch.setattr("ops.stages.grading.FIRST_ITEMS", 1)
    slow = threading.Event()
    task = type(lab.experiment.task)
    grade_all = task.grade_all
    monkeypatch.setattr(task, "grade_all", lambda self, items: slow.wait(0.01) or grade_all(self, items))
    sample_responses(lab, 0)
    ungraded = sample_pool(lab, 0).read()["grader"].null_count()
    assert ungraded > 0
    grade_responses(lab, 0)
    assert _generations(lab)["verdict"].null_count() == 0


def test_verification_in_blocks_says_the_same(tmp_path, monkeypatch):
    """Blocks of two problems at a time give the same table as one block."""

    def run(place):
        verifiers = [
            {"name": "logit"},
            {"name": "binary_cot", "max_tokens": 16, "repeats": 2},
            {"name": "tournament", "max_tokens": 16},
            {"name": "ensemble", "of": ["logit", "binary_cot"], "how": "and"},
        ]
        lab = Lab.open(tiny_experiment(iterations=0, verifiers=verifiers), home=tmp_path / place, run_id=place)
        from ops.stages.base_model import obtain_base_model

        make_problems(lab)
        obtain_base_model(lab)
        sample_responses(lab, 0)
        grade_responses(lab, 0)
        verify_responses(lab, 0)
        collect_scores(lab, 0)
        lab.close()
        return lab.store.read("verification_scores", lab.plan.fingerprints["iteration_0/verification_scores"])

    whole = run("whole")
    monkeypatch.setattr("ops.stages.verification.BLOCK_RESPONSES", 9)
    parts = run("parts")
    assert parts.drop("score").equals(whole.drop("score"))
    for a, b in zip(parts["score"], whole["score"], strict=True):
        assert a == pytest.approx(b, abs=1e-5)
