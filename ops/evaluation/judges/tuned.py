"""A judge fine-tuned on human labels, each model judged by one that never saw that model's labels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.evaluation.judges.base import Judge
from ops.training.lora_settings import Lora
from ops.variants import Seed


class Tuned(Judge):
    """The judge ``of``, its weights fine-tuned with Bradley and Terry's loss on labelled pairs, leaving one model out.

    For every compared model a copy is trained on the labels of all the others and judges that model (2502.10563 §4.3),
    so no judgement comes from weights that saw the pair's own label. A label between 0 and 1 is a soft target; a tie is
    1/2.

    ``leave_out``: ``model`` as in the paper: right where each model's labelled pairs are a draw of their own. Where
    models were labelled on the same problems, the copy has learnt the labelled problems by heart (their reference
    responses, at least). Its scores of labelled pairs then are of another kind than those of the rest: the correlation
    looks too good, so that intervals come out too short, and where the scores of labelled pairs lie higher or lower on
    average, the estimate is biased. ``model_and_problem`` prevents both: problems are cut into ``folds``, and those of
    a fold are judged by a copy that saw neither the model nor any label of the fold, at ``folds`` trainings for each
    model.
    ``lora``, ``precision``: as in ``training``; ``all-linear`` takes in the output of a reward model.
    ``tokens_per_micro_batch``, ``activation_checkpointing``: bound the memory of a step, and change nothing else.
    """

    name: Literal["tuned"] = "tuned"
    of: str
    leave_out: Literal["model", "model_and_problem"] = "model"
    folds: int = Field(5, ge=2, le=50)
    epochs: int = Field(1, ge=1, le=100)
    learning_rate: float = Field(1e-5, gt=0.0, le=1.0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    batch_size: int = Field(16, ge=1)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float = Field(1.0, gt=0.0)
    lora: Lora | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    tokens_per_micro_batch: int | None = Field(None, ge=1)
    activation_checkpointing: bool = False
    seed: Seed = 0
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = True

    @property
    def called(self) -> str:
        return self.label or f"{self.of}+tuned"

    @property
    def fold_numbers(self) -> tuple[int | None, ...]:
        """Of the copies for one model; (None,): one copy judges all of its problems."""
        return (None,) if self.leave_out == "model" else tuple(range(self.folds))

    def identity(self) -> dict[str, Any]:
        """The fields that decide the weights: not those that bound memory (as in ``training``), nor unused folds."""
        unused = {"folds"} if self.leave_out == "model" else set()
        # With dropout in adapters, how a batch is cut decides what is drawn.
        bounds = {"activation_checkpointing"}
        if self.lora is None or self.lora.dropout == 0.0:
            bounds.add("tokens_per_micro_batch")
        return self.model_dump(exclude={"label", "of"} | bounds | unused)
