"""Bandits whose arms share outcomes (2509.06941, section 5): algorithms by name, one file each, one line here."""

from ops.bandits.arm_ucb import ArmUcb
from ops.bandits.base import Learner
from ops.bandits.batch import Batch
from ops.bandits.greedy import Greedy
from ops.bandits.outcome_ucb import OutcomeUcb
from ops.bandits.outcome_ucb_seen import OutcomeUcbSeen

LEARNERS: dict[str, type[Learner]] = {
    "arm_ucb": ArmUcb,
    "outcome_ucb_seen": OutcomeUcbSeen,
    "outcome_ucb": OutcomeUcb,
    "batch": Batch,
    "greedy": Greedy,
}
