"""Fine-tuning a judge with a scalar reward on labelled pairs (2502.10563 §4.3): the loss, and what is learnt from.

Two kinds of judges have such a reward r of a response: a reward model, whose output it is, and a verifier that reads a
choice between two words off the next token. There r = log p(yes) - log p(no), the difference of two logits. That is the
log-odds of P(True)'s score; of the logit verifier's (1 + p(yes) - p(no)) / 2 it is the log-odds where the two words
have all of the probability, and else the log-odds shared with a mass m on other tokens, (p(yes) + m/2) / (p(no) + m/2),
are nearer to 0 with the same sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ops.evaluation.judges.tuned import Tuned
from ops.progress import Progress, silent
from ops.training.base import TrainingMethod

if TYPE_CHECKING:
    from ops.training.objective import Objective

RewardOf = Callable[[Sequence[Sequence[int]]], Any]
"""Token ids of N texts -> their rewards, a tensor [N] that has a gradient."""


class JudgeTraining(TrainingMethod):
    """Bradley and Terry's loss of labelled pairs, as the training loop takes it.

    ``words``: the two choices (yes, no) whose logits make the reward; None: the model is a classifier of one output.
    ``scale``: of the rewards' difference.
    """

    name: Literal["judge"] = "judge"
    words: tuple[str, str] | None = None
    scale: float = Field(1.0, gt=0.0)
    version: ClassVar[str] = "1"
    examples_table: ClassVar[str] = "human_labels"
    examples_columns: ClassVar[tuple[str, ...]] = ("text", "reference_text", "label")

    def objective(
        self,
        model: Any,
        tokenizer: Any,
        rows: Iterable[Mapping[str, Any]],
        work: Path,
        progress: Progress = silent,
    ) -> Objective:
        """The mean loss of the pairs, all of which fit into the model's context."""
        from ops.training.objective import Objective

        encode, reward_of = _reader(model, tokenizer, self)
        pairs = [_pair_of(encode, row) for row in rows]

        def backward(indices: Sequence[int], scale: float) -> tuple[float, int]:
            batch = [pairs[i] for i in indices]
            return batch_loss(reward_of, batch, self, scale), sum(pair.n_tokens for pair in batch)

        def validate() -> tuple[float, int]:
            raise RuntimeError("no labelled pair is held out")

        return Objective(len(pairs), backward, validate, validation_problems=0)


def training_of(judge: Tuned, words: tuple[str, str] | None, scale: float) -> JudgeTraining:
    """The settings of a judge's fine-tuning as those of the training loop."""
    shared = (set(JudgeTraining.model_fields) & set(Tuned.model_fields)) - {"name"}
    return JudgeTraining(**{name: getattr(judge, name) for name in shared}, words=words, scale=scale)


@dataclass(frozen=True)
class JudgedPair:
    """Tokens of what a judge reads with the model's response and with the reference's, and the label.

    ``reference_ids``: None where a response is judged by itself (accuracy).
    """

    ids: Sequence[int]
    reference_ids: Sequence[int] | None
    label: float

    @property
    def texts(self) -> list[Sequence[int]]:
        """One or two."""
        return [self.ids] if self.reference_ids is None else [self.ids, self.reference_ids]

    @property
    def n_tokens(self) -> int:
        """Of all texts, without padding."""
        return sum(map(len, self.texts))


def pair_losses(reward_N: Any, reference_reward_N: Any | None, label_N: Any, scale: float) -> Any:
    """-(z log s(d) + (1 - z) log s(-d)) of N pairs, s the logistic function, d = (r - r_reference) / ``scale``.

    Bradley and Terry's likelihood with the label z in [0, 1] as a soft target: a tie is 1/2 (2502.10563 §4.3). Where a
    response is judged by itself (``reference_reward_N`` None) it is the cross-entropy of its reward, d = r.

    Args:
        reward_N, reference_reward_N, label_N: tensors [N].
    """
    import torch.nn.functional as F

    margin_N = reward_N if reference_reward_N is None else (reward_N - reference_reward_N) / scale
    return F.binary_cross_entropy_with_logits(margin_N, label_N, reduction="none")


