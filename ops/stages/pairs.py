"""Pairs: a response of a model beside one of the reference to the same problem, which people and judges compare.

Responses are drawn model by model through the pools of single samples that all experiments share, or read from a file
of responses written elsewhere. With ``estimand: accuracy`` every response of every model stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from ops.config import Experiment
from ops.evaluation.plan import as_planned, compared_models
from ops.evaluation.responses import Written, read_responses
from ops.identity import response_id, seed_of, short_hash
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import evaluation_asset
from ops.prompts.base import PromptFormat
from ops.stages.chosen import Source
from ops.stages.drawing import draw_asks, pool_responses
from ops.stages.grading import grade_texts
from ops.stages.problems import problems_of
from ops.stages.wanted import Ask
from ops.storage.schemas import polars_schema
from ops.tasks import category_of
from ops.types import Problem, StageResult

ASSET = evaluation_asset("pairs")

RESPONSE_COLUMNS = ("problem_id", "sample_index", "response", "response_id", "finish_reason")
GRADE_COLUMNS = ("answer", "verdict", "strict_verdict", "reason")
ROWS_AT_ONCE = 8192


def writer_source(lab: Lab, label: str) -> Source:
    """What the model of that label draws its responses from."""
    return Source(lab.evaluation_plan.sample_pools[label], lab.experiment.sampling.temperature)


def draw_pairs(lab: Lab) -> dict[str, Any]:
    """Draw what the models' pools lack, model by model, committing it chunk by chunk (GPU).

    No model is loaded of which nothing is missing, and none before the prompts of all of them are known to fit.

    Returns:
        how many were drawn and reused over all models, how many models were asked, and what the drawing took.

    Raises:
        EngineError: when a prompt does not fit into a model's context.
    """
    if lab.store.has("pairs", lab.plan.fingerprints[ASSET]):
        return {"drawn": 0, "reused": True}
    if lab.evaluation.responses is not None:
        return {"drawn": 0, "reused": False}
    problems = problems_of(lab, 0, "eval")
    labels = list(compared_models(lab.experiment, lab.evaluation))
    asks = {label: _asks(lab, problems, lab.writer_format(label)) for label in labels}
    _check_prompts(lab, asks)
    drawn = reused = tokens = asked = 0
    seconds = 0.0
    for label in labels:
        load, source, prompts = partial(lab.writer_engine, label), writer_source(lab, label), lab.writer_format(label)
        found = draw_asks(lab, load, source, asks[label], f"responses of {label}", prompts)
        drawn, reused = drawn + found["drawn"], reused + found["reused_samples"]
        tokens, seconds = tokens + found.get("new_tokens", 0), seconds + found.get("seconds", 0.0)
        asked += found["drawn"] > 0
    numbers: dict[str, Any] = {"drawn": drawn, "reused_samples": reused, "models_asked": asked, "reused": False}
    if drawn:
        numbers |= {"new_tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}
    return numbers


def _asks(lab: Lab, problems: Sequence[Problem], prompts: PromptFormat) -> list[Ask]:
    by_prompt: dict[str, list[Problem]] = {}
    for problem in problems:
        by_prompt.setdefault(prompts.solve(problem), []).append(problem)
    return [Ask(prompt, tuple(same), lab.experiment.sampling.n_eval) for prompt, same in by_prompt.items()]


def _check_prompts(lab: Lab, asks: Mapping[str, Sequence[Ask]]) -> None:
    """What does not fit into a model's context is known before any model has answered.

    An engine may have a limit of its own below that: it says so when its model's turn comes.
    """
    from ops.engines.fitting import refuse_misfits
    from ops.engines.tokens import Tokens

    for label, of_model in asks.items():
        if not isinstance(lab.writer(label), BuiltinModel):  # the notation of these fits
            tokens = Tokens.of_folder(lab.path_of(lab.writer(label)), lab.experiment.engine.name)
            found = tokens.fits([ask.prompt for ask in of_model], lab.experiment.sampling.max_tokens)
            refuse_misfits(f"model {label}", found)


def commit_pairs(lab: Lab) -> StageResult:
    """Commit the table ``pairs`` (CPU).

    Raises:
        StorageError: when some responses are not in their pool.
        DatasetError: when the file of responses cannot be used, or changed since the experiment was planned.
    """

    def frames() -> Iterator[pl.DataFrame]:
        """Model by model: all responses at once need not fit into memory."""
        problems = {problem.problem_id: problem for problem in problems_of(lab, 0, "eval")}
        responses = model_responses(lab, graded=False)
        reference = None
        if lab.evaluation.estimand == "win_rate":
            reference, frame = next(responses)
            keys = ["problem_id", "sample_index"]
            beside = frame.select(*keys, pl.col("response", "response_id").name.prefix("reference_"))
        for label, frame in responses:
            if reference is not None:
                frame = frame.join(beside, on=keys, how="left", maintain_order="left")
            for part in frame.iter_slices(ROWS_AT_ONCE):
                rows = [_row(lab.experiment, problems, label, reference, row) for row in part.iter_rows(named=True)]
                yield pl.DataFrame(rows, schema=polars_schema("pairs"))

    return lab.materialise_stream("pairs", ASSET, None, frames, _about)


def model_responses(lab: Lab, *, graded: bool = True) -> Iterator[tuple[str, pl.DataFrame]]:
    """Every model's responses with its label, one model after the other, the reference first; by problem and index.

    Columns are ``RESPONSE_COLUMNS``, and where ``graded`` those of the grader (``GRADE_COLUMNS``). Of responses drawn
    here grades are known from the drawing; responses from a file are graded now.

    Raises:
        StorageError: when some responses are not in their pool.
        DatasetError: when the file of responses cannot be used, or changed since the experiment was planned.
    """
    problems = problems_of(lab, 0, "eval")
    models = compared_models(lab.experiment, lab.evaluation)
    columns = [*RESPONSE_COLUMNS, *(GRADE_COLUMNS if graded else ())]
    if lab.evaluation.responses is not None:
        path = lab.evaluation.responses
        with as_planned(path, lab.evaluation_plan.files[path]):
            found = read_responses(path, problems, tuple(models))
        for label, written in found.items():
            yield label, _recorded(lab, problems, written, graded).select(columns)
        return
    counts = [lab.experiment.sampling.n_eval] * len(problems)
    for label in models:
        pieces = pool_responses(
            lab,
            writer_source(lab, label),
            problems,
            counts,
            lab.evaluation_plan.models[label],
            f"{lab.experiment.name}: responses of {label}",
            lab.writer_format(label),
        )
        yield label, pl.concat(piece.select(columns) for piece in pieces)


def _recorded(lab: Lab, problems: Sequence[Problem], written: Written, graded: bool) -> pl.DataFrame:
    """One model's responses from the file. Their identities stay the same whatever else stands in it."""
    by_id = {problem.problem_id: problem for problem in problems}
    rows = [
        {
            "problem_id": one.problem_id,
            "sample_index": one.sample_index,
            "response": one.response,
            "response_id": _recorded_id(
                lab.experiment, by_id[one.problem_id], one.model, one.sample_index, one.response
            ),
            "finish_reason": one.finish_reason,
        }
        for one in written.values()
    ]
    frame = pl.DataFrame(rows, schema_overrides={"sample_index": pl.Int32})
    if not graded:
        return frame
    items = [(by_id[one.problem_id], one.response, one.finish_reason == "stop") for one in written.values()]
    grades = grade_texts(lab.experiment, items)
    found = {name: [getattr(grade, name) for grade in grades] for name in GRADE_COLUMNS}
    return frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in found.items())


