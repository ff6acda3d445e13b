"""A training run of its own process, for ``test_resume``: ``python killed.py METHOD WORK OUT STEPS_BETWEEN_SAVES``.

It prints every step that is done, and writes the weights to OUT at the end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops.builtin.model import new_model, new_tokenizer
from ops.training import loop, saves
from ops.training.dpo_settings import Dpo
from ops.training.sft_settings import FilteredSft
from tests.training.examples import EXAMPLES, PAIRS, row_of

STEPS = dict(batch_size=8, epochs=12, learning_rate=5e-3, validation_fraction=0.2, validation_every_steps=4)
METHODS = {
    "sft": FilteredSft(**STEPS, schedule="cosine", replay_fraction=0.0, patience=30),
    "lora": FilteredSft(**STEPS, lora={"rank": 4, "dropout": 0.3}, patience=30),
    "dpo": Dpo(**STEPS, sft_weight=0.1, lora={"rank": 4, "dropout": 0.3}),
    "stopped": FilteredSft(**{**STEPS, "learning_rate": 0.05, "epochs": 40, "warmup_steps": 0}, patience=4),
}
"""With everything that has a state of its own: best weights, dropout, the reference's log-probabilities."""


def main(method: str, work: str, out: str, every: str) -> None:
    from safetensors.torch import save_file

    saves.SAVE_STEPS = int(every)
    settings = METHODS[method]
    rows = [row_of(e) for e in EXAMPLES] if method != "dpo" else [vars(pair) for pair in PAIRS]
    model = new_model("a", 0)
    torch.manual_seed(settings.seed)

    def progress(what, done, total, numbers):
        print(done, flush=True)
        time.sleep(0.01)  # so that the kill falls between two steps that are not the last ones

    objective = settings.objective(model, new_tokenizer(), rows, Path(work))
    result = loop.train(
        model, objective, settings, replay=None, pad_id=0, work=Path(work), progress=progress, label=method
    )
    tensors = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    tensors["steps_kept_tokens"] = torch.tensor([result.steps, result.kept_step, result.tokens, result.forward_tokens])
    columns = ("step", "loss", "validation_loss", "learning_rate")
    cells = [[float("nan") if row[name] is None else row[name] for name in columns] for row in result.rows]
    tensors["rows"] = torch.tensor(cells, dtype=torch.float64)
    save_file(tensors, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