def batch_loss(reward_of: RewardOf, pairs: Sequence[JudgedPair], settings: JudgeTraining, weight: float) -> float:
    """Mean loss of the pairs, nats; ``weight`` times its gradient is added to the parameters'.

    Pairs go through the model in parts of at most ``tokens_per_micro_batch`` tokens, padding included.
    """
    import torch

    from ops.training.loss import cut

    lengths = [len(pair.texts) * max(map(len, pair.texts)) for pair in pairs]
    total = 0.0
    for part in cut(lengths, 1, settings.tokens_per_micro_batch):
        chosen = [pairs[i] for i in part]
        references = [pair.reference_ids for pair in chosen if pair.reference_ids is not None]
        reward_R = reward_of([*(pair.ids for pair in chosen), *references])
        own_N, reference_N = reward_R[: len(chosen)], reward_R[len(chosen) :] if references else None
        label_N = torch.tensor([pair.label for pair in chosen], dtype=reward_R.dtype, device=reward_R.device)
        loss = pair_losses(own_N, reference_N, label_N, settings.scale).sum() / len(pairs)
        (loss * weight).backward()
        total += float(loss.detach())
    return total


def choice_rewards(model: Any, choice_ids: tuple[int, int], pad_id: int) -> RewardOf:
    """log p(yes) - log p(no) of the next token after each text, by the model's own logits.

    The softmax's denominator cancels. Attention is causal and padding stands behind, so no mask is needed; only the
    last token of a text goes through the output layer.
    """
    import torch

    def reward_of(ids: Sequence[Sequence[int]]) -> Any:
        longest = max(map(len, ids))
        tokens_NT = torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in ids], device=model.device)
        last_N = torch.tensor([len(row) - 1 for row in ids], device=model.device)

        def pick(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (inputs[0][torch.arange(len(ids), device=model.device), last_N][:, None], *inputs[1:])

        hook = model.get_output_embeddings().register_forward_pre_hook(pick)
        try:
            logits_NV = model(input_ids=tokens_NT, use_cache=False).logits[:, 0]
        finally:
            hook.remove()
        yes_N, no_N = logits_NV[:, choice_ids[0]], logits_NV[:, choice_ids[1]]
        exact = torch.promote_types(logits_NV.dtype, torch.float32)  # half precision would round the difference
        return yes_N.to(exact) - no_N.to(exact)

    return reward_of


def _reader(model: Any, tokenizer: Any, settings: JudgeTraining) -> tuple[Callable[[str], list[int]], RewardOf]:
    """How texts become tokens, and tokens rewards, as when the judge is asked."""
    from ops.engines.tokens import Tokens
    from ops.evaluation.rewards import reward_ids, reward_logits
    from ops.training.loss import cast_to
    from ops.training.sft import pad_token

    tokens = Tokens(tokenizer, [], None, "transformers")
    of_choices: RewardOf | None = None
    if settings.words is not None:
        yes, no = (tokens.single_token(word) for word in settings.words)
        of_choices = choice_rewards(model, (yes, no), pad_token(tokenizer))

    def encode(text: str) -> list[int]:
        return reward_ids(tokenizer, [text])[0] if of_choices is None else tokens.ids([text])[0]

    def reward_of(ids: Sequence[Sequence[int]]) -> Any:
        with cast_to(model.device.type, settings.precision):
            return reward_logits(model, ids) if of_choices is None else of_choices(ids)

    return encode, reward_of


def _pair_of(encode: Callable[[str], list[int]], row: Mapping[str, Any]) -> JudgedPair:
    reference = row["reference_text"]
    return JudgedPair(encode(row["text"]), None if reference is None else encode(reference), row["label"])
