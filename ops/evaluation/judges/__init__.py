"""Judges by name."""

from ops.evaluation.judges.base import Judge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.pairwise import Pairwise
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.judges.tuned import Tuned

JUDGES: dict[str, type[Judge]] = {
    "pairwise": Pairwise,
    "bradley_terry": BradleyTerry,
    "reward_model": RewardModel,
    "recorded": RecordedJudge,
    "tuned": Tuned,
}