def _recorded_id(experiment: Experiment, problem: Problem, label: str, index: int, response: str) -> str:
    return response_id("recorded", _joined(*_posed(experiment, problem), label, response), index)


def _row(
    experiment: Experiment,
    problems: Mapping[str, Problem],
    label: str,
    reference: str | None,
    row: Mapping[str, Any],
) -> dict[str, Any]:
    """One pair; without ``reference`` a response alone."""
    problem = problems[row["problem_id"]]
    texts = (row["response"], row.get("reference_response"))
    identity = short_hash(_joined(*_posed(experiment, problem), label, reference, row["sample_index"], *texts))
    first = ("model", "reference")[seed_of(identity, "shown first") % 2]
    return {
        "pair_id": identity,
        "problem_id": problem.problem_id,
        "category": category_of(problem),
        "model": label,
        "reference": reference,
        "sample_index": row["sample_index"],
        "response": row["response"],
        "reference_response": row.get("reference_response"),
        "response_id": row["response_id"],
        "reference_response_id": row.get("reference_response_id"),
        "is_identical": reference is not None and row["response"] == row["reference_response"],
        "shown_first": None if reference is None else first,
    }


def _posed(experiment: Experiment, problem: Problem) -> tuple[str, str]:
    """Identity of a problem for a label: its id alone would stay when a file's prompt is rewritten."""
    return problem.problem_id, experiment.task.content_key(problem)


def _joined(*parts: str | int | None) -> str:
    """Parts as one text, such that other parts make another text."""
    return json.dumps(parts)


def _about(table: pl.LazyFrame) -> dict[str, Any]:
    """Numbers for people."""
    numbers = table.select(
        pairs=pl.len(),
        problems=pl.col("problem_id").n_unique(),
        models=pl.col("model").n_unique(),
        identical_pairs=pl.col("is_identical").sum(),
        categories=pl.col("category").drop_nulls().n_unique(),
    )
    return numbers.collect(engine="streaming").row(0, named=True)
