"""Groups of responses, for the tests of bonuses, rewards and advantages."""

from __future__ import annotations

import numpy as np

from ops.exploration.group import Group


def group(answers, seen=None, correct=(), logprob=None) -> Group:
    """Of these answers; ``correct``: positions of correct responses, what is not given is 0."""
    n = len(answers)
    correct_N = np.array([i in correct for i in range(n)])
    logprob_N = np.zeros(n) if logprob is None else np.array(logprob, dtype=float)
    return Group(tuple(answers), correct_N, logprob_N, np.array([0] * n if seen is None else seen))
