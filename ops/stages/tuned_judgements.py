"""Fine-tuned judges: each compared model's pairs, judged by copies that never saw that model's labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from ops.errors import EngineError
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.tuned import Tuned
from ops.lab import Lab
from ops.models import FolderModel
from ops.plan import evaluation_asset
from ops.stages.base_model import NUMBERS
from ops.stages.judge_training import JudgeCopy, LearningJudge, copies_of, has_labels, train_copy
from ops.stages.judged import (
    Problems,
    asked_pairs,
    judgement_rows,
    problems_by_id,
    single_responses,
    verification_items,
    verifications_of,
)
from ops.stages.synthetic_judgements import check_judge, read_pairs, read_rewards
from ops.stages.verification import verify_missing
from ops.storage.schemas import polars_schema
from ops.types import StageResult

ASSET = evaluation_asset("tuned_judgements")


def tune_judges(lab: Lab) -> dict[str, Any]:
    """Train every copy and let it judge, copy by copy (GPU); what is trained or judged already stays.

    A copy for which people have not labelled enough yet waits: there are no judgements of it.

    Returns:
        how many copies were ``trained``, how many responses were ``judged``, how many copies wait for labels
        (``waiting``), and whether all was there (``reused``).

    Raises:
        DatasetError: when there are too few gold labels for a copy to learn from.
        ModelError: when a judge's model cannot be trained with its settings, or memory runs out.
        EngineError: when a copy cannot be run.
    """
    if lab.store.has("synthetic_judgements", lab.plan.fingerprints[ASSET]):
        return {"trained": 0, "judged": 0, "reused": True}
    numbers = {"trained": 0, "judged": 0, "waiting": 0, "reused": False}
    if not lab.evaluation.learning_judges:
        return numbers
    pairs, problems = read_pairs(lab), problems_by_id(lab)
    copies = copies_of(lab, pairs)
    _check_engine(lab, copies)
    for copy in copies:
        if not has_labels(lab, copy):
            numbers["waiting"] += 1
            continue
        numbers["trained"] += train_copy(lab, copy)
        numbers["judged"] += _judge(lab, copy, pairs, problems)
    return numbers


def _check_engine(lab: Lab, copies: Sequence[JudgeCopy]) -> None:
    """Refuse to train what nobody could ask.

    Raises:
        EngineError: when the engine cannot load weights that were trained here.
    """
    engine = lab.experiment.engine
    asked = [copy.judge.called for copy in copies if isinstance(copy.of, BradleyTerry)]
    if asked and not engine.loads_checkpoints:
        raise EngineError(
            f"engine {engine.name}",
            f"its server has its one model, and {asked[0]} has weights of its own",
            field="engine.name",
            remedy=f"take engine transformers, vllm or ray, fine-tune a reward_model, or leave {asked[0]} out",
        )


def commit_tuned(lab: Lab) -> StageResult:
    """Commit the fine-tuned judges' rows of ``synthetic_judgements``; none where no judge learns (CPU).

    Raises:
        StorageError: when a judgement is not in its pool.
    """

    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame(schema=polars_schema("synthetic_judgements"))
        if lab.evaluation.learning_judges:
            pairs, problems = read_pairs(lab), problems_by_id(lab)
            for copy in (copy for copy in copies_of(lab, pairs) if has_labels(lab, copy)):
                yield judgement_rows(_with_copy(lab, copy), _as_judge(lab, copy), _own(copy, pairs), problems)

    return lab.materialise_stream(
        "synthetic_judgements", ASSET, None, frames, lambda table: {**_counts(table), **_learnt(lab)}
    )


def _counts(table: pl.LazyFrame) -> dict[str, Any]:
    rows = table.group_by("judge").agg(pl.len(), unreadable=pl.col("score").is_null().mean()).collect()
    found = {f"{judge}_unreadable_fraction": share for judge, _, share in rows.iter_rows()}
    return {"judgements": rows["len"].sum(), **found}


def _learnt(lab: Lab) -> dict[str, Any]:
    """What the copies of each judge learnt from, from the numbers beside their weights.

    Where they leave out a model only, ``..._shared_problems_of_...`` say of how many pairs they may know the problem.
    """
    if not lab.evaluation.learning_judges:
        return {}
    numbers: dict[str, Any] = {}
    by_judge: dict[str, list[dict[str, Any]]] = {}
    pairs = read_pairs(lab)
    for copy in copies_of(lab, pairs):
        if not has_labels(lab, copy):
            waiting = f"{copy.judge.called}_copies_waiting_for_labels"
            numbers[waiting] = numbers.get(waiting, 0) + 1
            continue
        known = json.loads((lab.store.model_folder(copy.fingerprint) / NUMBERS).read_text())
        by_judge.setdefault(copy.judge.called, []).append(known)
    shared = shared_problems(lab, pairs)
    for tuned in lab.evaluation.learning_judges:
        if isinstance(tuned, Tuned) and tuned.leave_out == "model":
            numbers |= {f"{tuned.called}_{name}": share for name, share in shared.items()}
    for judge, found in by_judge.items():
        numbers[f"{judge}_copies"] = len(found)
        numbers[f"{judge}_fewest_labelled_pairs"] = min(known["labelled_pairs"] for known in found)
        numbers[f"{judge}_final_loss"] = sum(known["final_loss"] for known in found) / len(found)
        numbers[f"{judge}_training_seconds"] = sum(known["seconds"] for known in found)
    return numbers


def shared_problems(lab: Lab, pairs: pl.DataFrame) -> dict[str, float]:
    """Share of labelled and of other pairs whose problem has a label of another model; what has no pairs is left out.

    A copy that leaves out a model only has learnt from those problems. Where each model's labels are a draw of their
    own both shares are alike, and the copy judges labelled pairs as it judges others; on the same problems they are 1
    and 0.
    """
    labels = lab.store.read("human_labels", lab.plan.fingerprints[evaluation_asset("human_labels")], ["pair_id"])
    known = pairs.with_columns(is_labelled=pl.col("pair_id").is_in(labels["pair_id"].to_list()))
    labelled = known.filter("is_labelled").group_by("problem_id").agg(labelled_models=pl.col("model").unique())
    by_pair = known.join(labelled, on="problem_id", how="left").with_columns(
        is_shared=pl.col("labelled_models").list.set_difference(pl.concat_list("model")).list.len().fill_null(0) > 0
    )
    shares = by_pair.group_by("is_labelled").agg(pl.col("is_shared").mean()).iter_rows()
    return {f"shared_problems_of_{'labelled' if labelled else 'other'}_pairs": share for labelled, share in shares}


def _judge(lab: Lab, copy: JudgeCopy, pairs: pl.DataFrame, problems: Problems) -> int:
    """Let a copy judge what is not in its pool yet; the number of responses that it was asked about."""
    view, judge = _with_copy(lab, copy), _as_judge(lab, copy)
    own = _own(copy, pairs)
    if isinstance(judge, BradleyTerry):
        numbers = verify_missing(
            view,
            judge.verifier,
            lambda: view.judge_engine(judge),
            lambda: lab.judge_format(copy.of),  # type: ignore[arg-type]
            verifications_of(view, judge),
            verification_items(judge, single_responses(asked_pairs(own)), problems),
            judge.called,
        )
    else:
        numbers = read_rewards(view, judge, own, problems, check_judge(view, judge, own, problems))
    return int(numbers.get("scored", 0))


def _own(copy: JudgeCopy, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs that a copy judges."""
    return pairs.filter((pl.col("model") == copy.left_out) & pl.col("problem_id").is_in(list(copy.problems)))


def _as_judge(lab: Lab, copy: JudgeCopy) -> LearningJudge:
    """The judge that a copy started from, with the copy's weights and the fine-tuned judge's label."""
    path = str(lab.store.model_folder(copy.fingerprint))
    if isinstance(copy.of, BradleyTerry):
        model = FolderModel(kind="folder", path=path)
        return copy.of.model_copy(update={"model": model, "label": copy.judge.called})
    return copy.of.model_copy(update={"path": path, "label": copy.judge.called})


def _with_copy(lab: Lab, copy: JudgeCopy) -> Lab:
    """The lab, in which the fine-tuned judge is this copy: its weights, and the pool of what it says."""
    planned = lab.evaluation_plan
    known = {copy.judge.called: copy.fingerprint}
    evaluation = replace(
        planned,
        judge_models={**planned.judge_models, **known},
        judgement_pools={**planned.judgement_pools, **known},
    )
    return replace(lab, plan=replace(lab.plan, evaluation=evaluation))
