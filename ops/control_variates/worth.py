"""What judges made of n labels: the saving that was to be expected, and the human labels that would be as precise."""

from __future__ import annotations

from ops.control_variates.data import Estimate, LabelledPairs
from ops.control_variates.pilot import Pilot, read_pilot
from ops.control_variates.planning import predicted_saving, variance_at

NO_INTERVAL = 2
"""Resamples of a pilot whose interval nobody reads."""


def label_worth(pairs: LabelledPairs, item: Estimate) -> tuple[float, float]:
    """The saving predicted for the labels of an estimate, and how many human labels would be as precise.

    Predicted: planning's saving, rho^2 (1 - n/N) with one pair per problem, from the labels of the estimate.

    Returns:
        both; NaN where they are undefined, the second also where all N labels would not do.

    Raises:
        DatasetError: when the labels say nothing of their spread.
    """
    pilot = read_pilot(pairs, 0.95, resamples=NO_INTERVAL)
    return predicted_saving(pilot, item.n_labelled).value, human_labels_equal(pilot, item.n_labelled, item.saving)


def human_labels_equal(pilot: Pilot, n: int, saving: float) -> float:
    """m with V_human(m) = (1 - saving) V_human(n), V_human of ``ops.control_variates.planning``, linear in 1/m.

    With one pair per problem it is n / (1 - saving). With several V_human has a floor: more labels on the same problems
    say ever less, so that m is larger, or there is none.

    Returns:
        m; NaN where the saving is, and where m would be above N.
    """
    one, at_n, everything = (float(variance_at(pilot, m)) for m in (1, n, pilot.n_pairs))
    wanted = (1.0 - saving) * at_n
    if not wanted >= everything * (1 - 1e-9) or one <= everything:
        return float("nan")
    part = (1 - 1 / pilot.n_pairs) * (wanted - everything) / (one - everything)
    return min(1 / (1 / pilot.n_pairs + part), float(pilot.n_pairs))
