"""What people wrote into templates, taken into the experiment's file of labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ops.evaluation.agreement import Agreement, agreement
from ops.evaluation.answers import Answers, PairSides, read_answers
from ops.evaluation.label_files import Merged, checked_requests, locked, merge_labels, read_labels_file
from ops.evaluation.requests import by_pair, skipped
from ops.lab import Lab
from ops.stages.human_labels import label_file, stored_pairs, valid_requests


@dataclass(frozen=True)
class Imported:
    """What an import took, and what the file of labels holds now.

    Attributes:
        passed_over: pairs that were asked about and have no label, while a later one of the same wave has.
        agreement: of annotators, over all labels there are.
    """

    answers: Answers
    merged: Merged
    passed_over: int
    agreement: Agreement
    path: Path


def import_labels(
    lab: Lab, source: Path, *, annotator: str | None = None, allow: Collection[str] = (), replacing: bool = False
) -> Imported:
    """Check a filled-in template and add its labels to the experiment's file of labels.

    Raises:
        DatasetError: names every row that is wrong, or the file of requests where it is not there for the labels so
            far; then nothing was changed.
        StorageError: when the pairs are not there yet.
    """
    path, pairs = label_file(lab), stored_pairs(lab)
    with locked(path):
        requests = checked_requests(path)
        random = valid_requests(lab, pairs, requests)
        answers = read_answers(
            source, sides_of(pairs), by_pair(requests), lab.evaluation.estimand, annotator=annotator, allow=allow
        )
        merged = merge_labels(path, answers.rows, replace=replacing, sources=answers.sources)
        rows = read_labels_file(path)
    problem_of = dict(pairs.select("pair_id", "problem_id").iter_rows())
    statistics = lab.experiment.statistics
    found = agreement(
        [(row.pair_id, problem_of[row.pair_id], row.annotator, row.label) for row in rows if row.pair_id in problem_of],
        resamples=statistics.resamples,
        confidence=statistics.confidence,
        seed=statistics.seed,
    )
    labelled = {row.pair_id: row for row in rows}
    return Imported(answers, merged, skipped(list(random.values()), labelled), found, path)


def sides_of(pairs: pl.DataFrame) -> dict[str, PairSides]:
    """What reading labels needs of every pair, by its id."""
    columns = pairs.select("pair_id", "model", "reference", "shown_first", "is_identical")
    return {
        pair_id: PairSides(model, reference is None or first == "model", identical)
        for pair_id, model, reference, first, identical in columns.iter_rows()
    }
