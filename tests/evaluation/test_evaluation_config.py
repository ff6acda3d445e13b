"""What an experiment with evaluation refuses, each with one clear sentence, and that its JSON reads back the same."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ops.config import Experiment
from ops.experiment_files import load_experiment
from ops.explain import explain
from ops.lab import experiments_folder
from tests.conftest import tiny_experiment
from tests.evaluation.evaluated import JUDGE, builtin, evaluated, fields, written

FOLDER = {"kind": "folder", "path": "/nowhere/llama"}
RECORDED = {"kind": "recorded", "label": "base"}
TUNED = {"name": "tuned", "of": "logit"}
SERVED = {"name": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
PAIRWISE = {"name": "pairwise"}
EXACT = {"name": "jsonl", "grader": "exact"}
OPEN = {"name": "open"}
FILE = {"eval": 8, "eval_file": "prompts.jsonl"}
NO_SAMPLING = {"n_eval": 1}
TWO = [{"label": "one"}, {"label": "two"}]


def of(**changes):
    return {"evaluation": changes}


RECORDED_FIELDS = {"model": RECORDED, "sampling": NO_SAMPLING}
BAD = {
    "a loop": ({"iterations": 1}, "iterations: 0 with evaluation, got 1"),
    "verifiers": ({"verifiers": [{"name": "logit"}]}, "verifiers: nothing with evaluation"),
    "a filter": ({"filter": {"name": "gold"}}, "filter: nothing with evaluation"),
    "training": ({"training": {"name": "sft", "epochs": 7}}, "training: nothing with evaluation"),
    "stopping rules": ({"stop": ["gap_closed"]}, "stop: nothing with evaluation"),
    "training responses": ({"sampling": {"n_train": 4}}, "sampling.n_train: nothing with evaluation"),
    "training problems": ({"problems": {"train_per_iteration": 4}}, "problems.train_per_iteration: nothing"),
    "a file of them": ({"problems": {"train_file": "t.jsonl"}}, "problems.train_file: nothing with evaluation"),
    "too many problems": ({"problems": {"eval": 10**6}}, "problems.eval: at most"),
    "greedy samples": ({"sampling": {"n_eval": 2, "temperature": 0.0}}, "sampling.temperature: above 0"),
    "replay": ({"engine": {"name": "replay", "path": "r.jsonl"}, "model": builtin(0)}, "engine.name: not replay"),
    "recorded without a file": ({"model": RECORDED}, "model.kind: recorded with evaluation.responses, and only then"),
    "a file without recorded": (of(responses="r.jsonl", models=TWO), "sampling: nothing with evaluation.responses"),
    "asked with a file": (
        {"sampling": NO_SAMPLING, **of(responses="r.jsonl", models=TWO)},
        "model.kind: recorded with evaluation.responses",
    ),
    "drawing with a file": (
        {"model": RECORDED, **of(responses="r.jsonl", models=TWO, judges=[])},
        "sampling: nothing with evaluation.responses",
    ),
    "a compared model with a file": (
        {**RECORDED_FIELDS, **of(responses="r.jsonl", judges=[])},
        "models[0].model: nothing with responses",
    ),
    "a judge that would ask a recorded model": (
        {**RECORDED_FIELDS, **of(responses="r.jsonl", models=TWO)},
        "evaluation.judges[0].model: the model to ask",
    ),
    "no model": (of(models=[]), "models: at least 1 model to compare"),
    "only a label": (of(models=[{"label": "one"}]), "models[0].model: the model to ask"),
    "neither": (of(models=[{}]), "label: the model's name"),
    "two of a label": (of(models=[{"model": builtin(i), "label": "one"} for i in (1, 2)]), "models[1].label: a label"),
    "the reference's label": (of(models=[{"model": builtin(1)}]), "evaluation.models[0].label: another one than the"),
    "the reference itself": (of(models=[{"model": builtin(0), "label": "x"}]), "models[0].model: each model once"),
    "a model twice": (
        of(models=[{"model": builtin(1), "label": "x"}, {"model": builtin(1), "label": "y"}], judges=[]),
        "evaluation.models[1].model: each model once, countdown/a is there already",
    ),
    "a built-in model of another task": (
        of(models=[{"model": {"kind": "builtin", "recipe": "arithmetic"}, "label": "x"}]),
        "task.name: arithmetic",
    ),
    "a judge of another task": (
        of(judges=[{**PAIRWISE, "model": {"kind": "builtin", "recipe": "arithmetic"}}]),
        "task.name: arithmetic",
    ),
    "two judges of a label": (
        of(judges=[PAIRWISE, PAIRWISE]),
        "judges[1].label: a label of its own, pairwise is taken",
    ),
    "pairs with accuracy": (of(estimand="accuracy", judges=[PAIRWISE]), "judges[0].name: a judge of accuracy"),
    "tuned before its judge": (of(judges=[TUNED, JUDGE]), "judges[0].of: the label of a judge listed before it"),
    "tuned of pairs": (of(judges=[PAIRWISE, {**TUNED, "of": "pairwise"}]), "judges[1].of: a judge with a scalar"),
    "tuned of tuned": (
        of(judges=[JUDGE, TUNED, {**TUNED, "of": "logit+tuned", "label": "again"}]),
        "judges[2].of: the label of a judge listed before it that is not fine-tuned itself",
    ),
    "tuned with one model": (
        of(models=[{"model": builtin(1), "label": "one"}], judges=[JUDGE, TUNED]),
        "judges[1].name: at least 2 judged models with tuned",
    ),
    "a verifier with a model": (
        of(judges=[{**JUDGE, "verifier": {"name": "logit", "model": builtin(1)}}]),
        "evaluation.judges[0].verifier: no model and no label of its own",
    ),
    "a verifier that reads logits": (
        {"engine": {"name": "vllm"}, **of(judges=[{**JUDGE, "verifier": {"name": "self_certainty"}}])},
        "evaluation.judges[0].verifier.name: no self_certainty with engine vllm",
    ),
    "several models of a server": ({"engine": SERVED}, "evaluation.models[0].model: the one model of the engine's"),
    "open-ended prompts and gold": (
        {"task": OPEN, "model": FOLDER, "problems": FILE, **of(models=[{"model": FOLDER | {"path": "/b"}}])},
        "evaluation.labels.source: file with task open",
    ),
    "strata of problems without categories": (
        of(strata="category"),
        "evaluation.strata: none with task countdown (problems of jsonl, math, open may have categories), got category",
    ),
    "more labels than pairs": (  # 8 problems x 3 responses
        of(labels={"source": "gold", "count": 25}),
        "evaluation.labels.count: at most 24, the pairs of each model (problems.eval times sampling.n_eval), got 25",
    ),
    "responses with given labels and gold": (
        {
            "task": {"name": "jsonl", "grader": "label"},
            "model": FOLDER,
            "problems": FILE,
            **of(models=[{"model": FOLDER | {"path": "/b"}}]),
        },
        "evaluation.labels.source: file with task jsonl",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    changes, said = BAD[name]
    with pytest.raises(ValidationError) as caught:
        evaluated(**changes)
    assert said in str(caught.value)
    assert "Value error, " not in explain(caught.value, Experiment)[1]


def test_open_ended_prompts_need_people():
    """Loops, gaps and exploration are held to the truth."""
    common = {"model": FOLDER, "task": OPEN, "problems": {**FILE, "train_file": "t.jsonl"}}
    training = {"name": "sft", "epochs": 1, "replay_fraction": 0.0}
    explores = fields(**common, exploration={"bonus": {"name": "none"}, "steps": 4, "learning_rate": 1e-4})
    del explores["evaluation"]
    makes = (
        lambda: tiny_experiment(**common, training=training),
        lambda: tiny_experiment(**common, training=training, iterations=0),
        lambda: Experiment.model_validate({**explores, "problems": {**common["problems"], "train_per_iteration": 40}}),
    )
    for make in makes:
        with pytest.raises(ValidationError, match=r"task\.name: not open without evaluation"):
            make()


def test_greedy_responses_are_fine_one_at_a_time():
    found = evaluated(sampling={"temperature": 0.0, "max_tokens": 16})
    assert (found.sampling.n_eval, found.sampling.temperature) == (1, 0.0)


def test_accuracy_needs_no_other_model():
    judges = [{"name": "bradley_terry", "verifier": {"name": "logit"}}]
    found = evaluated(evaluation={"estimand": "accuracy", "models": [], "judges": judges})
    assert found.evaluation.models == () and found.iterations == 0 and found.verifiers == ()


@pytest.mark.parametrize("judges", [[JUDGE], [JUDGE, PAIRWISE, TUNED], []])
def test_json_reads_back_the_same(judges, tmp_path):
    for experiment in (evaluated(evaluation={"judges": judges}), written(tmp_path, 3, ["base", "new"])):
        assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment
        assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_the_shipped_experiment_shares_its_reference_with_the_demo():
    from ops.plan import make_plan

    found, demo, bonus = (
        load_experiment(experiments_folder() / f"{name}.yaml") for name in ("win-rates", "demo", "outcome-bonus")
    )
    plan, of_demo = make_plan(found), make_plan(demo)
    assert found.model == demo.model == bonus.model
    assert plan.evaluation.sample_pools["countdown/s"] == of_demo.sample_pools[0]
    assert plan.evaluation.judgement_pools["logit"] == of_demo.verification_pools[0]["logit"]
    assert [judge.called for judge in found.evaluation.judges] == ["logit", "pairwise", "logit+tuned"]
    assert found.evaluation.labels.count < found.problems.eval * found.sampling.n_eval
