"""Which fingerprints of an experiment with evaluation change when what changes."""

from __future__ import annotations

import json

import pytest

from ops.plan import make_plan
from tests.evaluation.evaluated import JUDGE, builtin, evaluated, write_rows, written

PAIRWISE = {"name": "pairwise"}
TUNED = {"name": "tuned", "of": "logit"}
FOUND = {"win_rates", "report"}  # what hangs on everything else


def prints(experiment):
    """By name, without the folder."""
    return {name.removeprefix("evaluation/"): value for name, value in make_plan(experiment).fingerprints.items()}


def differing(before, after):
    before, after = prints(before), prints(after)
    assert set(before) == set(after)
    return {name for name in before if before[name] != after[name]}


def changed(judges=(JUDGE,), evaluation=None, **changes):
    """Names of what changes with these fields."""
    base = {"judges": list(judges)}
    return differing(evaluated(evaluation=base), evaluated(evaluation={**base, **(evaluation or {})}, **changes))


def labelled(path, **changes):
    return evaluated(evaluation={"labels": {"source": "file", "path": str(path)}, **changes})


LABELS = [{"pair_id": "a", "label": 1.0, "annotator": "me"}]


def test_the_assets_of_an_evaluation():
    assert set(prints(evaluated())) == {
        "problems",
        "base_model",
        "pairs",
        "human_labels",
        "synthetic_judgements",
        "tuned_judgements",
        "win_rates",
        "report",
    }


def test_labels_change_labels_and_estimates_only(tmp_path):
    path = tmp_path / "labels.jsonl"
    before = prints(labelled(path))
    write_rows(path, LABELS)
    after = prints(labelled(path))
    assert {name for name in before if before[name] != after[name]} == {"human_labels", *FOUND}
    write_rows(tmp_path / "elsewhere.jsonl", LABELS)
    assert prints(labelled(tmp_path / "elsewhere.jsonl")) == after  # a file is its content


def test_tuned_judges_hang_on_the_labels(tmp_path):
    path = tmp_path / "labels.jsonl"
    judges = [JUDGE, TUNED]
    before, old = prints(labelled(path, judges=judges)), make_plan(labelled(path, judges=judges)).evaluation
    write_rows(path, LABELS)
    after, new = prints(labelled(path, judges=judges)), make_plan(labelled(path, judges=judges)).evaluation
    assert {name for name in before if before[name] != after[name]} == {"human_labels", "tuned_judgements", *FOUND}
    assert set(new.tuned) == {"logit+tuned"} and set(new.tuned["logit+tuned"]) == {"one", "two"}
    assert old.tuned == new.tuned and len(set(new.tuned["logit+tuned"].values())) == 2  # labels name the copies later


def test_what_was_drawn_changes_labels_but_no_tuned_judges(tmp_path):
    """Ties among the drawn pairs are labels, too, and nothing to learn from."""
    path = write_rows(tmp_path / "labels.jsonl", LABELS)
    experiment = labelled(path, judges=[JUDGE, TUNED])
    before = prints(experiment)
    write_rows(tmp_path / "labels.requests.jsonl", [{"pair_id": "b", "asked": False}])
    after = prints(experiment)
    assert {name for name in before if before[name] != after[name]} == {"human_labels", *FOUND}


def test_models_that_change_places_are_another_table_of_models():
    def experiment(reference, other):
        sized = [{**builtin(0), "size": size} for size in (reference, other)]
        return evaluated(model=sized[0], evaluation={"models": [{"model": sized[1]}], "judges": []})

    assert "base_model" in differing(experiment("a", "xxs"), experiment("xxs", "a"))


def test_gold_labels_are_those_of_their_count_and_seed():
    for labels in ({"source": "gold", "count": 7}, {"source": "gold", "count": 6, "seed": 1}):
        assert changed(evaluation={"labels": labels}) == {"human_labels", *FOUND}


def test_another_judge_leaves_pairs_and_labels():
    assert changed(evaluation={"judges": [JUDGE, PAIRWISE]}) == {"base_model", "synthetic_judgements", *FOUND}


def test_settings_of_a_judge():
    longer = [JUDGE, {**PAIRWISE, "max_tokens": 64}]
    assert changed([JUDGE, PAIRWISE], {"judges": longer}) == {"synthetic_judgements", *FOUND}
    scaled = [{**JUDGE, "scale": 2.0}]
    assert changed(evaluation={"judges": scaled}) == {"synthetic_judgements", *FOUND}
    plans = [make_plan(evaluated(evaluation={"judges": judges})).evaluation for judges in ([JUDGE], scaled)]
    assert plans[0].judgement_pools == plans[1].judgement_pools  # rewards stay, only their scale changes


