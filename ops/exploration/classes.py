"""Which responses of a group give the same answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def answer_classes(answers: Sequence[str | None], apart: bool = False) -> np.ndarray:
    """A class 0, 1, ... for each response, int64, shape [N]: equal where two canonical answers are equal.

    Unparseable responses (None) are one class, which no text is in; with ``apart`` each is a class of its own.
    """
    classes: dict[object, int] = {}
    keys = [(i,) if answer is None and apart else answer for i, answer in enumerate(answers)]
    return np.array([classes.setdefault(key, len(classes)) for key in keys], dtype=np.int64)
