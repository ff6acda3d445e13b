"""Training the copies of a judge, each on the labels of other models than the one that it judges (2502.10563 §4.3)."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ops.errors import ModelError
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.judges.tuned import Tuned
from ops.evaluation.labels import FileLabels
from ops.evaluation.plan import judging_model, tuned_copy
from ops.evaluation.rewards import release_memory
from ops.evaluation.tuning import training_of
from ops.evaluation.tuning_pairs import MIN_LABELLED, check_enough, pairs_to_learn, problem_folds
from ops.lab import Lab
from ops.models import BuiltinModel, askable
from ops.plan import evaluation_asset
from ops.stages.base_model import save_model
from ops.stages.problems import problems_of
from ops.stages.training_steps import STEPS
from ops.storage.atomic import exclusive
from ops.types import Problem
from ops.verifiers.base import VerificationItem
from ops.verifiers.choices import ChoiceVerifier

LearningJudge = BradleyTerry | RewardModel
"""Judges with a reward that has a gradient."""


@dataclass(frozen=True)
class JudgeCopy:
    """A copy of a judge that judges one model, or those of its pairs whose problems are in one fold.

    Attributes:
        judge: the settings of its fine-tuning. ``of``: the judge that it starts from.
        left_out: label of the model that it judges, whose labels it never sees.
        problems: that it judges.
        fold: whose labels it never sees either; None: its problems' labels for other models are learnt from.
        rows: what it learns from: ``text``, ``reference_text`` (None of a response by itself), ``label``.
        n_too_long: labelled pairs that its judge cannot read; they are not among ``rows``.
        fingerprint: of its weights; with the same rows it is the same.
    """

    judge: Tuned
    of: LearningJudge
    left_out: str
    problems: frozenset[str]
    fold: int | None
    rows: Sequence[Mapping[str, Any]]
    n_too_long: int
    fingerprint: str

    @property
    def shown(self) -> str:
        """For progress and messages."""
        return f"{self.judge.called} without {self.left_out}" + ("" if self.fold is None else f", fold {self.fold}")


def copies_of(lab: Lab, pairs: pl.DataFrame) -> list[JudgeCopy]:
    """Every copy that the experiment needs, judge by judge and model by model, with what it learns from."""
    by_label = {judge.called: judge for judge in lab.evaluation.judges}
    problem_ids = pairs["problem_id"].unique().to_list()
    labels = lab.store.read("human_labels", lab.plan.fingerprints[evaluation_asset("human_labels")])
    found = []
    for judge in lab.evaluation.learning_judges:
        assert isinstance(judge, Tuned)
        of = by_label[judge.of]
        assert isinstance(of, BradleyTerry | RewardModel)  # others cannot learn, as the settings know
        fold_of = problem_folds(problem_ids, judge.folds, judge.seed)
        readable = _readable(lab, of, pairs.filter(pl.col("pair_id").is_in(labels["pair_id"].unique().to_list())))
        for model, tuned in lab.evaluation_plan.tuned[judge.called].items():
            for fold in judge.fold_numbers:
                own = frozenset(name for name in problem_ids if fold is None or fold_of[name] == fold)
                learnt = pairs_to_learn(pairs, labels, model, () if fold is None else own)
                said = learnt.select("pair_id", "label").iter_rows()
                rows = [{**readable[pair_id], "label": label} for pair_id, label in said if pair_id in readable]
                name = tuned_copy(tuned, fold, rows)
                found.append(JudgeCopy(judge, of, model, own, fold, rows, learnt.height - len(rows), name))
    return found


def has_labels(lab: Lab, copy: JudgeCopy) -> bool:
    """Whether there is enough to learn from; where people label, the labels of other models may still be coming."""
    if not isinstance(lab.evaluation.labels, FileLabels):
        return True  # no more will come: training says what is missing
    return len(copy.rows) >= MIN_LABELLED


def train_copy(lab: Lab, copy: JudgeCopy) -> bool:
    """Train a copy and write its folder, resuming from its last checkpoint (GPU); whether there was anything to do.

    Raises:
        DatasetError: when there are too few labels of other models.
        ModelError: when the judge's model cannot be trained with these settings, or memory runs out.
    """
    if lab.store.has_model(copy.fingerprint):
        return False
    with exclusive(lab.store.home / "locks" / f"tuned-{copy.fingerprint}.lock"):  # another run may train the same copy
        if lab.store.has_model(copy.fingerprint):
            return False
        _train_copy(lab, copy)
        gc.collect()
        release_memory()  # the engine that asks the copy may be another process
        return True


def _train_copy(lab: Lab, copy: JudgeCopy) -> None:
    import torch

    from ops.builtin.model import count_parameters
    from ops.training.loop import train
    from ops.training.memory import told_of_memory
    from ops.training.sft import pad_token

    start = time.monotonic()
    check_enough(len(copy.rows), copy.judge.called, copy.left_out, _source(lab))
    lab.free_memory()
    model, tokenizer = _start(lab, copy.of)
    work = lab.store.work_folder("judge_tuning", copy.fingerprint)
    words = _words(lab, copy.of)
    is_builtin = isinstance(judging_model(lab.experiment, copy.of), BuiltinModel)
    settings = training_of(copy.judge, words, copy.of.scale).bounded(is_builtin=is_builtin)
    section = _section(lab, copy.judge)
    if settings.activation_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(
            copy.shown,
            f"a {model.config.model_type} model keeps all activations: transformers cannot compute them again",
            field=f"{section}.activation_checkpointing",
            remedy="take activation_checkpointing: false, and a lower tokens_per_micro_batch",
        )
    with torch.random.fork_rng(devices=[]), told_of_memory(copy.shown, settings.tokens_per_micro_batch, section):
        torch.manual_seed(settings.seed)
        result = train(
            model,
            settings.objective(model, tokenizer, copy.rows, work),
            settings,
            replay=None,
            pad_id=pad_token(tokenizer),
            work=work,
            progress=lab.progress,
            label=f"fine-tuning {copy.shown}",
            section=section,
        )
    numbers = {
        "n_parameters": count_parameters(model),
        "train_tokens": result.tokens,
        "optimizer_steps": result.steps,
        "final_loss": result.final_loss,
        "labelled_pairs": len(copy.rows),
        "pairs_too_long": copy.n_too_long,
        "seconds": time.monotonic() - start,
    }
    save_model(lab, copy.fingerprint, model, tokenizer, numbers, {STEPS: json.dumps(result.rows)})
    shutil.rmtree(work, ignore_errors=True)


def _source(lab: Lab) -> str:
    """Where the labels come from."""
    labels = lab.evaluation.labels
    return (isinstance(labels, FileLabels) and labels.path) or lab.experiment.name


def _section(lab: Lab, judge: Tuned) -> str:
    """Where a judge stands in the experiment file."""
    place = [item.called for item in lab.evaluation.judges].index(judge.called)
    return f"evaluation.judges[{place}]"


def _readable(lab: Lab, judge: LearningJudge, pairs: pl.DataFrame) -> dict[str, dict[str, str | None]]:
    """What a judge reads of those pairs that fit, by pair: ``text`` and ``reference_text``."""
    text_of = reads(lab, judge)
    problems = {problem.problem_id: problem for problem in problems_of(lab, 0)}
    found: dict[str, dict[str, str | None]] = {}
    for row in pairs.iter_rows(named=True):
        problem, reference = problems[row["problem_id"]], row["reference_response"]
        other = None if reference is None else text_of(problem, reference)
        found[row["pair_id"]] = {"text": text_of(problem, row["response"]), "reference_text": other}
    fits = _fit(lab, judge, list(found.values()))
    return {pair_id: texts for (pair_id, texts), is_read in zip(found.items(), fits, strict=True) if is_read}


def reads(lab: Lab, judge: LearningJudge) -> Callable[[Problem, str], str]:
    """What a judge reads of one response, as a function of problem and response."""
    if isinstance(judge, BradleyTerry):
        prompts, verifier = lab.judge_format(judge), judge.verifier
        return lambda problem, response: verifier.question(prompts, VerificationItem(problem, response, ""))
    from ops.engines.tokens import load_tokenizer
    from ops.evaluation.rewards import reward_text

    tokenizer, task = load_tokenizer(_path(lab, judge)), lab.experiment.task
    return lambda problem, response: reward_text(tokenizer, task.question(problem), response)


def _fit(lab: Lab, judge: LearningJudge, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether all texts of each row fit into what the judge reads, as when it judges."""
    path = _path(lab, judge)
    texts = [text for row in rows for text in (row["text"], row["reference_text"]) if text is not None]
    if not texts:
        return []
    if isinstance(judge, BradleyTerry):
        from ops.engines.tokens import Tokens

        known = [fit.fits for fit in Tokens.of_folder(path, lab.experiment.engine.name).fits(texts)]
    else:
        from ops.engines.tokens import load_tokenizer
        from ops.evaluation.rewards import reward_configuration, reward_lengths, reward_room

        room = reward_room(reward_configuration(path))
        most = judge.max_tokens if room is None else min(judge.max_tokens, room)
        known = (reward_lengths(load_tokenizer(path), texts) <= most).tolist()
    fits = dict(zip(texts, known, strict=True))
    return [all(fits[text] for text in (row["text"], row["reference_text"]) if text is not None) for row in rows]


def _start(lab: Lab, judge: LearningJudge) -> tuple[Any, Any]:
    """The judge's model in float32, and its tokenizer."""
    from ops.engines.tokens import load_tokenizer
    from ops.training.pretrained import make_saveable

    path = _path(lab, judge)
    device = getattr(lab.experiment.engine, "device", "auto")
    if isinstance(judge, RewardModel):
        from ops.evaluation.rewards import load_reward_model

        return load_reward_model(path, device, "float32")
    from ops.engines.transformers_engine import load_model
    from ops.engines.transformers_settings import TransformersEngineSettings

    model = load_model(path, TransformersEngineSettings(device=device, dtype="float32"))
    make_saveable(model)
    return model, load_tokenizer(path)


def _path(lab: Lab, judge: LearningJudge) -> Path:
    model = judging_model(lab.experiment, judge)
    assert model is not None
    return lab.path_of(askable(model))


def _words(lab: Lab, judge: LearningJudge) -> tuple[str, str] | None:
    """The choices whose logits make the reward; None of a reward model."""
    if isinstance(judge, RewardModel):
        return None
    assert isinstance(judge.verifier, ChoiceVerifier)
    return judge.verifier.words(lab.judge_format(judge))
