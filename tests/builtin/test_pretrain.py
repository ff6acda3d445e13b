"""Pretraining of any recipe: one code path, the model's own attempts graded by the recipe, to the bit the same."""

import json

import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.builtin.pretrain import own_attempts, pretrain
from ops.builtin.sizes import RECIPES
from ops.progress import silent


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_pretrains_to_the_bit_the_same(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("ops.builtin.pretrain.OWN_PROBLEMS", 10)
    exercises = RECIPES[recipe].exercises
    models = []
    for name in ("one", "two"):
        model = new_model("a", 0)
        result = pretrain(
            model,
            new_tokenizer(),
            exercises.keys(),
            size="a",
            steps=10,
            batch_size=8,
            seed=0,
            work=tmp_path / name,
            progress=silent,
            exercises=exercises,
        )
        assert (result.steps, result.flops) == (10, 6.0 * sum(p.numel() for p in model.parameters()) * result.tokens)
        models.append(model)
    for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(left, right)
    assert len(json.loads((tmp_path / "one" / "own_attempts.json").read_text())) == 10


def test_own_attempts_are_parsed_and_graded(tmp_path, monkeypatch):
    """What was sampled before stands in a file; here it is written by hand."""
    monkeypatch.setattr("ops.builtin.pretrain.OWN_PROBLEMS", 1)
    key = "7 + 5 - 3 * 2"
    texts = [
        "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18",
        "7 + 5 = 13 ; 13 - 3 = 9 ; 9 * 2 = 18",  # the final answer is right
        "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 19",
        "7 + 5 = 12 ; 12 - 3 = 9",  # too short: not in the notation
        "7 + 5 =",
    ]
    (tmp_path / "own_attempts.json").write_text(json.dumps([texts]))
    exercises = RECIPES["arithmetic"].exercises
    attempts = own_attempts(new_model("a", 0), new_tokenizer(), [key], exercises, 0, tmp_path, silent)
    right, wrong = attempts[key]
    assert [" ; ".join(map(str, attempt)) for attempt in right] == texts[:2]
    assert [" ; ".join(map(str, attempt)) for attempt in wrong] == texts[2:3]
