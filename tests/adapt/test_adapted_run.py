"""A hardly trained built-in model through two iterations that adapt, its filter an ensemble of all kinds."""

import polars as pl
import pytest

from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.chosen import choice_of, training_filter
from ops.stages.finetuning import finetune_model, select_finetune_data
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from tests.conftest import tiny_experiment

VERIFIERS = [
    {"name": "logit"},
    {"name": "score_cot", "max_tokens": 24, "repeats": 2},
    {"name": "tournament", "max_tokens": 24},
    {"name": "majority"},
    {"name": "ensemble", "how": "mean", "of": ["logit", "score_cot", "tournament", "majority"], "label": "mean"},
]
ADAPT = {"name": "balance", "temperatures": [0.6, 1.4], "thresholds": [0.0, 0.5], "problems": 3, "truth": "labels"}


@pytest.mark.slow
def test_an_adapted_run(tmp_path):
    experiment = tiny_experiment(
        verifiers=VERIFIERS, filter={"name": "quantile", "verifier": "mean", "q": 0.25}, adapt=ADAPT
    )
    lab = Lab.open(experiment, home=tmp_path)
    make_problems(lab)
    obtain_base_model(lab)
    for iteration in range(2):
        numbers = sample_responses(lab, iteration)
        assert numbers["pilot_drawn"] == 2 * 3 * 4
        repeats = 1 + 2 + 1  # of the verifiers that ask: logit, score_cot twice, tournament
        assert numbers["pilot_scored"] == 24 * repeats
        grade_responses(lab, iteration)
        # Groups were compared within themselves, so that those of the chosen temperature are not compared again.
        assert verify_responses(lab, iteration)["scored"] == (6 * 4 + 8 * 8 - 3 * 4) * repeats
        collect_scores(lab, iteration)
        choice = choice_of(lab, iteration)
        assert training_filter(lab, iteration).q == choice.threshold
        _check_the_chosen_row(lab, iteration)
        if iteration == 0:
            select_finetune_data(lab, iteration)
            finetune_model(lab, iteration)
    lab.close()


def _check_the_chosen_row(lab: Lab, iteration: int) -> None:
    """The pilot's problems, selected again from the tables that all responses have, give the same numbers."""
    prints = lab.plan.fingerprints
    table = lab.store.read("sampling_choices", prints[f"iteration_{iteration}/sampling_choices"])
    row = table.filter(pl.col("chosen")).row(0, named=True)
    generations = lab.store.read("generations", prints[f"iteration_{iteration}/generations"]).filter(split="train")
    pilot = generations["problem_id"].unique(maintain_order=True).to_list()[:3]
    frame = generations.filter(pl.col("problem_id").is_in(pilot))
    scores = lab.store.read("verification_scores", prints[f"iteration_{iteration}/verification_scores"])
    scores = scores.filter(verifier="mean").select("response_id", "score")
    frame = frame.join(scores, on="response_id", how="left", maintain_order="left")
    weight = training_filter(lab, iteration).weights(
        frame["problem_id"].rle_id().to_numpy(), frame["score"].fill_null(float("nan")).to_numpy(), None
    )
    kept = frame.filter(pl.Series(weight > 0) & (pl.col("finish_reason") == "stop"))
    assert row["kept_per_problem"] == pytest.approx(kept.height / 3)
    worth = 0.0
    for problem in pilot:
        texts = kept.filter(problem_id=problem).select("response", "verdict").unique()
        right = (texts["verdict"] == "correct").sum()
        worth += min(right / 4, 1) * right / texts.height if texts.height else 0.0
    assert row["balance_score"] == pytest.approx(worth / 3)
