"""The pilot with a scripted engine: its arithmetic by hand, what it pays, and what a kill costs."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from ops.engines.base import Fit
from ops.errors import StorageError
from ops.lab import Lab
from ops.stages.chosen import choice_of, source_of, training_filter
from ops.stages.finetuning import select_finetune_data
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems, problems_of
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.types import Completion, Grade
from tests.conftest import sample_pool, tiny_experiment
from tests.verifiers.scripted import PlainFormat

COLD = ["right a 0.8"] * 4
FIRST = ["right a 0.8", "right b 0.2", "wrong c 0.4", "wrong d -0.5"]
SECOND = ["right a 0.8", "right b 0.7", "right f -0.2", "wrong d -0.5"]
"""What is said at 2.0 to the first and second training problem; the number is the logit score."""


class Scripted:
    """Says, at each temperature and to each prompt, what the script has; every sample counted."""

    name, version = "scripted", "1"

    def __init__(self, script):
        self.script, self.seeds, self.judged, self.drawn = script, [], [], {}

    def sample(self, requests, settings):
        for index, request in enumerate(requests):
            for place, seed in enumerate(request.seeds):
                said = self.drawn.setdefault((settings.temperature, request.prompt), [])
                text = self.script(settings.temperature, request.prompt, len(said))
                said.append(text)
                self.seeds.append(seed)
                yield [(index, place, Completion(text, 3, -1.0, "stop"))]

    def choice_logprobs(self, prompts, choices):
        self.judged += prompts
        share = np.array([(1 + float(prompt.split()[-1])) / 2 for prompt in prompts])
        return np.log(np.stack([share, 1 - share], axis=1))

    def fits(self, prompts, new_tokens=0, continuations=None):
        return [Fit(1, new_tokens, None) for _ in prompts]

    def usage(self):
        return {}

    def close(self):
        pass


def experiment_of(**changes):
    fields = {
        "problems": {"train_per_iteration": 3, "eval": 2},
        "sampling": {"n_train": 4, "n_eval": 3, "max_tokens": 16},
        "verifiers": [{"name": "logit"}],
        "filter": {"name": "threshold", "verifier": "logit", "threshold": -1.0},
        "adapt": {"name": "balance", "temperatures": [0.5, 2.0], "thresholds": [0.0, 0.6], "problems": 2},
        "monitoring": {"balance_target": 2},
    }
    return tiny_experiment(**{**fields, **changes})


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Opens labs of one home, with one scripted engine and grades by the first word."""

    def grades(experiment, items, stop=None):
        verdicts = ["correct" if text.startswith("right") else "incorrect" for _, text, _ in items]
        return [Grade(verdict, verdict, text, "") for verdict, (_, text, _) in zip(verdicts, items, strict=True)]

    monkeypatch.setattr("ops.stages.drawing.grade_texts", grades)
    monkeypatch.setattr(Lab, "prompt_format", lambda self, model=None: PlainFormat())

    def opened(**changes):
        lab = Lab.open(experiment_of(**changes), home=tmp_path / "home", run_id="t")
        make_problems(lab)
        train = [f"solve {p.problem_id} ->" for p in problems_of(lab, 0) if p.split == "train"]

        def script(temperature, prompt, place):
            if temperature != 2.0:
                return COLD[place % 4]
            return (FIRST if prompt == train[0] else SECOND)[place % 4]

        lab.scripted = Scripted(script)
        return lab

    monkeypatch.setattr(Lab, "engine", lambda self, iteration, verifier=None: self.scripted)
    return opened


def choices(lab) -> pl.DataFrame:
    return lab.store.read("sampling_choices", lab.plan.fingerprints["iteration_0/sampling_choices"])


