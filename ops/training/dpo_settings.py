"""Settings of direct preference optimisation on verified pairs (DPO, 2305.18290)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ops.progress import Progress, silent
from ops.selection.base import Filter
from ops.training.base import TrainingMethod

if TYPE_CHECKING:
    from ops.training.objective import Objective


class Dpo(TrainingMethod):
    """Learn to prefer responses that the filter keeps to those that it drops (2305.18290, equation 7).

    ``beta``: how dear a step away from the start model is. ``min_score_margin``: a pair needs scores of the filter's
    one verifier that differ by so much (None: any pair). ``max_per_problem`` and ``max_examples`` count pairs here.
    ``sft_weight``: times the loss of the chosen responses (nats per token), added to the loss of the pairs; it keeps
    their probability from falling together with that of the rejected ones. 0: plain DPO.
    """

    name: Literal["dpo"] = "dpo"
    learning_rate: float = Field(1e-4, gt=0.0, le=1.0)
    epochs: int = Field(1, ge=1, le=100)
    max_per_problem: int | None = Field(4, ge=1)
    beta: float = Field(0.1, gt=0.0)
    sft_weight: float = Field(0.0, ge=0.0)
    min_score_margin: float | None = Field(None, gt=0.0)
    version: ClassVar[str] = "1"
    examples_table: ClassVar[str] = "preference_pairs"
    examples_columns: ClassVar[tuple[str, ...]] = ("problem_id", "prompt", "chosen", "rejected", "weight")

    def check(self, item: Filter) -> None:
        """Pairs need responses that the filter drops, and a margin needs one verifier's scores."""
        if not item.drops:
            raise ValueError(
                f"filter: one that drops responses, with training dpo (what it drops is what is rejected), "
                f"got {item.name}"
            )
        if self.min_score_margin is not None and item.verifier_name is None:
            raise ValueError(
                f"training.min_score_margin: null with filter {item.name}, which does not read exactly one "
                "verifier's scores"
            )

    def data_identity(self) -> Mapping[str, Any]:
        """What of the settings decides which pairs are trained on."""
        return {**super().data_identity(), "pairs": "2", "min_score_margin": self.min_score_margin}

    def objective(
        self,
        model: Any,
        tokenizer: Any,
        rows: Iterable[Mapping[str, Any]],
        work: Path,
        progress: Progress = silent,
    ) -> Objective:
        """The mean loss of the pairs; the reference is ``model`` as it is now."""
        from ops.training.dpo import dpo_objective, pair_of

        return dpo_objective(model, tokenizer, [pair_of(row) for row in rows], self, work, progress)
