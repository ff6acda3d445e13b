"""Human labels of pairs: read from the file that people filled, or from the truth in their place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.errors import DatasetError, StorageError
from ops.evaluation.agreement import agreement
from ops.evaluation.label_files import GOLD, IDENTICAL, LabelRow, check_waves, read_labels_file
from ops.evaluation.labels import FileLabels, GoldLabels
from ops.evaluation.plan import as_planned, labels_digest
from ops.evaluation.requests import Request, by_pair, read_requests, requests_path, skipped, ties_drawn
from ops.identity import seed_of
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.pairs import model_responses
from ops.storage.schemas import polars_schema
from ops.types import CORRECT, StageResult

ASSET = evaluation_asset("human_labels")
GOLD_WAVE = 0


def read_labels(lab: Lab) -> StageResult:
    """Check the labels there are against the pairs, and commit the table ``human_labels``; it may be empty.

    Raises:
        StorageError: when the pairs are not there.
        DatasetError: when a line of the file cannot be used, or the file changed since the experiment was planned.
    """
    labels = lab.evaluation.labels
    told: dict[str, Any] = {}

    def compute() -> pl.DataFrame:
        pairs = stored_pairs(lab)
        rows = gold_rows(lab, labels, pairs) if isinstance(labels, GoldLabels) else _file_rows(lab, labels, pairs, told)
        frame = pl.DataFrame(rows, schema=polars_schema("human_labels"))
        told.update(_agreement(lab, frame, pairs))
        return frame

    return lab.materialise("human_labels", ASSET, None, compute, lambda frame: {**_shown(frame), **told})


def stored_pairs(lab: Lab) -> pl.DataFrame:
    """The table ``pairs``.

    Raises:
        StorageError: names the command that makes it.
    """
    asset = evaluation_asset("pairs")
    if not lab.store.has("pairs", lab.plan.fingerprints[asset]):
        name = lab.experiment.name
        raise StorageError(name, f"{asset} is not there yet", remedy=f"run `mindgap run {name}` first")
    return lab.store.read("pairs", lab.plan.fingerprints[asset])


def label_file(lab: Lab) -> Path:
    """Where people's labels are kept.

    Raises:
        DatasetError: when the experiment takes gold labels, or says no path.
    """
    labels = lab.evaluation.labels
    if isinstance(labels, FileLabels) and labels.path is not None:
        return Path(labels.path)
    if isinstance(labels, GoldLabels):
        problem, remedy = "the labels are gold: nobody is asked", "take `labels: {source: file}`"
    else:
        problem, remedy = "no file of labels", "give labels.path (the loader of experiment files has a default)"
    raise DatasetError(lab.experiment.name, problem, field="evaluation.labels", remedy=remedy)


def _file_rows(lab: Lab, labels: FileLabels, pairs: pl.DataFrame, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Labels of the file that belong to pairs of the table, and the ties among what was drawn."""
    if labels.path is None:
        return []
    path = Path(labels.path)
    with as_planned(labels.path, lab.evaluation_plan.labels, labels_digest):
        found, requests = read_labels_file(path), read_requests(requests_path(path))
    drawn, labelled = by_pair(requests), {row.pair_id: row for row in found if row.wave is not None}
    models = dict(pairs.select("pair_id", "model").iter_rows())
    random = valid_requests(lab, pairs, requests)
    check_waves(path, found, drawn)
    rows: list[dict[str, Any]] = []
    gone = 0
    for line, row in enumerate(found, start=1):
        if row.pair_id in models:
            request = random.get(row.pair_id) if row.wave is not None else None
            rows.append(_row(row, models[row.pair_id], request, f"{path.name}:{line}"))
        elif row.pair_id in drawn:
            gone += 1
        else:
            problem = f"no pair of {lab.experiment.name}: {row.pair_id!r}"
            remedy = "remove the line; `mindgap evaluate import` tells such rows before they get here"
            raise DatasetError(f"{path}:{line}", problem, field="pair_id", remedy=remedy)
    present = list(random.values())
    rows += [_tie(item) for item in ties_drawn(present, labelled)]
    told |= {
        "labels_of_pairs_that_changed": gone,
        "labels_drawn_from_fewer_pairs": sum(row["wave"] is None and row["pair_id"] in labelled for row in rows),
        "pairs_passed_over": skipped(present, labelled),
    }
    return rows


def valid_requests(lab: Lab, pairs: pl.DataFrame, requests: Sequence[Request]) -> dict[str, Request]:
    """Requests of pairs that there are, drawn when every pair of the model that there is now could be drawn.

    Pairs that are gone meanwhile leave a random part of the rest; pairs that were added had no chance to be drawn.
    """
    present = set(pairs["pair_id"])
    draws = {(item.model, item.pairs) for item in requests}
    fair = {(model, table): _covers(lab, pairs.filter(model=model), model, table) for model, table in draws}
    return {item.pair_id: item for item in requests if item.pair_id in present and fair[item.model, item.pairs]}


