"""The table ``bandit_regret``: outcome-based bandits (2509.06941, section 5) simulated, and a page about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.bandits import LEARNERS
from ops.bandits.base import Learner
from ops.bandits.instance import class_sizes, one_good_outcome
from ops.bandits.settings import REMEDY, WHERE, Bandits
from ops.bandits.simulate import Curves, simulate
from ops.errors import ExperimentError
from ops.estimation.bootstrap import percentile_interval, resample_counts
from ops.identity import fingerprint
from ops.lab import Place, commit_or_adopt, experiments_folder, studies_folder
from ops.plan import CODE_VERSIONS
from ops.progress import Progress, silent
from ops.storage.atomic import write_text_atomically
from ops.storage.schemas import polars_schema
from ops.storage.store import Store
from ops.types import StageResult

TABLE = "bandit_regret"
HYPOTHESIS = "with a generalisation over outcomes the regret depends on their number, not on that of arms (2509.06941)"


def bandit_fingerprint(settings: Bandits) -> str:
    """Identity of the table; the name is no part of it."""
    return fingerprint(TABLE, CODE_VERSIONS[TABLE], settings.model_dump(exclude={"name"}))


def bandit_page_path(home: Path, name: str) -> Path:
    """Where the page is; its picture lies beside it as .png."""
    return home / "reports" / "bandits" / f"{name}.html"


def simulate_bandits(settings: Bandits, store: Store, *, run_id: str = "", progress: Progress = silent) -> StageResult:
    """Simulate every algorithm at every K, commit the table (or adopt it), and write the page where it is not current.

    Raises:
        ExperimentError: an experiment or study file has the simulation's name: their results would be mixed up.
    """
    _check_name(settings.name)
    known = bandit_fingerprint(settings)
    config = {"kind": "bandits", "hypothesis": HYPOTHESIS, **settings.model_dump(mode="json")}
    store.register_experiment(settings.name, config, {TABLE: known}, run_id=run_id)
    place = Place(settings.name, TABLE, TABLE, None, known)
    page = bandit_page_path(store.home, settings.name)
    paths = {"path": str(page.relative_to(store.home)), "plot": str(page.with_suffix(".png").relative_to(store.home))}
    result = commit_or_adopt(
        store,
        place,
        lambda: measure_bandits(settings, progress),
        lambda frame: _numbers(settings, frame),
        run_id=run_id,
        code_version=CODE_VERSIONS[TABLE],
        seed=settings.seed,
    )
    _write_page(settings, store, known, page)
    return StageResult(**{**vars(result), "metadata": {**result.metadata, **paths}})


def measure_bandits(settings: Bandits, progress: Progress = silent) -> pl.DataFrame:
    """The rows of ``bandit_regret``: every algorithm, every K, about 40 rounds."""
    total = len(LEARNERS) * len(settings.arms)
    frames: list[pl.DataFrame] = []
    for n_arms in settings.arms:
        sizes = class_sizes(n_arms, settings.outcomes, settings.class_sizes)
        instances = [one_good_outcome(sizes, gap) for gap in settings.gaps]
        for name, kind in LEARNERS.items():
            progress(f"bandits: {name}, {n_arms:,} arms", len(frames), total, {})
            curves = simulate(kind, instances, settings)
            frames.append(regret_rows(name, kind, curves, n_arms, settings))
    progress("bandits", total, total, {})
    return pl.concat(frames)


def regret_rows(name: str, kind: type[Learner], curves: Curves, n_arms: int, settings: Bandits) -> pl.DataFrame:
    """Rows of one algorithm at one K.

    The regret at a round is that of the worst instance (gap), which is what sqrt(m T log T) speaks of; for one fixed
    gap UCB1's regret grows as log T. The first half of the runs choose the gap, by the largest mean; regret, interval
    and distinct outcomes are of the other half alone. The largest of several noisy means is too large, and its
    percentiles cover too rarely where gaps are about equally bad; a mean of runs that had no part in the choice is
    unbiased for the gap that was chosen, hence never above the worst in expectation. Ours; the price is an interval
    wider by sqrt(2). Fitting crosswise over both halves would save that, but with ties the halves' means depend on
    each other through the choices, and intervals that resample within the halves cover too rarely again.

    Args:
        curves: of ``settings.gaps``, in their order, and ``settings.runs`` runs.
    """
    start = settings.choosing_runs
    chooses, measured = curves.regret[:, :start], curves.regret[:, start:]
    n_gaps, n_runs, n_rounds = measured.shape
    worst_q = chooses.mean(axis=1).argmax(axis=0) if n_gaps > 1 else np.zeros(n_rounds, dtype=int)
    at_q = np.arange(n_rounds)
    regret_rq, distinct_rq = measured[worst_q, :, at_q].T, curves.distinct[worst_q, start:, at_q].T
    draws_bq = resample_counts(n_runs, settings.resamples, settings.seed) @ regret_rq / n_runs
    bound_q = kind.bound(n_arms, settings.outcomes, curves.round_q)
    rows = []
    for q, at in enumerate(curves.round_q.tolist()):
        regret = percentile_interval(float(regret_rq[:, q].mean()), draws_bq[:, q], settings.confidence)
        rows.append(
            {
                "algorithm": name,
                "assumption": kind.assumption,
                "n_arms": n_arms,
                "n_outcomes": settings.outcomes,
                "round": at,
                "gap": settings.gaps[worst_q[q]],
                "n_runs": n_runs,
                "regret": regret.value,
                "regret_low": regret.low,
                "regret_high": regret.high,
                "bound": None if bound_q is None else float(bound_q[q]),
                "distinct_outcomes": float(distinct_rq[:, q].mean()),
            }
        )
    return pl.DataFrame(rows, schema=polars_schema(TABLE))


def final_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """After the last round: the order is that of the algorithms, then of the arms."""
    order = {name: place for place, name in enumerate(LEARNERS)}
    last = frame.filter(pl.col("round") == pl.col("round").max())
    return last.sort(pl.col("algorithm").replace_strict(order, default=len(order)), "n_arms")


def _numbers(settings: Bandits, frame: pl.DataFrame) -> dict[str, Any]:
    """For people: the regret after the last round with the most arms."""
    numbers: dict[str, Any] = {"arms": max(settings.arms), "outcomes": settings.outcomes, "rounds": settings.rounds}
    for row in final_rows(frame).filter(pl.col("n_arms") == max(settings.arms)).iter_rows(named=True):
        name = f"regret of {row['algorithm']}"
        numbers |= {name: row["regret"], f"{name}_low": row["regret_low"], f"{name}_high": row["regret_high"]}
    return numbers


def _check_name(name: str) -> None:
    for folder in (experiments_folder(), studies_folder()):
        if (folder / f"{name}.yaml").is_file():
            problem = f"{folder.name}/{name}.yaml has that name already: their results would be mixed up"
            raise ExperimentError(WHERE, problem, field="name", remedy=f"choose another name; {REMEDY}")


def _write_page(settings: Bandits, store: Store, known: str, page: Path) -> None:
    """The page and its picture, where they are missing or of other numbers."""
    from ops.reporting.bandit_page import bandit_page
    from ops.reporting.bandit_plots import bandit_png

    picture = page.with_suffix(".png")
    if page.is_file() and picture.is_file() and known in page.read_text(encoding="utf-8"):
        return
    frame = store.read(TABLE, known)
    bandit_png(frame, settings, picture)
    write_text_atomically(page, bandit_page(frame, settings, known))
