"""The stage ``saturation`` on fabricated responses whose curves are computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops.errors import StorageError
from ops.lab import Lab
from ops.stages.saturation import fit_saturation, in_words
from tests.conftest import tiny_experiment
from tests.studies import commit_rows

N_RESPONSES = 20
NUMBERS = ("limit", "rate", "half_life_iterations", "next_value")


def open_lab(tmp_path: Path, **changes: Any) -> Lab:
    settings = {"filter": {"name": "gold"}, "gap_filters": [{"name": "gold"}], "iterations": 2}
    return Lab.open(tiny_experiment(**{**settings, **changes}), home=tmp_path / "home")


def commit(lab: Lab, table: str, iteration: int, rows: list[dict[str, Any]]) -> None:
    commit_rows(lab, table, table, iteration, rows)


def responses(n_correct: int, problems: tuple[str, ...] = ("a", "b")) -> list[dict[str, Any]]:
    """Of every problem, the first ``n_correct`` of 20 responses are correct."""
    return [
        {
            "split": "eval",
            "problem_id": problem,
            "sample_index": i,
            "verdict": "correct" if i < n_correct else "incorrect",
            "strict_verdict": "correct" if i < n_correct else "incorrect",
            "response_id": f"{problem}-{i}",
        }
        for problem in problems
        for i in range(N_RESPONSES)
    ]


def measured(lab: Lab, *n_correct: int) -> None:
    for k, count in enumerate(n_correct):
        commit(lab, "generations", k, responses(count))
        commit(lab, "verification_scores", k, [])


def rules(lab: Lab, iteration: int, fires: bool) -> None:
    row = {"rule": "gap_closed", "stops": True, "limit": 0.0, "fires": fires, "sentence": "The gap."}
    commit(lab, "stopping_rules", iteration, [row])


def fitted(lab: Lab) -> dict[str, dict[str, Any]]:
    result = fit_saturation(lab)
    frame = lab.store.read("saturation", result.fingerprint)
    assert frame["rule"].to_list() == [None, "gold labels", "gold labels"]
    return {row["quantity"]: row for row in frame.iter_rows(named=True)}


def test_three_curves_by_hand(tmp_path):
    """Accuracy 8/20, 6/20, 5/20 = .40, .30, .25: half the step each time, so the limit is .20, the next value .225.
    Gold labels keep only what is correct: the gap is 1 - accuracy = .60, .70, .75, its limit .80, its next value .775;
    the relative gap is 1 at every iteration: a flat curve, whose limit is 1 and whose rate is not known."""
    lab = open_lab(tmp_path)
    measured(lab, 8, 6, 5)
    rows = fitted(lab)
    assert [rows[name]["limit"] for name in ("accuracy", "gap", "relative_gap")] == pytest.approx(
        [0.2, 0.8, 1.0], abs=1e-5
    )
    assert [rows[name]["next_value"] for name in ("accuracy", "gap")] == pytest.approx([0.225, 0.775], abs=1e-5)
    assert rows["gap"]["half_life_iterations"] == pytest.approx(1.0, abs=1e-4)
    assert rows["relative_gap"]["rate"] is None and rows["relative_gap"]["half_life_iterations"] is None
    assert {row["n_iterations"] for row in rows.values()} == {3}
    # both problems have the same curve, so every resample has it, too
    assert (rows["accuracy"]["limit_low"], rows["accuracy"]["limit_high"]) == pytest.approx((0.2, 0.2), abs=1e-5)


def test_a_straight_line_has_no_limit_and_says_so(tmp_path):
    lab = open_lab(tmp_path)
    measured(lab, 4, 6, 8)
    row = fitted(lab)["accuracy"]
    assert (row["limit"], row["limit_low"], row["half_life_iterations"], row["rate"]) == (None, None, None, 0.0)
    assert row["next_value"] == pytest.approx(0.5, abs=1e-3)
    assert in_words(row).startswith("no limit in sight; one more iteration: +.500")


def test_a_limit_that_is_only_bounded_says_its_bound():
    base = {"quantity": "gap", "n_iterations": 4, "rate": 0.0, "half_life_iterations": None, "next_value": 0.5}
    row = base | {"limit": None, "limit_low": 0.48, "limit_high": None, "next_value_low": 0.4, "next_value_high": 0.6}
    assert in_words(row) == "no limit in sight (it is at least +.480); one more iteration: +.500 [+.400, +.600]"
    row |= {"limit": 0.6, "half_life_iterations": 2.0}
    assert in_words(row).startswith("limit +.600 [+.480, +∞], half of the way to it in 2.0 iterations; ")


def test_a_limit_that_cannot_be_is_said_never_to_be_reached():
    """An accuracy of .40 .46 .515 .57 .62 bends so little that its fitted limit lies above 1."""
    row = dict.fromkeys(("limit_low", "limit_high", "half_life_iterations", "next_value_low", "next_value_high"))
    row |= {"quantity": "accuracy", "n_iterations": 5, "rate": 0.05, "limit": 1.57, "next_value": 0.66}
    assert in_words(row) == "limit +1.570 [−∞, +∞] (above 1: never reached); one more iteration: +.660"
    assert "never" not in in_words(row | {"quantity": "accuracy", "limit": 0.97})
    assert "(below −1: never reached)" in in_words(row | {"quantity": "gap", "limit": -1.2})


def test_two_iterations_are_undefined(tmp_path):
    lab = open_lab(tmp_path, iterations=1)
    measured(lab, 8, 6)
    rows = fitted(lab)
    assert all(row[name] is None for row in rows.values() for name in (*NUMBERS, "residual", "limit_low"))
    assert {row["n_iterations"] for row in rows.values()} == {2}
    assert "at least 3 iterations" in in_words(rows["gap"])


def test_the_curves_end_where_a_rule_ended_the_loop_even_if_more_was_computed_before(tmp_path):
    """Without ``stop``, four iterations; with it, those up to the stop: the fourth is no part of this experiment."""
    free, ended = open_lab(tmp_path, iterations=3), open_lab(tmp_path, iterations=3, stop=["gap_closed"])
    measured(free, 8, 6, 5, 16)
    assert fitted(free)["accuracy"]["n_iterations"] == 4
    for k, fires in enumerate((False, False, True)):
        rules(ended, k, fires)
    row = fitted(ended)["accuracy"]
    assert (row["n_iterations"], row["limit"]) == (3, pytest.approx(0.2, abs=1e-5))
    assert fitted(free)["accuracy"]["n_iterations"] == 4  # neither took the other's table


def test_nothing_is_fitted_before_every_iteration_is_there_and_judged(tmp_path):
    lab = open_lab(tmp_path)
    measured(lab, 8, 6)
    with pytest.raises(StorageError, match="generations"):
        fit_saturation(lab)
    lab = open_lab(tmp_path, stop=["gap_closed"])
    measured(lab, 8, 6, 5)
    with pytest.raises(StorageError, match="not judged"):
        fit_saturation(lab)


def test_other_problems_at_a_later_iteration_are_refused(tmp_path):
    lab = open_lab(tmp_path)
    measured(lab, 8, 6)
    commit(lab, "generations", 2, responses(5, problems=("a", "c")))
    commit(lab, "verification_scores", 2, [])
    with pytest.raises(StorageError, match="different problems, for example b"):
        fit_saturation(lab)