# Of each problem: n distinct kept, n' right ones among them; the score is min(n'/n*, 1) * n'/n.
#          0.5, >= 0 and >= 0.6: both problems keep one text, right: n = n' = 1
#          2.0, >= 0:   first keeps a b c: n = 3, n' = 2;  second keeps a b: n = n' = 2
#          2.0, >= 0.6: first keeps a:     n = n' = 1;     second keeps a b: n = n' = 2
@pytest.mark.parametrize(
    ("target", "scores", "chosen"),
    [
        # n* = 1:  1 and 1;  1 and 1;  (2/3 + 1)/2 = 5/6;  (1 + 1)/2 = 1: three are equal, the first one counts
        (1, [1, 1, 5 / 6, 1], 0),
        # n* = 2:  1/2 * 1;  the same;  (1 * 2/3 + 1)/2 = 5/6;  (1/2 + 1)/2 = 3/4
        (2, [1 / 2, 1 / 2, 5 / 6, 3 / 4], 2),
        # n* = 4:  1/4 * 1;  the same;  (2/4 * 2/3 + 2/4 * 1)/2 = 5/12;  (1/4 + 2/4)/2 = 3/8
        (4, [1 / 4, 1 / 4, 5 / 12, 3 / 8], 2),
    ],
)
def test_the_choice_by_hand(bench, target, scores, chosen):
    lab = bench(monitoring={"balance_target": target})
    sample_responses(lab, 0)
    table = choices(lab)
    assert table["balance_score"].to_list() == pytest.approx(scores)
    assert table["chosen"].to_list() == [i == chosen for i in range(4)]
    assert table["temperature"].to_list() == [0.5, 0.5, 2.0, 2.0] and table["threshold"].to_list() == [0, 0.6, 0, 0.6]
    assert set(table["n_problems"]) == {2} and set(table["n_responses"]) == {8}
    # copies count here, as in selection_metrics: 4 of each at 0.5; at 2.0 (3 + 2)/2 and (1 + 2)/2
    assert table["kept_per_problem"].to_list() == [4, 4, 2.5, 1.5]
    assert table["precision"].to_list() == pytest.approx([1, 1, 4 / 5, 1])
    # two problems are resampled as (first, first), (first, second), (second, second): from 2/3 to 1 at n* = 2
    if target == 2:
        row = table.row(2, named=True)
        assert (row["balance_score_low"], row["balance_score_high"]) == pytest.approx((2 / 3, 1))


def test_truth_may_be_what_the_verifier_accepts(bench):
    """At 2.0 and >= 0 the verifier accepts all three texts that the first problem keeps: n' = n = 3, so 1 and 1."""
    adapt = {"name": "balance", "temperatures": [0.5, 2.0], "thresholds": [0.6, 0.0], "problems": 2}
    lab = bench(adapt={**adapt, "truth": "verifier"})
    sample_responses(lab, 0)
    assert choices(lab)["balance_score"].to_list() == pytest.approx([1 / 2, 1 / 2, 3 / 4, 1])
    assert choice_of(lab, 0).rule == "logit ≥ 0" and choice_of(lab, 0).temperature == 2.0


def test_all_that_follows_uses_what_was_chosen_and_pays_nothing_twice(bench):
    lab = bench()
    numbers = sample_responses(lab, 0)
    # pilot: 2 temperatures x 2 problems x 4; then the third problem's 4 at 2.0, and 2 x 3 for evaluation at 1.0
    assert (numbers["pilot_drawn"], numbers["pilot_scored"]) == (16, 16)
    assert (numbers["drawn"], numbers["reused_samples"]) == (10, 8)
    assert (numbers["chosen_temperature"], numbers["chosen_rule"]) == (2.0, "logit ≥ 0")
    assert len(lab.scripted.seeds) == len(set(lab.scripted.seeds)) == 26
    assert {t: len([p for at, p in lab.scripted.drawn if at == t]) for t in (0.5, 1.0, 2.0)} == {0.5: 2, 1.0: 2, 2.0: 3}
    other = Lab.open(lab.experiment, home=lab.store.home, run_id="another process")
    other.scripted = lab.scripted
    assert source_of(other, 0, "train").temperature == 2.0 and source_of(other, 0, "eval").temperature == 1.0
    grade_responses(other, 0)
    generations = other.store.read("generations", other.plan.fingerprints["iteration_0/generations"])
    assert generations["split"].to_list() == ["eval"] * 6 + ["train"] * 12
    train = generations.filter(split="train")
    assert train["response"].to_list() == FIRST + SECOND + SECOND
    assert set(train["response_id"]) <= sample_pool(other, 0, "train").keys()
    assert verify_responses(other, 0)["scored"] == 18 - 8
    collect_scores(other, 0)
    assert training_filter(other, 0).threshold == 0.0
    select_finetune_data(other, 0)
    data = other.store.read("finetune_data", other.plan.fingerprints["iteration_0/finetune_data"])
    assert sorted(data["completion"]) == sorted(f" {text}" for text in [*FIRST[:3], *SECOND[:2] * 2])
    rebuild_catalog(other.store.home)
    sql = "SELECT iteration, temperature, threshold FROM sampling_choices WHERE chosen"
    assert query(other.store.home, sql).rows() == [(0, 2.0, 0.0)]


