"""The simulation of outcome-based bandits as an asset: without partitions, upstream of nothing."""

from typing import Any

import dagster as dg

from assets.common import OWNERS
from assets.metadata import shown
from ops.bandits.settings import Bandits, bandit_settings
from ops.errors import MindgapError
from ops.gpu_ops import CPU_TAGS
from ops.lab import home_folder
from ops.plan import CODE_VERSIONS
from ops.progress import Throttled
from ops.stages.bandits import simulate_bandits
from ops.storage.catalog import rebuild_catalog
from ops.storage.store import Store

BANDIT_GROUP = "bandits"
LOG_EVERY_SECONDS = 15.0
DEFAULT = Bandits()


class BanditConfig(dg.Config):
    """The settings of ``ops.bandits.settings.Bandits``, with its defaults."""

    name: str = DEFAULT.name
    arms: list[int] = list(DEFAULT.arms)  # noqa: RUF012  (Dagster copies it, as pydantic does)
    outcomes: int = DEFAULT.outcomes
    class_sizes: str = DEFAULT.class_sizes
    gaps: list[float] = list(DEFAULT.gaps)  # noqa: RUF012
    rounds: int = DEFAULT.rounds
    runs: int = DEFAULT.runs
    batch: int = DEFAULT.batch
    batch_weight: float = DEFAULT.batch_weight
    confidence: float = DEFAULT.confidence
    resamples: int = DEFAULT.resamples
    seed: int = DEFAULT.seed


@dg.asset(
    key=dg.AssetKey("bandit_regret"),
    group_name=BANDIT_GROUP,
    owners=OWNERS,
    kinds={"python", "matplotlib"},
    description="Regret of exploring by arm and by outcome in simulated outcome-based bandits (arXiv 2509.06941, "
    "section 5), beside what theory says. About a minute; its settings are the run's config; no experiment reads it. "
    "SQL: `FROM bandit_regret`.",
    code_version=CODE_VERSIONS["bandit_regret"],
    tags={"mindgap/resource": "cpu"},
    op_tags=CPU_TAGS,
)
def bandit_regret(context: dg.AssetExecutionContext, config: BanditConfig) -> dg.MaterializeResult[Any]:
    try:
        settings = bandit_settings(config.model_dump())
        progress = Throttled(context.log.info, LOG_EVERY_SECONDS)
        result = simulate_bandits(settings, Store(home_folder()), run_id=context.run_id, progress=progress)
    except MindgapError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    rebuild_catalog(home_folder())
    return dg.MaterializeResult(metadata=shown(result), data_version=dg.DataVersion(result.fingerprint))
