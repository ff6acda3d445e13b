"""What all asset checks are made of: a finding in words, and the op around the function that looks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets.common import EXPERIMENT
from ops.errors import MindgapError
from ops.kinds import kind_of, kind_of_group
from ops.lab import Lab
from ops.stopping import last_iteration

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Finding:
    """Outcome of a check: whether it holds, a sentence saying why, and the numbers behind it."""

    passed: bool
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


def asset_check(
    asset: dg.AssetKey,
    name: str,
    description: str,
    look: Callable[[Lab, int], Finding],
    *,
    iteration: int | None = None,
    trains: bool = False,
    severity: dg.AssetCheckSeverity = ERROR,
    blocking: bool = False,
) -> dg.AssetChecksDefinition:
    """The check ``name`` of an asset: it opens the store for reading and reports what ``look`` finds.

    Args:
        look: of (lab, iteration); 0 for assets outside of the iterations.
        trains: whether the asset belongs to training, which the last iteration does not have.
    """

    @dg.asset_check(
        asset=asset,
        name=name,
        description=description,
        blocking=blocking,
        partitions_def=EXPERIMENT,
        required_resource_keys={"bench"},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            lab = context.resources.bench.reader(context.partition_key)
            missing = _missing(lab, asset)
            if missing is not None:
                finding = Finding(True, f"nothing to check: experiment {lab.experiment.name} has no {missing}")
            elif iteration is not None and iteration > _last(lab, trains):
                finding = Finding(True, f"nothing to check: experiment {lab.experiment.name} has no such iteration")
            else:
                finding = look(lab, iteration or 0)
        except MindgapError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        return dg.AssetCheckResult(
            passed=finding.passed,
            severity=severity,
            description=finding.sentence,
            metadata={"why": finding.sentence, **finding.numbers},
        )

    return check


def judged_share(share: float, limit: float, because: str) -> Finding:
    """A share of unparseable responses against its limit.

    Args:
        because: what it means that there are too many, and what to do.
    """
    numbers = {"unparseable_fraction": share, "limit": limit}
    said = f"{share:.1%} of the responses are unparseable, the limit is {limit:.1%}"
    if share < limit or share == 0.0:
        return Finding(True, said, numbers)
    return Finding(False, f"{said}: {because}", numbers)


def _missing(lab: Lab, asset: dg.AssetKey) -> str | None:
    """What the experiment lacks, so that it has no such asset: that of another kind of experiment (``ops.kinds``)."""
    kind = kind_of_group(asset.path[0])
    if kind in (None, kind_of(lab.experiment)):
        return None
    return "iterations" if kind == "loop" else kind


def _last(lab: Lab, trains: bool) -> int:
    return last_iteration(lab.experiment, lab.plan, lab.store) - (1 if trains else 0)