def test_a_run_that_is_repeated_reuses_the_choice(bench):
    lab = bench()
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    again = Lab.open(lab.experiment, home=lab.store.home, run_id="again")
    again.engine = None  # nothing may need a model
    numbers = sample_responses(again, 0)
    assert (numbers["drawn"], numbers["pilot_drawn"], numbers["pilot_scored"]) == (0, 0, 0) and numbers["reused"]
    assert numbers["chosen_temperature"] == 2.0


class Killed(Exception):
    pass


@pytest.mark.parametrize("moment", ["pilot sampling at 2", "pilot verifying", ": sampling"])
def test_a_kill_costs_nothing_that_was_committed(bench, monkeypatch, moment):
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 2)
    lab = bench()

    def kill(what, done, total, numbers):
        if moment in what and done >= 4:
            raise Killed

    lab.progress = kill
    with pytest.raises(Killed):
        sample_responses(lab, 0)
    if "pilot" in moment:
        with pytest.raises(StorageError):
            source_of(lab, 0, "train")
    drawn, judged = len(lab.scripted.seeds), len(lab.scripted.judged)
    lab.progress = lambda *_: None
    numbers = sample_responses(lab, 0)
    assert len(lab.scripted.seeds) == len(set(lab.scripted.seeds)) == 26
    if moment == "pilot verifying":
        assert numbers["pilot_drawn"] == 0 and drawn == 16
    if moment == ": sampling":
        assert (numbers["pilot_drawn"], numbers["pilot_scored"]) == (0, 0) and len(lab.scripted.judged) == judged
    assert choice_of(lab, 0).temperature == 2.0
    grade_responses(lab, 0)


def test_where_the_chosen_temperature_is_that_of_evaluation_both_are_drawn_together(bench):
    adapt = {"name": "balance", "temperatures": [1.0], "problems": 2}
    lab = bench(adapt=adapt)
    numbers = sample_responses(lab, 0)
    assert (numbers["pilot_drawn"], numbers["drawn"], numbers["reused_samples"]) == (8, 10, 8)
    assert choices(lab).height == 1 and choice_of(lab, 0).threshold == -1.0
    assert training_filter(lab, 0) == lab.experiment.filter
    grade_responses(lab, 0)


def test_gold_labels_need_no_verifier_and_leave_diversity_to_choose(bench):
    """Kept is what is right: 1 text of each problem at 0.5; 2 and 3 at 2.0, so min(2/3, 1) and 1 at n* = 3."""
    adapt = {"name": "balance", "temperatures": [0.5, 2.0], "problems": 2}
    lab = bench(adapt=adapt, filter={"name": "gold"}, monitoring={"balance_target": 3})
    numbers = sample_responses(lab, 0)
    assert numbers["pilot_scored"] == 0 and not lab.scripted.judged
    table = choices(lab)
    assert table["balance_score"].to_list() == pytest.approx([1 / 3, 5 / 6])
    assert table["threshold"].null_count() == 2 and math.isclose(choice_of(lab, 0).balance_score, 5 / 6)
