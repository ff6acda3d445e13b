"""Direct preference optimisation (2305.18290): the loss of pairs against the start model's log-probabilities."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import DatasetError, ModelError, StorageError
from ops.progress import Progress, silent
from ops.storage.atomic import atomic_file
from ops.training.dpo_settings import Dpo
from ops.training.loss import TokenDocument, cut, in_use, learnt_losses
from ops.training.objective import Objective
from ops.training.schedule import held_out_problems
from ops.training.sft import pad_token, to_document
from ops.types import TrainingExample

REFERENCE = "reference.safetensors"
REFERENCE_SECONDS = 60.0
"""Between two writes of what is known of the reference: no kill costs more."""


@dataclass(frozen=True)
class PreferencePair:
    """One prompt with a response that is to become likelier than the other; texts as they are trained on."""

    problem_id: str
    prompt: str
    chosen: str
    rejected: str
    weight: float = 1.0


@dataclass(frozen=True)
class PairDocuments:
    """A pair as tokens; every response token has the weight 1, the prompt 0."""

    chosen: TokenDocument
    rejected: TokenDocument
    weight: float

    @property
    def n_tokens(self) -> int:
        """Of both documents, without padding."""
        return len(self.chosen.ids) + len(self.rejected.ids)


def pair_of(row: Mapping[str, Any]) -> PreferencePair:
    """A row of the table ``preference_pairs``."""
    return PreferencePair(row["problem_id"], row["prompt"], row["chosen"], row["rejected"], row["weight"])


def pair_losses(chosen_N: Any, rejected_N: Any, reference_chosen_N: Any, reference_rejected_N: Any, beta: float) -> Any:
    """−log σ(β·[(log π(y_w) − log π_ref(y_w)) − (log π(y_l) − log π_ref(y_l))]) of N pairs (2305.18290, equation 7).

    Args:
        chosen_N, rejected_N: log-probabilities of the whole responses under the model, nats.
        reference_chosen_N, reference_rejected_N: under the start model.
    """
    import torch.nn.functional as F

    margin_N = (chosen_N - reference_chosen_N) - (rejected_N - reference_rejected_N)
    return -F.logsigmoid(beta * margin_N)


def dpo_objective(
    model: Any,
    tokenizer: Any,
    pairs: Iterable[PreferencePair],
    settings: Dpo,
    work: Path,
    progress: Progress = silent,
) -> Objective:
    """The weighted mean loss of the pairs; the reference's log-probabilities are computed here, once.

    Raises:
        DatasetError: when there is nothing to train on.
        ModelError: when a log-probability of the start model is not finite.
        StorageError: when log-probabilities that were kept belong to other pairs.
    """
    import torch

    problems: list[str] = []
    documents: list[PairDocuments] = []
    for pair in pairs:
        problems.append(pair.problem_id)
        documents.append(_documents(tokenizer, pair))
    if not documents:
        raise DatasetError(
            "preference_pairs",
            "no problem has both a response that the filter keeps and one that it drops",
            remedy="move the filter's threshold, or take training: sft",
        )
    held = held_out_problems(problems, settings.validation_fraction, settings.seed)
    own = [i for i, problem in enumerate(problems) if problem not in held]
    validation = [i for i, problem in enumerate(problems) if problem in held]
    computer = _Computer(model, settings, pad_token(tokenizer))
    reference_N2 = _reference(work, computer, documents, progress).to(model.device)

    def backward(indices: Sequence[int], scale: float) -> tuple[float, int]:
        batch = [own[i] for i in indices]
        loss = computer.loss([documents[i] for i in batch], reference_N2[batch], scale)
        return loss, sum(documents[i].n_tokens for i in batch)

    def validate() -> tuple[float, int]:
        chosen = [documents[i] for i in validation]
        with torch.no_grad(), in_use(model):
            loss = computer.loss(chosen, reference_N2[validation], None)
        return loss, sum(pair.n_tokens for pair in chosen)

    return Objective(len(own), backward, validate, len(held), sum(pair.n_tokens for pair in documents))


def _documents(tokenizer: Any, pair: PreferencePair) -> PairDocuments:
    chosen, rejected = (
        to_document(tokenizer, TrainingExample(pair.problem_id, 0, pair.prompt, text))
        for text in (pair.chosen, pair.rejected)
    )
    return PairDocuments(chosen, rejected, pair.weight)


class _Computer:
    """Losses and log-probabilities of pairs, in parts of bounded memory."""

    def __init__(self, model: Any, settings: Dpo, pad_id: int) -> None:
        self.model, self.settings, self.pad_id = model, settings, pad_id

    def parts(self, pairs: Sequence[PairDocuments]) -> list[list[int]]:
        """Indices of the pairs that go through the model together."""
        lengths = [2 * max(len(pair.chosen.ids), len(pair.rejected.ids)) for pair in pairs]
        count = math.ceil(len(pairs) / self.settings.batch_size)
        return cut(lengths, count, self.settings.tokens_per_micro_batch)

    def logprobs(self, part: Sequence[PairDocuments]) -> tuple[Any, Any]:
        """Log-probabilities of the chosen and of the rejected responses [N], nats."""
        import torch

        documents = [*(pair.chosen for pair in part), *(pair.rejected for pair in part)]
        losses, _, counts = learnt_losses(self.model, documents, pad_id=self.pad_id, precision=self.settings.precision)
        sums = torch.stack([-item.sum() for item in losses.split(counts)])
        return sums[: len(part)], sums[len(part) :]

    def loss(self, pairs: Sequence[PairDocuments], reference_N2: Any, scale: float | None) -> float:
        """Mean loss of the pairs, weighted; with a ``scale`` that many times its gradient is added."""
        import torch

        settings = self.settings
        weight_N = torch.tensor([pair.weight for pair in pairs], dtype=torch.float32, device=reference_N2.device)
        tokens = [sum(pair.chosen.weights[1:]) for pair in pairs]
        total, total_tokens = float(weight_N.sum()), sum(w * t for w, t in zip(weight_N.tolist(), tokens, strict=True))
        loss_sum = 0.0
        for part in self.parts(pairs):
            chosen, rejected = self.logprobs([pairs[i] for i in part])
            weights = weight_N[part]
            losses = pair_losses(chosen, rejected, reference_N2[part, 0], reference_N2[part, 1], settings.beta)
            loss = (losses * weights).sum() / total
            if settings.sft_weight:
                loss = loss - settings.sft_weight * (chosen * weights).sum() / total_tokens
            if scale is not None:
                (loss * scale).backward()
            loss_sum += float(loss.detach())
        return loss_sum


def _reference(work: Path, computer: _Computer, pairs: Sequence[PairDocuments], progress: Progress) -> Any:
    """Log-probabilities under the start model, float32 [N, 2]: of the chosen and of the rejected responses.

    They are kept in ``work``, and written there now and then: a resumed run reads the very numbers, computes those that
    are missing, and never those of a model in training.

    Raises:
        ModelError: when one is not finite.
        StorageError: when what is kept belongs to other pairs.
    """
    import torch

    path = work / REFERENCE
    found_N2 = _kept_reference(path, len(pairs))
    missing = [part for part in computer.parts(pairs) if found_N2[part].isnan().any()]
    done, committed = len(pairs) - sum(map(len, missing)), time.monotonic()
    with torch.no_grad(), in_use(computer.model):
        for part in missing:
            chosen, rejected = computer.logprobs([pairs[i] for i in part])
            new_N2 = torch.stack([chosen, rejected], dim=1).float().cpu()
            if not new_N2.isfinite().all():
                problem = "a log-probability of the start model is not finite"
                raise ModelError("training dpo", problem, field="model", remedy="take precision: float32")
            known_N2 = found_N2[part]
            found_N2[part] = torch.where(known_N2.isnan(), new_N2, known_N2)
            done += len(part)
            progress("log-probabilities of the start model", done, len(pairs), {})
            if time.monotonic() - committed >= REFERENCE_SECONDS:
                _keep_reference(path, found_N2)
                committed = time.monotonic()
    if missing:
        _keep_reference(path, found_N2)
    return found_N2


def _kept_reference(path: Path, n: int) -> Any:
    """What is there of the N pairs' log-probabilities; NaN where one has not been computed yet."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        return torch.full((n, 2), float("nan"))
    known_N2 = load_file(path)["logprobs_N2"]
    if known_N2.shape != (n, 2):
        problem = f"has log-probabilities of {known_N2.shape[0]} pairs, expected {n}"
        raise StorageError(str(path), problem, remedy=f"remove {path.parent} and run the experiment again")
    return known_N2


def _keep_reference(path: Path, found_N2: Any) -> None:
    from safetensors.torch import save_file

    with atomic_file(path) as staging:
        save_file({"logprobs_N2": found_N2}, staging)
