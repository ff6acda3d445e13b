"""A small model that solves some of its problems, for tests that compare engines."""

from __future__ import annotations

from pathlib import Path

import pytest

STEPS, BATCH = 1000, 32


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of size xs as it is made: it says anything. Its head_dim of 32 is one that vLLM runs on a CPU."""
    from ops.builtin.model import new_model, new_tokenizer

    folder = tmp_path_factory.mktemp("untrained") / "model"
    new_model("xs", 0).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def arithmetic_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of size xs that has learned some arithmetic."""
    from ops.builtin.model import new_model, new_tokenizer
    from ops.builtin.pretrain import pretrain
    from ops.builtin.sizes import RECIPES
    from ops.progress import silent

    folder = tmp_path_factory.mktemp("arithmetic")
    model, tokenizer = new_model("xs", 0), new_tokenizer()
    exercises = RECIPES["arithmetic"].exercises
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.builtin.pretrain.OWN_PROBLEMS", 100)
        pretrain(
            model,
            tokenizer,
            exercises.keys(),
            size="xs",
            steps=STEPS,
            batch_size=BATCH,
            seed=0,
            work=folder / "work",
            progress=silent,
            exercises=exercises,
        )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"
