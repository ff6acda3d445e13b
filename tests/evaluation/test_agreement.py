"""Agreement of annotators against values by hand and Krippendorff's own example."""

from __future__ import annotations

import math

import pytest

from ops.evaluation.agreement import Agreement, agreement

# Krippendorff (2011), Computing Krippendorff's alpha-reliability: 4 observers, 12 units, interval metric .849
KRIPPENDORFF = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def measured(labels: list[tuple[str, str, str, float]]) -> Agreement:
    return agreement(labels, resamples=300, confidence=0.95, seed=0)


def test_krippendorffs_example():
    labels = [
        (f"u{unit}", f"u{unit}", f"o{observer}", float(value))
        for observer, line in enumerate(KRIPPENDORFF)
        for unit, value in enumerate(line.split())
        if value != "."
    ]
    found = measured(labels)
    assert found.alpha.value == pytest.approx(0.849, abs=5e-4)
    assert found.n_pairs == 11  # unit 12 has one value only
    assert found.alpha.low < found.alpha.value < found.alpha.high


def test_by_hand():
    """Pairs (1, 1), (0, 0), (1, 0), (0.5, 0.5): 3 of 4 couples agree.

    Within: only the third differs, variance 1/2, m = 2: sum m s^2 = 1, over n = 8 labels .125.
    All labels 1 1 0 0 1 0 .5 .5: mean .5, sum of squares 6 * .25 = 1.5, variance 1.5 / 7 = .2142857.
    alpha = 1 - .125 / .2142857 = .4166667.
    """
    values = {"p0": (1, 1), "p1": (0, 0), "p2": (1, 0), "p3": (0.5, 0.5)}
    labels = [(pair, pair, who, float(v)) for pair, both in values.items() for who, v in zip("ab", both, strict=True)]
    found = measured([*labels, ("p4", "p4", "a", 1.0)])
    assert found.percent.value == 0.75
    assert found.alpha.value == pytest.approx(1 - 0.125 / (1.5 / 7))
    assert (found.n_pairs, found.n_conflicts, found.n_annotators) == (4, 1, 2)


def test_undefined():
    """Nobody in common; and everybody always says the same, where chance would agree as well."""
    assert measured([("p0", "p0", "a", 1.0), ("p1", "p1", "b", 0.0)]).n_pairs == 0
    assert math.isnan(measured([]).percent.value)
    found = measured([("p0", "p0", "a", 1.0), ("p0", "p0", "b", 1.0)])
    assert found.percent.value == 1.0
    assert math.isnan(found.alpha.value)


def test_intervals_resample_problems():
    """Ten pairs of one problem are one draw: without a second problem there is no spread."""
    values = [(1.0, 1.0), (1.0, 0.0)] * 5
    of_one = [(f"p{i}", "same", who, v) for i, both in enumerate(values) for who, v in zip("ab", both, strict=True)]
    found = measured(of_one)
    assert (found.percent.low, found.percent.value, found.percent.high) == (0.5, 0.5, 0.5)
    of_many = [(f"p{i}", f"q{i}", who, v) for i, both in enumerate(values) for who, v in zip("ab", both, strict=True)]
    assert measured(of_many).percent.low < 0.5 < measured(of_many).percent.high
