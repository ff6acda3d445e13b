"""The policy: trained by reinforcement learning from the base model, kept at every snapshot (arXiv 2509.06941)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.engines.base import SamplingSettings
from ops.errors import EngineError, StorageError
from ops.exploration.settings import Exploration
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import exploration_asset
from ops.stages.base_model import NUMBERS, save_model
from ops.stages.grading import grade_texts
from ops.stages.problems import problems_of
from ops.storage.atomic import exclusive
from ops.storage.parquet import write_frames
from ops.storage.schemas import polars_schema
from ops.training.base import MICRO_BATCH_TOKENS
from ops.types import Grade, StageResult

if TYPE_CHECKING:
    from ops.exploration.loop import Trained, World

STEPS = "policy_steps.json"
ROLLOUTS = "rollouts.parquet"
"""Beside the weights of the trained policy: what its training did and drew, there with them by one rename."""

LABEL = "exploration: training"


def exploration_of(lab: Lab) -> Exploration:
    """The experiment's settings of exploration."""
    exploration: Exploration | None = lab.experiment.exploration
    if exploration is None:
        raise RuntimeError("a stage of exploration in an experiment without it")
    return exploration


def train_policy(lab: Lab) -> dict[str, Any]:
    """Train the policy and write the folders of its snapshots; resumes from the last saved step (GPU).

    Raises:
        ModelError: when the model cannot be trained with these settings, or memory runs out.
        EngineError: when the engine does not draw from a model in training.
        StorageError: when what an earlier, unfinished training left does not fit: another engine's, or damaged.
    """
    last = lab.plan.policies[exploration_of(lab).steps]
    if lab.store.has_model(last):
        return {"reused": True}
    with exclusive(lab.store.home / "locks" / f"exploration-{last}.lock"):  # another run may train the same policy
        return {"reused": True} if lab.store.has_model(last) else _train_policy(lab, last)


def _train_policy(lab: Lab, last: str) -> dict[str, Any]:
    from ops.builtin.model import count_parameters
    from ops.engines.tokens import load_tokenizer
    from ops.engines.transformers_engine import load_model
    from ops.engines.transformers_settings import TransformersEngineSettings
    from ops.training.pretrained import check_head, check_logits, make_saveable

    exploration = exploration_of(lab)
    lab.free_memory()
    path = lab.policy_path(0)
    settings = TransformersEngineSettings(device=getattr(lab.experiment.engine, "device", "auto"), dtype="float32")
    model, tokenizer = load_model(path, settings), load_tokenizer(path)
    check_head(model.config)
    make_saveable(model)
    world = _world(lab)
    check_logits(model, tokenizer(world.prompts[0], add_special_tokens=False)["input_ids"])
    _check_prompts(lab, tokenizer, model)
    base = None
    if exploration.kl_coefficient > 0.0:
        base = load_model(path, settings).requires_grad_(False)
    work = lab.store.work_folder("exploration", last)
    n_parameters = count_parameters(model)

    def numbers_of(trained: Trained) -> dict[str, Any]:
        return {
            "n_parameters": n_parameters,
            "train_tokens": trained.tokens,
            "train_flops": n_parameters * (6.0 * trained.tokens + 2.0 * trained.forward_tokens),
            "optimizer_steps": len(trained.rows) * exploration.mini_batches * exploration.passes,
            "final_loss": trained.rows[-1]["loss"],
            "seconds": sum(row["seconds"] for row in trained.rows),
        }

    def snapshot(step: int, trained: Trained) -> None:
        fingerprint = lab.plan.policies[step]
        if lab.store.has_model(fingerprint):
            _check_same(model, lab.store.model_folder(fingerprint))
            return
        is_last = step == exploration.steps
        _save_snapshot(lab, fingerprint, model, tokenizer, numbers_of(trained), trained, work if is_last else None)

    trained = _train(lab, model, tokenizer, base, world, work, snapshot)
    shutil.rmtree(work, ignore_errors=True)
    numbers = numbers_of(trained)
    return {"reused": False, "responses": trained.responses, "accuracy": trained.rows[-1]["accuracy"], **numbers}


def _check_prompts(lab: Lab, tokenizer: Any, model: Any) -> None:
    """Refuse prompts, of training or of evaluation, that do not fit: better before the first step than at the last.

    Raises:
        EngineError: names the longest.
    """
    from ops.engines.tokens import Tokens

    prompts, engine = lab.prompt_format(), lab.experiment.engine
    limits = getattr(model.config, "max_position_embeddings", None), getattr(engine, "max_model_len", None)
    room = min((limit for limit in limits if limit is not None), default=None)
    texts = [prompts.solve(problem) for problem in problems_of(lab, 0)]
    Tokens(tokenizer, (), room, engine.name).encode(texts, lab.experiment.sampling.max_tokens)


def _check_same(model: Any, folder: Path) -> None:
    """Refuse a snapshot of another training: on a GPU the same training does not give the same weights twice.

    Raises:
        StorageError: when its weights are not the model's.
    """
    import torch
    from safetensors.torch import load_file

    kept: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        kept |= load_file(path)
    own = model.state_dict()
    if all(name in own and torch.equal(value.to(own[name].device), own[name]) for name, value in kept.items()):
        return
    raise StorageError(
        str(folder),
        "a snapshot of an earlier training with these settings, whose weights this training does not repeat",
        remedy="remove the folder, and the tables and samples made of it (pools/samples, tables/policy_evaluation), or "
        "give the experiment another exploration.seed",
    )


