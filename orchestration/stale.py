"""Which results of an experiment are no longer what would be computed now, and why: its file, the code, or an input.

The plan knows every fingerprint before anything runs, so this reads manifests and hashes files that changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.plan import CODE_VERSIONS, Plan, make_plan
from ops.storage.layout import latest_manifest, materialization_folder, plain, read_manifest, safe

INPUTS = {
    "problems": "a problem file or the task's version",
    "base_model": "the checkpoint",
    "evaluation/human_labels": "the file of labels",
    "evaluation/synthetic_judgements": "a judge, or its file of judgements",
}
"""Assets that read something which is not ours, by what of it may have changed."""

MADE_OF = {
    "evaluation/human_labels": ("problems", "evaluation/pairs"),
    "evaluation/synthetic_judgements": ("base_model", "evaluation/pairs"),
}
"""What else explains that such an asset is stale."""

SHOWN = 6
"""Causes that are listed; the others are counted."""


@dataclass(frozen=True)
class Stale:
    """An experiment that has been complete and is no longer.

    Attributes:
        report: the fingerprint that its report would have now; it stands for the whole plan.
        reported: when its last report was committed, in microseconds of 16 digits.
        assets: names of the assets that would be computed or adopted anew, in the plan's order.
        code: of those whose own code version changed, (then, now).
        config: top-level fields of the experiment that differ from the last registered ones.
    """

    experiment: str
    report: str
    reported: str
    assets: tuple[str, ...]
    code: Mapping[str, tuple[str, str]]
    config: tuple[str, ...]


def stale_results_of(experiment: Experiment, home: Path) -> Stale | None:
    """What is stale; None where nothing is, and where the experiment has never come to its report.

    Raises:
        ModelError, DatasetError: when a file that it reads cannot be read.
        StorageError: when a manifest is damaged.
    """
    reported = _latest(home, experiment.name, "report")
    if reported is None:
        return None
    plan = make_plan(experiment)
    wanted = plan.fingerprints["report"]
    if reported["fingerprint"] == wanted:
        return None
    assets, code = [], {}
    for name, fingerprint in plan.fingerprints.items():
        known = _latest(home, experiment.name, name)
        if known is not None and known["fingerprint"] == fingerprint:
            continue
        assets.append(name)
        now = CODE_VERSIONS[name.rpartition("/")[2]]
        if known is not None and known["code_version"] != now:
            code[name] = (known["code_version"], now)
    fields = _changed_fields(experiment, home, plan)
    return Stale(experiment.name, wanted, report_stamp(home, experiment.name), tuple(assets), code, fields)


def report_stamp(home: Path, experiment: str) -> str:
    """When the experiment's last report was committed, as its manifest is called; '' where there is none.

    Part of a run's key: the same plan may be wanted again after another one was run in between.
    """
    path = latest_manifest(materialization_folder(home, experiment, "report", None))
    return "" if path is None else path.name.partition("-")[0]


def why(stale: Stale) -> str:
    """One line for people: the causes first, then how much hangs on them."""
    causes = [f"{name}: code version {then} -> {now}" for name, (then, now) in stale.code.items()]
    if stale.config:
        causes.append(f"the experiment's {', '.join(stale.config)} changed")
    elif not any(name in stale.code for name in INPUTS):
        causes += [f"{name}: {what} changed" for name, what in INPUTS.items() if _is_first(name, stale)]
    if not causes:
        first = next((name for name in stale.assets if name != "report"), "report")
        causes.append(f"{first}: never computed, or what it is made of has a new version")
    named = ", ".join(stale.assets[:SHOWN]) + (" ..." if len(stale.assets) > SHOWN else "")
    return f"{len(stale.assets)} of its assets are stale ({named}): {_first(causes)}"


def _is_first(name: str, stale: Stale) -> bool:
    """Whether the asset is stale by what it reads itself, not by an asset that is stale before it."""
    return name in stale.assets and not any(before in stale.assets for before in MADE_OF.get(name, ()))


def _first(causes: list[str]) -> str:
    rest = len(causes) - SHOWN
    return "; ".join(causes[:SHOWN]) + (f"; {rest} more" if rest > 0 else "")


def _latest(home: Path, experiment: str, name: str) -> dict[str, Any] | None:
    """The manifest of an asset's last materialization."""
    path = latest_manifest(materialization_folder(home, experiment, name, None))
    return None if path is None else read_manifest(path)


def _changed_fields(experiment: Experiment, home: Path, plan: Plan) -> tuple[str, ...]:
    """Top-level fields that differ from those of the plan that was registered last before this one."""
    now = plain(experiment.model_dump(mode="json"), experiment.name)
    folder = home / "experiments" / safe(experiment.name, "experiment")
    for path in sorted(folder.glob("[0-9]*.json"), reverse=True):
        known = read_manifest(path)
        if known["fingerprints"] != dict(plan.fingerprints):
            then = known["config"]
            return tuple(name for name in now if name in then and now[name] != then[name])
    return ()