def _covers(lab: Lab, pairs: pl.DataFrame, model: str, table: str) -> bool:
    """Whether an earlier table has all of a model's ``pairs``."""
    if table == lab.plan.fingerprints[evaluation_asset("pairs")]:
        return True
    if not lab.store.has("pairs", table):
        return False
    then = lab.store.read("pairs", table, ["pair_id", "model"]).filter(model=model)
    return set(pairs["pair_id"]) <= set(then["pair_id"])


def _row(row: LabelRow, model: str, request: Request | None, source: str) -> dict[str, Any]:
    """Without a request no wave: the pair was not drawn at random among those that there are.

    The stratum stays: within it the pair was drawn when there were fewer pairs, with a share that is not the stratum's.
    """
    wave, stratum = None if request is None else request.wave, None if row.wave is None else row.stratum
    about = {"pair_id": row.pair_id, "model": model, "annotator": row.annotator, "label": row.label}
    return {**about, "wave": wave, "stratum": stratum, "source": source, "comment": row.comment}


def _tie(request: Request) -> dict[str, Any]:
    about = {"pair_id": request.pair_id, "model": request.model, "annotator": IDENTICAL, "label": 0.5}
    return {**about, "wave": request.wave, "stratum": request.stratum, "source": None, "comment": None}


def gold_rows(lab: Lab, labels: GoldLabels, pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """The truth of ``labels.count`` pairs of each model, drawn at random; of all where that is None.

    Compared: 1 where the model's response is right and the reference's is not, 0 the other way round, 1/2 where both
    are right or neither is. Accuracy: 1 right, 0 not. What cannot be parsed is not right.

    Raises:
        DatasetError: when a model has fewer pairs than ``labels.count``.
        StorageError: when some responses are not in their pool.
    """
    drawn: list[pl.DataFrame] = []
    for (model,), frame in sorted(pairs.group_by("model", maintain_order=True), key=lambda item: str(item[0])):
        count = frame.height if labels.count is None else labels.count
        if count > frame.height:
            problem = f"{count:,} labels of {model} asked for, but it has {frame.height:,} pairs"
            raise DatasetError(lab.experiment.name, problem, field="evaluation.labels.count", remedy="lower it")
        rng = np.random.default_rng(seed_of(f"{labels.seed}\0{model}", "gold labels"))
        ordered = frame.sort("pair_id")
        drawn.append(ordered[np.sort(rng.permutation(frame.height)[:count])])
    wanted = pl.concat(drawn) if drawn else pairs
    right = {
        name: verdict == CORRECT
        for _, frame in model_responses(lab)
        for name, verdict in frame.select("response_id", "verdict").iter_rows()
    }
    rows = []
    for row in wanted.iter_rows(named=True):
        label = float(right[row["response_id"]])
        if row["reference"] is not None:
            label = 0.5 * (1.0 + label - float(right[row["reference_response_id"]]))
        rows.append(
            {
                "pair_id": row["pair_id"],
                "model": row["model"],
                "annotator": IDENTICAL if row["is_identical"] else GOLD,
                "label": 0.5 if row["is_identical"] else label,
                "wave": GOLD_WAVE,
                "stratum": None,
                "source": GOLD,
                "comment": None,
            }
        )
    return rows


def _agreement(lab: Lab, frame: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    """Percent and alpha with intervals, where any pair has labels of two annotators."""
    problem_of = pairs.select("pair_id", "problem_id")
    columns = frame.join(problem_of, on="pair_id").select("pair_id", "problem_id", "annotator", "label")
    statistics = lab.experiment.statistics
    found = agreement(
        list(columns.iter_rows()),
        resamples=statistics.resamples,
        confidence=statistics.confidence,
        seed=statistics.seed,
    )
    if not found.n_pairs:
        return {}
    numbers: dict[str, Any] = {"pairs_labelled_twice": found.n_pairs, "conflicts": found.n_conflicts}
    for name, item in (("agreement", found.percent), ("alpha", found.alpha)):
        numbers |= {name: item.value, f"{name}_low": item.low, f"{name}_high": item.high}
    return {name: None if value != value else value for name, value in numbers.items()}


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """How many labels, of how many pairs, by whom."""
    people = frame.filter(pl.col("annotator") != IDENTICAL)
    numbers: dict[str, Any] = {
        "labels": people.height,
        "labelled_pairs": frame["pair_id"].n_unique(),
        "annotators": people["annotator"].n_unique(),
        "ties_of_equal_responses": frame.height - people.height,
        "labels_not_drawn_at_random": frame["wave"].null_count(),
    }
    pairs = frame.group_by("model").agg(pl.col("pair_id").n_unique()).sort("model")
    return numbers | {f"{model}: labelled_pairs": count for model, count in pairs.iter_rows()}
