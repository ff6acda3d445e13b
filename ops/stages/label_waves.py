"""Waves of labelling: pairs drawn at random for people to label, and the templates that they fill in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ops.control_variates.allocation import Design, Draw, neyman, uniform
from ops.errors import DatasetError, ExperimentError
from ops.evaluation.label_files import checked_requests, locked
from ops.evaluation.requests import Request, by_pair, next_wave, requests_path, write_requests
from ops.evaluation.template import PAIR_COLUMNS, SINGLE_COLUMNS, check_new, write_template
from ops.identity import seed_of
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.human_labels import label_file, stored_pairs
from ops.stages.labelled_pairs import current_pairs
from ops.stages.problems import problems_of
from ops.stages.win_rate_data import ModelPairs


@dataclass(frozen=True)
class Exported:
    """A wave that was written.

    Attributes:
        requests: its drawn pairs.
        rows: pairs that people are asked about: all but equal responses.
        left: pairs by model that no wave has drawn yet.
    """

    wave: int
    requests: list[Request]
    rows: int
    left: dict[str, int]


def export_wave(
    lab: Lab, target: Path, *, n: int, design: Design, model: str | None = None, seed: int | None = None
) -> Exported:
    """Draw ``n`` pairs of each model that no export drew before, record that, and write the template.

    Of a model with fewer pairs left all of them are drawn.

    Args:
        design: ``uniform``, or ``neyman``: by strata (categories), more where the labels so far vary more.
        model: only of this one.
        seed: by default that of ``evaluation``.

    Raises:
        DatasetError: when the target is there already, no pairs are left, the labels so far do not suffice for
            ``neyman``, or the file of their requests is not there.
        ExperimentError: when the experiment has no strata for ``neyman``, or no such model.
        StorageError: when the pairs are not there yet.
    """
    path, pairs = label_file(lab), stored_pairs(lab)
    check_new(target)
    models = _models(lab, pairs, model)
    seed = lab.evaluation.seed if seed is None else seed
    known_arrays = _arrays(lab) if design == "neyman" else {}
    with locked(path):
        before = checked_requests(path)
        wave, taken = next_wave(before), set(by_pair(before))
        drawn: list[Request] = []
        for name in models:
            drawn += _draw(lab, _of_model(pairs, name), taken, known_arrays.get(name), design, n, wave, seed)
        if not drawn:
            remedy = "label what was exported (--wave K writes a wave again), or have more responses: problems.eval"
            raise DatasetError(lab.experiment.name, "every pair has been drawn already", remedy=remedy)
        order = np.random.default_rng(seed_of(f"{seed}\0{wave}", "order")).permutation(len(drawn))
        requests = [drawn[place] for place in order]
        write_requests(requests_path(path), [*before, *requests])
        try:
            rows = _write(lab, target, pairs, requests)
        except BaseException:
            write_requests(requests_path(path), before)  # nobody has got the wave
            raise
    taken |= {item.pair_id for item in requests}
    left = {name: sum(one not in taken for one in _of_model(pairs, name)["pair_id"]) for name in models}
    return Exported(wave, requests, rows, left)


def export_again(lab: Lab, target: Path, wave: int) -> Exported:
    """Write the template of an earlier wave again: for another annotator, or because the file was lost.

    Raises:
        DatasetError: when there was no such wave, the target is there already, or requests are not there for labels.
        StorageError: when the pairs are not there yet.
    """
    path, pairs = label_file(lab), stored_pairs(lab)
    check_new(target)
    known = checked_requests(path)
    present = set(pairs["pair_id"])
    requests = [item for item in known if item.wave == wave and item.pair_id in present]
    if not requests:
        waves = ", ".join(str(number) for number in sorted({item.wave for item in known})) or "none yet"
        raise DatasetError(str(requests_path(path)), f"no wave {wave} with pairs that there still are (waves: {waves})")
    return Exported(wave, requests, _write(lab, target, pairs, requests), {})


def _models(lab: Lab, pairs: pl.DataFrame, model: str | None) -> list[str]:
    known = pairs["model"].unique(maintain_order=True).to_list()
    if model is None:
        return known
    if model not in known:
        problem = f"expected one of {', '.join(known)}, got {model}"
        raise ExperimentError(lab.experiment.name, problem, field="--model", remedy="take a label of evaluation.models")
    return [model]


def _of_model(pairs: pl.DataFrame, model: str) -> pl.DataFrame:
    """In the order of ``ModelPairs``."""
    return pairs.filter(model=model).sort("problem_id", "sample_index", maintain_order=True)


def _arrays(lab: Lab) -> dict[str, ModelPairs]:
    """What Neyman's allocation learns from, by model."""
    if lab.evaluation.strata == "none":
        raise ExperimentError(
            lab.experiment.name,
            "the design neyman draws within strata, and the experiment has none",
            field="evaluation.strata",
            remedy="set strata: category, or take --design uniform",
        )
    return {item.model: item for item in current_pairs(lab)}


def _draw(
    lab: Lab,
    pairs: pl.DataFrame,
    taken: Collection[str],
    arrays: ModelPairs | None,
    design: Design,
    n: int,
    wave: int,
    seed: int,
) -> list[Request]:
    """Of one model; none where none are left. The seed of a model is its own, so no two draw the same problems:
    a response that comes back beside different ones would give the reference away."""
    model = pairs["model"][0]
    taken_N = np.array([one in taken for one in pairs["pair_id"]])
    count = min(n, int((~taken_N).sum()))
    if count == 0:
        return []
    own_seed = seed_of(f"{seed}\0{model}", "labels")
    if arrays is None:
        draw: Draw = uniform(taken_N, np.zeros(pairs.height, dtype=np.int64), count, wave=wave, seed=own_seed)
    else:
        judges = [name for name, score_N in arrays.scores.items() if not np.isnan(score_N).all()]
        data, _ = arrays.with_judges(judges, "mean", lab.experiment.name)
        draw = neyman(data, taken_N, count, wave=wave, seed=own_seed)
    drawn = pairs[draw.row_K]
    table = lab.plan.fingerprints[evaluation_asset("pairs")]
    columns = drawn.select("pair_id", "category", "is_identical")
    return [
        Request(wave, pair_id, model, design, None if arrays is None else category, seed, table, not identical)
        for pair_id, category, identical in columns.iter_rows()
    ]


def _write(lab: Lab, target: Path, pairs: pl.DataFrame, requests: Sequence[Request]) -> int:
    """The template of some requests, in their order, without pairs of equal responses."""
    task = lab.experiment.task
    question = {problem.problem_id: task.question(problem) for problem in problems_of(lab, 0, "eval")}
    asked = [item.pair_id for item in requests if item.asked]
    by_id = {row["pair_id"]: row for row in pairs.filter(pl.col("pair_id").is_in(asked)).iter_rows(named=True)}
    rows = []
    for pair_id in asked:
        row = by_id[pair_id]
        shown = {"pair_id": pair_id, "problem": question[row["problem_id"]]}
        if row["reference"] is None:
            rows.append({**shown, "response": row["response"]})
            continue
        texts = (row["response"], row["reference_response"])
        first, second = texts if row["shown_first"] == "model" else texts[::-1]
        rows.append({**shown, "response_a": first, "response_b": second})
    single = lab.evaluation.estimand == "accuracy"
    return write_template(target, rows, SINGLE_COLUMNS if single else PAIR_COLUMNS)