def test_a_renamed_judge_keeps_what_it_said():
    renamed = [{**JUDGE, "label": "confidence"}]
    assert changed(evaluation={"judges": renamed}) == {"base_model", "synthetic_judgements", *FOUND}
    pools = [
        list(make_plan(evaluated(evaluation={"judges": judges})).evaluation.judgement_pools.values())
        for judges in ([JUDGE], renamed)
    ]
    assert pools[0] == pools[1]


def test_settings_of_tuning_leave_the_prompted_judges():
    longer = [JUDGE, {**TUNED, "epochs": 2}]
    assert changed([JUDGE, TUNED], {"judges": longer}) == {"tuned_judgements", *FOUND}


def test_more_responses_are_more_pairs_from_the_same_pools():
    names = changed(sampling={"n_eval": 4, "max_tokens": 16})
    assert names == {"pairs", "human_labels", "synthetic_judgements", "tuned_judgements", *FOUND}
    plans = [make_plan(evaluated(sampling={"n_eval": n, "max_tokens": 16})).evaluation for n in (3, 4)]
    assert plans[0].sample_pools == plans[1].sample_pools
    assert plans[0].judgement_pools == plans[1].judgement_pools


def test_other_sampling_is_another_pool():
    plans = [make_plan(evaluated(sampling={"n_eval": 3, "max_tokens": n})).evaluation for n in (16, 20)]
    assert not set(plans[0].sample_pools.values()) & set(plans[1].sample_pools.values())


def test_another_model_keeps_the_pools_of_the_others():
    models = [{"model": builtin(1), "label": "one"}, {"model": builtin(3), "label": "two"}]
    plans = [make_plan(evaluated()).evaluation, make_plan(evaluated(evaluation={"models": models})).evaluation]
    same = {name for name in plans[0].sample_pools if plans[0].sample_pools[name] == plans[1].sample_pools[name]}
    assert same == {"countdown/a", "one"}
    assert changed(evaluation={"models": models}) == {
        "base_model",
        "pairs",
        "human_labels",
        "synthetic_judgements",
        "tuned_judgements",
        *FOUND,
    }


@pytest.mark.parametrize("field", [{"folds": 4}, {"missing_judgements": "mean"}, {"strata": "category"}])
def test_how_it_is_estimated_changes_the_estimates_only(tmp_path, field):
    before = written(tmp_path, 4, ["base", "new"])
    assert differing(before, written(tmp_path, 4, ["base", "new"], evaluation=field)) == FOUND
    assert changed(statistics={"resamples": 300}) == FOUND


def test_the_name_and_engine_settings():
    assert changed(name="other") == {"report"}
    assert changed(engine={"name": "transformers", "batch_size": 7, "threads": 1}) == set()


def test_a_row_of_recorded_responses_changes_the_pairs(tmp_path):
    experiment = written(tmp_path, 3, ["base", "new"])
    before = prints(experiment)
    rows = [json.loads(line) for line in (tmp_path / "responses.jsonl").read_text().splitlines()]
    write_rows(tmp_path / "responses.jsonl", [{**rows[0], "response": "Another."}, *rows[1:]])
    after = prints(experiment)
    assert {name for name in before if before[name] == after[name]} == {"problems"}


def test_recorded_judgements_are_a_file(tmp_path):
    rows = [{"problem_id": f"p{i}", "model": "new", "score": 0.5} for i in range(3)]
    judge = {"name": "recorded", "path": str(write_rows(tmp_path / "scores.jsonl", rows))}
    experiment = written(tmp_path, 3, ["base", "new"], evaluation={"judges": [judge]})
    before = prints(experiment)
    write_rows(tmp_path / "scores.jsonl", [{**row, "score": 0.25} for row in rows])
    after = prints(experiment)
    assert {name for name in before if before[name] != after[name]} == {"synthetic_judgements", *FOUND}


def test_an_experiment_without_evaluation_has_none_of_it():
    from tests.conftest import tiny_experiment

    plan = make_plan(tiny_experiment())
    assert plan.evaluation is None and not any(name.startswith("evaluation/") for name in plan.fingerprints)
