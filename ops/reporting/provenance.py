"""Where every number of a report comes from: asset, fingerprint, code version, seed, run."""

from __future__ import annotations

from dataclasses import dataclass

from ops.config import Experiment
from ops.models import BuiltinModel
from ops.plan import (
    CODE_VERSIONS,
    ESTIMATED_ASSETS,
    EVALUATION_ASSETS,
    EXPLORATION_ASSETS,
    ITERATION_ASSETS,
    Plan,
    asset_name,
    evaluation_asset,
    exploration_asset,
)
from ops.storage import layout
from ops.storage.store import Store


@dataclass(frozen=True)
class ProvenanceRow:
    """One materialized asset.

    Attributes:
        seed: the seeds that the step reads, as text, or '' where it draws nothing.
        run_id: the Dagster run that computed or adopted it, '' outside of one.
    """

    asset: str
    fingerprint: str
    code_version: str
    seed: str
    run_id: str
    reused: bool
    seconds: float | None
    created_at: str


def read_provenance(
    experiment: Experiment, plan: Plan, store: Store, last: int | None = None
) -> tuple[ProvenanceRow, ...]:
    """Of every asset of iterations 0..``last`` (None: all) that is materialized as planned, in the order of the graph.

    Raises:
        StorageError: when a manifest is damaged.
    """
    final = experiment.iterations if last is None else last
    places: list[tuple[str, int | None]] = [("problems", None), ("base_model", None)]
    places += [(asset, k) for k in range(final + 1) for asset in ITERATION_ASSETS]
    places += [(exploration_asset(asset), None) for asset in EXPLORATION_ASSETS]
    places += [(evaluation_asset(asset), None) for asset in EVALUATION_ASSETS]
    places.append(("saturation", None))
    rows = []
    for asset, iteration in places:
        planned = plan.fingerprints.get(asset_name(asset, iteration))
        latest = layout.latest_manifest(layout.materialization_folder(store.home, experiment.name, asset, iteration))
        if planned is None or latest is None:
            continue
        manifest = layout.read_manifest(latest)
        if manifest["fingerprint"] == planned:
            rows.append(_row(asset, asset_name(asset, iteration), manifest, experiment))
    return tuple(rows)


def _row(asset: str, name: str, manifest: dict, experiment: Experiment) -> ProvenanceRow:
    seed = manifest.get("seed")
    return ProvenanceRow(
        asset=name,
        fingerprint=manifest["fingerprint"],
        code_version=manifest.get("code_version") or CODE_VERSIONS[asset.rpartition("/")[2]],
        seed=_seeds(asset, experiment) if seed is None else str(seed),
        run_id=manifest.get("run_id") or "",
        reused=bool(manifest.get("reused")),
        seconds=manifest.get("seconds"),
        created_at=str(manifest.get("created_at") or "")[:19].replace("T", " "),
    )


def _seeds(asset: str, experiment: Experiment) -> str:
    """The seeds of the experiment file that a step reads."""
    if asset == "base_model":
        return str(experiment.model.seed) if isinstance(experiment.model, BuiltinModel) else ""
    if asset == "verification_scores":
        named = [(v.called, getattr(v, "seed", None)) for v in experiment.verifiers]
        return ", ".join(f"{name} {seed}" for name, seed in named if seed is not None)
    if asset in ESTIMATED_ASSETS:
        return str(experiment.statistics.seed)
    part = {
        "problems": experiment.problems,
        "generations": experiment.sampling,
        "finetune_data": experiment.training,
        "model": experiment.training,
        "stopping_rules": None,
        "exploration/policy": experiment.exploration,
        "exploration/rollouts": experiment.exploration,
        "evaluation/pairs": experiment.sampling,
        "evaluation/human_labels": getattr(experiment.evaluation, "labels", None),
        "evaluation/synthetic_judgements": None,
        "evaluation/tuned_judgements": None,
    }[asset]
    return str(getattr(part, "seed", ""))
