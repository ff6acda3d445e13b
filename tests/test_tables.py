"""Tables as text: every kind of cell in one line."""

from __future__ import annotations

import polars as pl

from orchestration.tables import aligned


def test_lists_are_shown_as_lists():
    frame = pl.DataFrame({"pair": ["p0", "p1"], "said": [["ada: 1.0", "bob: 0.0"], []], "n": [[1, None], None]})
    assert aligned(frame).splitlines() == [
        "pair  said                      n",
        "----  ------------------------  ---------",
        "p0    ['ada: 1.0', 'bob: 0.0']  [1, None]",
        "p1    []                        -",
        "(2 rows)",
    ]
