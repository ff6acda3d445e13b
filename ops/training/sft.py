"""Filtered supervised fine-tuning: the kept responses, loss on the response only."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ops.errors import DatasetError
from ops.training.base import TrainingMethod
from ops.training.loss import TokenDocument, mean_loss, weighted_backward
from ops.training.objective import Objective
from ops.training.schedule import held_out_problems
from ops.types import TrainingExample


def example_of(row: Mapping[str, Any]) -> TrainingExample:
    """A row of the table ``finetune_data``."""
    return TrainingExample(row["problem_id"], row["sample_index"], row["prompt"], row["completion"], row["weight"])


def to_document(tokenizer: Any, example: TrainingExample) -> TokenDocument:
    """Prompt and completion as tokens, 12 bytes each; only the completion is learnt.

    Raises:
        DatasetError: when the completion has no tokens.
    """
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    completion = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    if not completion:
        raise DatasetError(f"finetune_data {example.problem_id}", "the completion has no tokens", field="completion")
    ids, weights = array("i", prompt), array("d", [0.0]) * len(prompt)
    ids.extend(completion)
    weights.extend(array("d", [example.weight]) * len(completion))
    return TokenDocument(ids, weights)


def pad_token(tokenizer: Any) -> int:
    """What short documents are filled up with; never read, as attention is causal."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def sft_objective(
    model: Any, tokenizer: Any, examples: Iterable[TrainingExample], settings: TrainingMethod
) -> Objective:
    """The weighted mean loss of response tokens, in nats. Of the examples only their tokens are kept.

    Raises:
        DatasetError: when there is nothing to train on.
    """
    problems: list[str] = []
    documents: list[TokenDocument] = []
    for example in examples:
        problems.append(example.problem_id)
        documents.append(to_document(tokenizer, example))
    if not documents:
        raise DatasetError("finetune_data", "the filter kept no response", remedy="lower the filter's threshold")
    held = held_out_problems(problems, settings.validation_fraction, settings.seed)
    own = [item for item, problem in zip(documents, problems, strict=True) if problem not in held]
    validation = [item for item, problem in zip(documents, problems, strict=True) if problem in held]
    how: dict[str, Any] = {
        "pad_id": pad_token(tokenizer),
        "max_tokens": settings.tokens_per_micro_batch,
        "precision": settings.precision,
    }

    def backward(indices: Sequence[int], scale: float) -> tuple[float, int]:
        batch = [own[i] for i in indices]
        loss = weighted_backward(model, batch, scale=scale, **how)
        return loss, sum(len(document.ids) for document in batch)

    def validate() -> tuple[float, int]:
        parts = math.ceil(len(validation) / settings.batch_size)
        return mean_loss(model, validation, micro_batches=parts, **how), sum(len(item.ids) for item in validation)

    return Objective(len(own), backward, validate, len(held))
