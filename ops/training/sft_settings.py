"""Settings of filtered supervised fine-tuning (rejection-sampling fine-tuning, 2412.02674 §2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ops.progress import Progress, silent
from ops.training.base import TrainingMethod

if TYPE_CHECKING:
    from ops.training.objective import Objective


class FilteredSft(TrainingMethod):
    """Fine-tune on the kept responses, loss on the response only."""

    name: Literal["sft"] = "sft"
    version: ClassVar[str] = "1"

    def objective(
        self,
        model: Any,
        tokenizer: Any,
        rows: Iterable[Mapping[str, Any]],
        work: Path,
        progress: Progress = silent,
    ) -> Objective:
        """The weighted mean of the response tokens' losses."""
        from ops.training.sft import example_of, sft_objective

        return sft_objective(model, tokenizer, (example_of(row) for row in rows), self)
