"""The pairwise judge: both orders, ties, what cannot be read, repeats; by hand."""

from __future__ import annotations

import json

import pytest

from ops.evaluation.judges.pairwise import PairQuestion, Pairwise
from ops.identity import seed_of
from ops.types import Problem
from tests.evaluation.judged_lab import Scripted, commit_pairs, judged, open_lab, script
from tests.verifiers.scripted import PlainFormat

PAIRS = [
    ("b", "good", "bad"),
    ("b", "bad", "good"),
    ("b", "same", "same"),
    ("b", "mute", "good"),
    ("b", "left", "left too"),
    ("b", "half", "good"),
]


def says(prompt: str, seed: int) -> str:
    """Prefers 'good'; of two 'left' ones the first; is mute about 'mute', and about 'half' where it comes first."""
    first, second = prompt.split(": ")[1].split(" against ")
    if "mute" in (first, second) or first == "half":
        return "I cannot tell."
    if first.startswith("left"):
        return "Better: A"
    return "so Better: A" if first == "good" else "so Better: B"


def test_scores_by_hand(tmp_path):
    lab = open_lab(tmp_path, [{"name": "pairwise"}])
    commit_pairs(lab, PAIRS)
    engine = Scripted(says)
    script(lab, engine)
    rows = judged(lab)
    # good named in both orders; the reference named in both; equal; nothing read; the first named twice; one order read
    assert rows["score"].to_list() == [1.0, 0.0, 0.5, None, 0.5, None]
    assert rows["score_shown_first"].to_list() == [1.0, 0.0, None, None, 1.0, None]
    assert rows["score_shown_second"].to_list() == [1.0, 0.0, None, None, 0.0, 0.0]
    assert json.loads(rows["transcript"][1]) == ["so Better: B", "so Better: A"]  # order by order
    assert rows["transcript"][2] is None
    assert rows["n_tokens"].to_list() == [6, 6, 0, 6, 4, 6]  # "so Better: A" is 3 words, "I cannot tell." too
    assert rows["reward"].null_count() == rows["reference_reward"].null_count() == 6
    assert set(rows["judge_model"]) == {lab.evaluation_plan.judge_models["pairwise"]}
    assert len(engine.calls) == 1 and len(engine.calls[0]) == 10  # equal responses are not asked about
    about = lab.store.about("synthetic_judgements", lab.plan.fingerprints["evaluation/synthetic_judgements"])
    shown = about["metadata"]
    assert shown["pairwise_unreadable_fraction"] == pytest.approx(2 / 6)
    # (1 - 1) / 2, (0 - 0) / 2 and (1 - 0) / 2 over the three that were read in both orders
    assert shown["pairwise_position_bias"] == pytest.approx(0.5 / 3)


def test_repeats_are_averaged_order_by_order(tmp_path):
    lab = open_lab(tmp_path, [{"name": "pairwise", "repeats": 3, "temperature": 1.0}])
    commit_pairs(lab, [("b", "one", "two")])
    first = {seed_of(f"b0/0#{i}", "pairwise"): text for i, text in enumerate(["Better: A", "Better: A", "Better: B"])}
    second = {seed_of(f"b0/1#{i}", "pairwise"): text for i, text in enumerate(["Better: A", "hm", "Better: B"])}
    script(lab, Scripted(lambda prompt, seed: (first | second)[seed]))
    row = judged(lab).row(0, named=True)
    # shown first: two of three name it; shown second ("B" is it): one of the two that could be read
    assert row["score_shown_first"] == pytest.approx(2 / 3)
    assert row["score_shown_second"] == pytest.approx(1 / 2)
    assert row["score"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert json.loads(row["transcript"]) == ["Better: A", "Better: A", "Better: A", "hm", "Better: B", "Better: B"]


def test_what_does_not_fit_is_unreadable_and_costs_only_itself(tmp_path):
    lab = open_lab(tmp_path, [{"name": "pairwise", "max_tokens": 5}])
    commit_pairs(lab, [("b", "good", "bad"), ("b", "good " * 30, "bad")])
    engine = Scripted(says)
    engine.context = 20
    script(lab, engine)
    rows = judged(lab)
    assert rows["score"].to_list() == [1.0, None]
    assert "not asked" in rows["transcript"][1]


def test_the_seed_is_of_pair_order_and_repeat():
    judge, problem = Pairwise(temperature=1.0, repeats=2), Problem("p", "any", "eval", {})
    ids = [identity for _, _, identity in judge.question_ids("x")]
    assert ids == ["x/0#0", "x/1#0", "x/0#1", "x/1#1"]
    engine = Scripted()
    questions = [PairQuestion(problem, "u", "v", order, i) for order, _, i in judge.question_ids("x")]
    list(judge.ask(engine, PlainFormat(), questions))
    assert sorted(engine.seeds) == sorted(seed_of(i, "pairwise") for i in ids)
    assert sorted(set(engine.calls[0])) == ["compare p: u against v", "compare p: v against u"]
    assert (engine.settings.temperature, engine.settings.top_p, engine.settings.max_tokens) == (1.0, 1.0, 48)
