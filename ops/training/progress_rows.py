"""What a training run did, step by step: rows of the table ``training_steps``, kept in every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_ROWS = 200
"""About so many rows without a validation loss."""


@dataclass
class TrainingState:
    """What a resumed run needs beside weights and optimiser; JSON by ``asdict``.

    Attributes:
        tokens: seen so far, replayed ones included.
        forward_tokens: read without a gradient, for validation.
        losses: of the last steps, as many as an epoch has.
        since: losses since the last row.
        rows: of ``training_steps``.
        best_loss, best_step: the smallest validation loss and where it was; None before the first.
        waited: measurements since then.
    """

    tokens: int = 0
    forward_tokens: int = 0
    losses: list[float] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float | None = None
    best_step: int | None = None
    waited: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values; ``TrainingState(**value)`` reads them."""
        return asdict(self)

    def add_step(self, loss: float, tokens: int, window: int) -> None:
        """Count one optimiser step; ``window``: steps whose losses are kept for the mean of the last epoch."""
        self.tokens += tokens
        self.losses = [*self.losses, loss][-window:]
        self.since.append(loss)

    def add_validation(self, step: int, loss: float) -> bool:
        """Note a validation loss; whether it is the smallest so far."""
        better = self.best_loss is None or loss < self.best_loss
        if better:
            self.best_loss, self.best_step, self.waited = loss, step, 0
        else:
            self.waited += 1
        return better

    def add_row(self, step: int, epoch: float, rate: float, validation: tuple[float, int] | None) -> None:
        """One row of ``training_steps``; ``validation``: loss and number of problems where it was measured here."""
        row = {
            "step": step,
            "epoch": epoch,
            "learning_rate": rate,
            "loss": sum(self.since) / len(self.since),
            "validation_loss": validation[0] if validation else None,
            "validation_problems": validation[1] if validation else None,
            "tokens": self.tokens,
            "kept": False,
        }
        self.rows.append(row)
        self.since = []


def with_kept(rows: list[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """The rows with the step marked whose weights became the model."""
    return [row | {"kept": row["step"] == step} for row in rows]
