"""Where the loop of an experiment ends: at its last iteration, or earlier by a rule that it lists under ``stop``.

The tables ``stopping_rules`` decide, and nothing else: they are a function of the experiment's settings and results,
so what is hidden behind a stop is the same whoever ran what before.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ops.config import Experiment
from ops.errors import StorageError
from ops.plan import Plan, asset_name
from ops.storage.store import Store


def stopped_at(experiment: Experiment, plan: Plan, store: Store) -> tuple[int, str] | None:
    """The iteration after which a rule ended the loop, and why in words; None where none has (yet).

    Nothing is trained on that iteration, and later ones are no part of the experiment, even where they were computed
    before the rule was listed. A rule that fires at the last iteration ends nothing that would have gone on.

    Raises:
        StorageError: when a table is damaged.
    """
    if not experiment.stop:
        return None
    for k in range(experiment.iterations):
        fingerprint = plan.fingerprints[asset_name("stopping_rules", k)]
        if not store.has("stopping_rules", fingerprint):
            return None
        fired = fired_stops(store.read("stopping_rules", fingerprint))
        if fired:
            return k, " ".join(fired)
    return None


def last_iteration(experiment: Experiment, plan: Plan, store: Store) -> int:
    """The last iteration that belongs to the experiment, as far as it is judged: 0..iterations."""
    stopped = stopped_at(experiment, plan, store)
    return experiment.iterations if stopped is None else stopped[0]


def judged_last_iteration(experiment: Experiment, plan: Plan, store: Store) -> int:
    """``last_iteration``, for what would be wrong if a rule were judged later.

    Raises:
        StorageError: when an iteration up to the last one is not judged yet.
    """
    last = last_iteration(experiment, plan, store)
    require_judged(experiment, plan, store, range(min(last + 1, experiment.iterations)))
    return last


def require_judged(experiment: Experiment, plan: Plan, store: Store, iterations: Sequence[int]) -> None:
    """Refuse to go on from iterations that the listed rules have not judged; without rules there is nothing to judge.

    Raises:
        StorageError: naming the table that has to be made first.
    """
    for k in iterations if experiment.stop else ():
        name = asset_name("stopping_rules", k)
        if not store.has("stopping_rules", plan.fingerprints[name]):
            raise StorageError(
                f"experiment {experiment.name}",
                f"stop lists {', '.join(experiment.stop)}, but iteration {k} is not judged by them yet",
                field="stop",
                remedy=f"materialise {name} first: `mindgap run {experiment.name}` does it in order",
            )


def fired_stops(rules: pl.DataFrame) -> list[str]:
    """Sentences of the rows of ``stopping_rules`` that end the loop; a rule that cannot be judged (NULL) never does."""
    fired = rules.filter(pl.col("stops") & pl.col("fires").fill_null(False))
    return fired["sentence"].to_list()
