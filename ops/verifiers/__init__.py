"""Verifiers by name: one file each, one line here."""

from ops.verifiers.binary_cot import BinaryCot
from ops.verifiers.ensemble import Ensemble
from ops.verifiers.logit import Logit
from ops.verifiers.majority import Majority
from ops.verifiers.p_true import PTrue
from ops.verifiers.recorded import Recorded
from ops.verifiers.score_cot import ScoreCot
from ops.verifiers.self_certainty import SelfCertainty
from ops.verifiers.sequence_logprob import SequenceLogprob
from ops.verifiers.tournament import Tournament

VERIFIERS = {
    "binary_cot": BinaryCot,
    "ensemble": Ensemble,
    "logit": Logit,
    "majority": Majority,
    "p_true": PTrue,
    "recorded": Recorded,
    "score_cot": ScoreCot,
    "self_certainty": SelfCertainty,
    "sequence_logprob": SequenceLogprob,
    "tournament": Tournament,
}
