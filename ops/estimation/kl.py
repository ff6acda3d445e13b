"""KL divergence of one model from another, from samples of the first and their log-probabilities under both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import divide, mean_intervals, ratio_intervals
from ops.estimation.gap import per_problem
from ops.types import Interval


@dataclass(frozen=True)
class KlEstimate:
    """KL(pi || pi_0) of whole responses, with intervals over problems.

    Attributes:
        nats: mean over problems of the mean log-ratio log pi(y|x) - log pi_0(y|x) of samples y of pi: unbiased (called
            k1), and of either sign in a sample.
        k3_nats: the same mean of exp(-r) - 1 + r of log-ratios r: unbiased too where pi_0 gives no weight outside of
            what pi can say, and never below 0.
        nats_per_token: sum of the log-ratios over the sum of the tokens, both over all problems.
        n_problems: with a response that could be read under both.
    """

    nats: Interval
    k3_nats: Interval
    nats_per_token: Interval
    n_problems: int
    n_responses: int


def estimate_kl(
    problem_index: np.ndarray,
    log_ratio: np.ndarray,
    n_tokens: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
) -> KlEstimate:
    """Estimate the divergence from the log-ratios of responses that the first model drew at temperature 1 and top-p 1.

    Of responses that were drawn otherwise it is the mean log-ratio over what was drawn, not the divergence.

    Args:
        problem_index: int [N], 0..P-1; a problem may have no response: it is left out.
        log_ratio: float [N], log pi(y|x) - log pi_0(y|x) in nats; NaN where it could not be read: left out.
        n_tokens: tokens [N] that the log-ratio is of.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
    """
    n_problems = counts_RP.shape[1]
    used = ~np.isnan(log_ratio)
    index, ratio = problem_index[used], log_ratio[used]
    size_P = per_problem(index, np.ones(len(ratio)), n_problems)
    total_P = per_problem(index, ratio, n_problems)
    k3_P = per_problem(index, np.expm1(-ratio) + ratio, n_problems)
    tokens_P = per_problem(index, n_tokens[used].astype(float), n_problems)
    means = mean_intervals({"nats": divide(total_P, size_P), "k3": divide(k3_P, size_P)}, counts_RP, confidence)
    pooled = ratio_intervals({"per_token": (total_P, tokens_P)}, counts_RP, confidence)
    return KlEstimate(means["nats"], means["k3"], pooled["per_token"], int((size_P > 0).sum()), len(ratio))
