"""The tournament: brackets by hand, both orders, ties, byes, equal and unreadable responses."""

import json
import random
from collections import Counter

import pytest

from ops.types import CORRECT, INCORRECT, UNPARSEABLE
from ops.verifiers import tournament as module
from ops.verifiers.bracket import Bracket
from ops.verifiers.tournament import Tournament
from tests.verifiers.scripted import PlainFormat, ScriptedEngine, items_of, verified


def larger(prompt, seed):
    """A consistent judge: the larger number wins, whichever is shown first."""
    first, second = (int(part) for part in prompt.split(": ")[1].split(" against "))
    return f"Compared.\nBetter: {'A' if first > second else 'B'}"


def always_first(prompt, seed):
    return "The one on top.\nBetter: A"


class StillBracket(Bracket):
    """Without chance: contestants stay in order, and of a tie the lower one falls."""

    def _random(self, what):
        class Still:
            def shuffle(self, order):
                pass

            def randrange(self, n):
                return 0

        return Still()


@pytest.fixture
def still(monkeypatch):
    monkeypatch.setattr(module, "Bracket", StillBracket)


def scores(found):
    return [verification.score for verification in found]


def test_a_bracket_of_eight_by_hand(still):
    # The first half meets the second: (0,4) (1,5) (2,6) (3,7); the larger survive: 4 5 6 7.
    # (4,6) (5,7): 6 7. (6,7): 7. Three rounds, so 0..3 survived 0 of 3, 4 and 5 one, 6 two, 7 all.
    engine = ScriptedEngine(larger)
    found = verified(Tournament(), engine, items_of([str(i) for i in range(8)]))
    assert scores(found) == pytest.approx([0, 0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert [v.verdict for v in found] == [INCORRECT] * 7 + [CORRECT]
    assert [len(call) for call in engine.calls] == [8, 4, 2]  # every pair in both orders
    assert set(engine.calls[0]) == {
        f"compare p0: {a} against {b}" for i in range(4) for a, b in [(i, i + 4), (i + 4, i)]
    }


def test_an_odd_group_gets_byes_by_hand(still):
    # 0 1 2 3 4: the last has a bye; (0,2) (1,3): 2 3 4. Bye for 4; (2,3): 3 4. (3,4): 4. Three rounds.
    found = verified(Tournament(), ScriptedEngine(larger), items_of(["0", "1", "2", "3", "4"]))
    assert scores(found) == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    last = json.loads(found[4].transcript)
    assert [match["outcome"] for match in last] == ["bye", "bye", "win"]
    assert last[0]["opponent"] is None


def test_a_position_biased_judge_gives_ties_only():
    found = verified(Tournament(), ScriptedEngine(always_first), items_of(["1", "2", "3", "4"]))
    assert scores(found) == [1.0] * 4
    matches = [json.loads(v.transcript) for v in found]
    assert all([match["outcome"] for match in record] == ["tie"] for record in matches)
    assert all((m["shown_first"], m["shown_second"]) == ("self", "opponent") for record in matches for m in record)


def test_asked_in_one_order_the_biased_judge_decides(still):
    # (0,2) (1,3): the one shown first wins: 0 1. (0,1): 0.
    engine = ScriptedEngine(always_first)
    found = verified(Tournament(both_orders=False), engine, items_of(["a", "b", "c", "d"]))
    assert scores(found) == [1.0, 0.5, 0.0, 0.0]
    assert [len(call) for call in engine.calls] == [2, 1]
    assert json.loads(found[0].transcript)[0]["shown_second"] is None


def test_in_one_order_frequent_responses_are_not_favoured():
    # 6 equal responses against 6 others, judged by position alone: each side should be shown first about half the time.
    # 50 groups x 6 pairs: the frequent text wins 150 of 300, standard deviation 8.7.
    wins = 0
    for seed in range(50):
        items = items_of(["same"] * 6 + [f"other{i}" for i in range(6)])
        found = verified(Tournament(both_orders=False, rounds=1, seed=seed), ScriptedEngine(always_first), items)
        wins += sum(v.score == 1.0 for v in found[:6])
    assert 115 < wins < 185


def test_random_ties_leave_one(still):
    # All are ties, the lower one falls: (0,2) (1,3) -> 2 3 -> 3.
    found = verified(Tournament(ties="random"), ScriptedEngine(always_first), items_of(["a", "b", "c", "d"]))
    assert scores(found) == [0.0, 0.0, 0.5, 1.0]


def test_rounds_limit_the_tournament(still):
    found = verified(Tournament(rounds=1), ScriptedEngine(larger), items_of([str(i) for i in range(8)]))
    assert scores(found) == [0.0] * 4 + [1.0] * 4
    # With a limit, a round in which nobody falls does not end it.
    engine = ScriptedEngine(always_first)
    verified(Tournament(rounds=3), engine, items_of(["a", "b"]))
    assert len(engine.calls) == 3


def test_unreadable_comparisons_are_their_own_outcome():
    found = verified(Tournament(), ScriptedEngine(lambda prompt, seed: "Hard to say."), items_of(["a", "b", "c"]))
    outcomes = [{match["outcome"] for match in json.loads(v.transcript)} for v in found]
    compared = [i for i in range(3) if "unparseable" in outcomes[i]]
    assert len(compared) == 2  # the third had a bye
    for i in range(3):
        assert found[i].score == (None if i in compared else 1.0)
        assert found[i].verdict == (UNPARSEABLE if i in compared else CORRECT)


def test_one_unreadable_order_decides_nothing(still):
    def judge(prompt, seed):
        if " 0" not in prompt:
            return larger(prompt, seed)
        return "Better: A" if prompt.endswith(": 0 against 2") else "Hard."

    # (0,2) is unreadable in one order: no decision, both go on; (1,3): 3. Left 0 2 3: bye 3, (0,2) again: nobody falls.
    found = verified(Tournament(), ScriptedEngine(judge), items_of(["0", "1", "2", "3"]))
    assert scores(found) == [None, 0.0, None, 1.0]
    record = json.loads(found[0].transcript)[0]
    assert (record["outcome"], record["shown_first"], record["shown_second"]) == ("unparseable", "self", "unparseable")
    assert record["survived"]
    mirrored = json.loads(found[2].transcript)[0]
    assert (mirrored["shown_first"], mirrored["shown_second"]) == ("unparseable", "opponent")


def test_equal_responses_are_not_asked_about():
    engine = ScriptedEngine(larger)
    found = verified(Tournament(), engine, items_of(["7"] * 4, ["5"]))
    assert scores(found) == [1.0] * 5
    assert engine.calls == []
    assert [v.transcript for v in found] == ["[]"] * 5


def test_equal_responses_meet_others_where_there_are_any():
    # Two texts, three each: in every round each 1 meets a 2, so one round decides; no pair is equal.
    for seed in range(20):
        engine = ScriptedEngine(larger)
        found = verified(Tournament(seed=seed), engine, items_of(["1", "2", "2", "1", "1", "2"]))
        assert scores(found) == [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]
        assert [len(call) for call in engine.calls] == [6]


def test_random_ties_between_equal_responses():
    found = verified(Tournament(ties="random"), ScriptedEngine(larger), items_of(["7", "7"]))
    assert sorted(scores(found)) == [0.0, 1.0]
    assert {json.loads(v.transcript)[0]["outcome"] for v in found} == {"equal"}


def test_the_best_wins_whatever_the_seed():
    brackets = set()
    for seed in range(10):
        found = verified(Tournament(seed=seed), ScriptedEngine(larger), items_of([str(i) for i in range(8)]))
        assert found[7].score == 1.0
        assert Counter(round(3 * score) for score in scores(found)) == {0: 4, 1: 2, 2: 1, 3: 1}
        brackets.add(tuple(scores(found)))
    assert len(brackets) > 3


def test_records_mirror_each_other_and_hold_the_raw_texts_once():
    found = verified(Tournament(), ScriptedEngine(larger), items_of([str(i) for i in range(6)]))
    records = {i: json.loads(v.transcript) for i, v in enumerate(found)}
    flipped = {"win": "loss", "loss": "win", "tie": "tie"}
    for i, record in records.items():
        for match in record:
            if match["opponent"] is None:
                continue
            other = next(m for m in records[match["opponent"]] if m["round"] == match["round"])
            assert other["opponent"] == i
            assert other["outcome"] == flipped[match["outcome"]]
            if i < match["opponent"]:
                first, second = (text.split()[-1] for text in match["transcripts"])
                said = ["A" if match["shown_first"] == "self" else "B", "B" if match["shown_second"] == "self" else "A"]
                assert [first, second] == said
            else:
                assert match["transcripts"] is None


def test_tokens_add_up():
    engine = ScriptedEngine(larger)
    found = verified(Tournament(), engine, items_of([str(i) for i in range(7)], ["3", "9", "3"]))
    assert sum(v.n_tokens for v in found) == engine.n_tokens > 0


def test_neither_order_nor_blocks_change_anything(monkeypatch):
    def moody(prompt, seed):
        return f"Better: {'AB'[seed % 2]}"

    items = items_of([str(i) for i in range(9)], ["a", "b", "a", "c"], ["x", "y", "z"])
    before = verified(Tournament(), ScriptedEngine(moody), items)
    order = list(range(len(items)))
    random.Random(1).shuffle(order)
    shuffled = verified(Tournament(), ScriptedEngine(moody), [items[i] for i in order])
    assert [before[i] for i in order] == shuffled
    monkeypatch.setattr(module, "BLOCK", 4)
    assert verified(Tournament(), ScriptedEngine(moody), items) == before


def test_a_block_fills_the_engine_and_yields_problem_by_problem():
    engine = ScriptedEngine(larger)
    items = items_of(*[[str(i) for i in range(4)] for _ in range(5)], ["1", "2"])
    groups = list(Tournament().verify(engine, PlainFormat(), items))
    assert [len(call) for call in engine.calls] == [5 * 4 + 2, 5 * 2]
    assert [len(group) for group in groups] == [2, 4, 4, 4, 4, 4]  # the short one is finished a round earlier


def test_every_question_has_a_seed_of_its_own():
    engine = ScriptedEngine(always_first)
    verified(Tournament(rounds=3), engine, items_of(["a", "b", "a", "b"]))
    assert len(set(engine.seeds)) == len(engine.seeds) == 12  # 2 pairs, 2 orders, 3 rounds; the texts repeat