def _world(lab: Lab) -> World:
    from ops.exploration.answer_mask import masks_answer
    from ops.exploration.loop import World

    task, sampling, prompts = lab.experiment.task, lab.experiment.sampling, lab.prompt_format()
    problems = problems_of(lab, 0, "train")

    def grade(items: Any) -> list[Grade]:
        return [found for found in grade_texts(lab.experiment, items) if found is not None]

    masked = masks_answer(exploration_of(lab).bonus, task)
    return World(
        problems=problems,
        prompts=[prompts.solve(problem) for problem in problems],
        sampling=SamplingSettings(
            sampling.temperature, sampling.top_p, sampling.max_tokens, prompts.solve_stop, with_tokens=True
        ),
        grade=grade,
        answer_span=task.answer_span if masked else None,
    )


def _train(lab: Lab, model: Any, tokenizer: Any, base: Any, world: World, work: Path, snapshot: Any) -> Trained:
    """Train ``model`` in place.

    Raises:
        ModelError: when the loss is no longer finite, or memory runs out.
    """
    import torch

    from ops.exploration.loop import PolicyTraining
    from ops.training.memory import told_of_memory
    from ops.training.sft import pad_token

    exploration = exploration_of(lab)
    if exploration.tokens_per_micro_batch is None and not isinstance(lab.experiment.model, BuiltinModel):
        exploration = exploration.model_copy(update={"tokens_per_micro_batch": MICRO_BATCH_TOKENS})
    engine = lab.experiment.engine.policy(model, tokenizer, lab.policy_path(0))
    try:
        with (
            torch.random.fork_rng(devices=[]),
            told_of_memory(LABEL, exploration.tokens_per_micro_batch, "exploration"),
        ):
            torch.manual_seed(exploration.seed)
            trained = PolicyTraining(
                model=model,
                tokenizer=tokenizer,
                engine=engine,
                base=base,
                world=world,
                settings=exploration,
                pad_id=pad_token(tokenizer),
                work=work,
                progress=lab.progress,
                live=lab.live,
                snapshot=snapshot,
                label=LABEL,
            ).to_the_end()
    except BaseException:
        with suppress(EngineError):  # what went wrong first is what is said
            engine.close()
        raise
    engine.close()
    return trained


def _save_snapshot(
    lab: Lab,
    fingerprint: str,
    model: Any,
    tokenizer: Any,
    numbers: dict[str, Any],
    trained: Trained,
    work: Path | None,
) -> None:
    """Write the folder of one snapshot.

    Args:
        work: where the drawn responses are, for the last one, which holds them all; None for the others.
    """

    def add(folder: Path) -> None:
        from ops.exploration.rollout_files import read_steps

        if work is not None:
            write_frames(folder / ROLLOUTS, "rollouts", read_steps(work, len(trained.rows)))
            (folder / STEPS).write_text(json.dumps(trained.rows))

    save_model(lab, fingerprint, model, tokenizer, numbers, add=add)


def register_policy(lab: Lab) -> StageResult:
    """Commit a row of the table ``models`` for every snapshot, and the table ``policy_steps`` (CPU)."""
    name, exploration = exploration_asset("policy"), exploration_of(lab)
    last = lab.store.model_folder(lab.plan.policies[exploration.steps])

    def steps() -> pl.DataFrame:
        return pl.DataFrame(json.loads((last / STEPS).read_text()), schema=polars_schema("policy_steps"), orient="row")

    def compute() -> pl.DataFrame:
        rows = [_row(lab, step, fingerprint) for step, fingerprint in lab.plan.policies.items() if step > 0]
        return pl.DataFrame(rows, schema=polars_schema("models"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        row = frame.row(-1, named=True)
        names = ("n_parameters", "train_tokens", "train_flops", "optimizer_steps", "final_loss", "path")
        return {name: row[name] for name in names}

    lab.materialise("policy_steps", name, None, steps, _steps_metadata)
    return lab.materialise("models", name, None, compute, metadata)


def _row(lab: Lab, step: int, fingerprint: str) -> dict[str, Any]:
    folder = lab.store.model_folder(fingerprint)
    return {
        "role": "policy",
        "model": f"{lab.experiment.model.shown}, {step} steps of exploration",
        "generates_iteration": None,
        "model_fingerprint": fingerprint,
        "parent_fingerprint": lab.plan.policies[0],
        "path": str(folder.relative_to(lab.store.home)),
        **json.loads((folder / NUMBERS).read_text()),
    }


def _steps_metadata(frame: pl.DataFrame) -> dict[str, Any]:
    first, last = frame.row(0, named=True), frame.row(-1, named=True)
    shown = ("accuracy", "entropy_nats", "distinct_answers_per_group")
    return {f"{name}_{when}": row[name] for name in shown for when, row in (("first", first), ("last", last))}


def commit_rollouts(lab: Lab) -> StageResult:
    """Commit every response drawn in training as the table ``rollouts`` (CPU).

    Raises:
        StorageError: when the trained policy's folder does not hold them.
    """
    path = lab.store.model_folder(lab.plan.policies[exploration_of(lab).steps]) / ROLLOUTS

    def frames() -> Iterator[pl.DataFrame]:
        if not path.is_file():
            raise StorageError(
                str(path), "the responses of the training are not there", remedy=f"remove {path.parent} and run again"
            )
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield pl.DataFrame(pl.from_arrow(batch))

    return lab.materialise_stream("rollouts", exploration_asset("rollouts"), None, frames, _about_rollouts)


def _about_rollouts(frame: pl.LazyFrame) -> dict[str, Any]:
    """Numbers for people, in one pass over the rows."""
    return (
        frame.select(
            responses=pl.len(),
            problems=pl.col("problem_id").n_unique(),
            accuracy=(pl.col("verdict") == "correct").mean(),
            unparseable_fraction=(pl.col("verdict") == "unparseable").mean(),
            cut_at_max_tokens_fraction=(pl.col("finish_reason") == "length").mean(),
            mean_tokens=pl.col("n_tokens").mean(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
