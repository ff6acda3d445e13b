"""Recorded responses through every stage: graded, scored and measured as if they had been sampled here."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from ops.errors import DatasetError, ExperimentError
from ops.experiment_files import load_experiment, load_experiments
from ops.lab import Lab
from ops.plan import make_plan
from ops.recorded import split_of
from ops.stages.generations import sample_responses
from ops.stages.problems import check_problem_files
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from tests.replay.rows import write_jsonl, write_parquet
from tests.stages.test_stages import read, run_all

DOC = Path(__file__).resolve().parents[2] / "docs" / "replay.md"
EXPERIMENT = {
    "name": "recorded",
    "hypothesis": "The recorded reward separates right from wrong.",
    "task": {"name": "jsonl", "grader": "numeric"},
    "engine": {"name": "replay", "path": "rows.jsonl"},
    "verifiers": [{"name": "majority"}],
    "iterations": 0,
    "statistics": {"resamples": 200},
}
GROUPS = {  # problem: (answer, [(response, given label, reward)])
    "p1": ("18", [("#### 18", True, 0.9), ("#### 17", True, 0.8), ("no idea", False, 0.1)]),
    "p2": ("24", [("#### 24", True, 0.7), ("so #### 23", False, 0.6)]),
    "p3": ("5", [("The answer is 5.", False, None)]),
}
ROWS = [
    {"problem_id": identity, "problem": f"{identity}?", "answer": answer, "response": response}
    | {"label": label, "scores": {"reward": reward}}
    for identity, (answer, group) in GROUPS.items()
    for response, label, reward in group
]


def write_experiment(folder: Path, **changes) -> Path:
    path = folder / "recorded.yaml"
    path.write_text(yaml.safe_dump({**EXPERIMENT, **changes}))
    return path


def replay(folder: Path, **changes) -> Lab:
    """The lab of the experiment after all its stages."""
    lab = Lab.open(load_experiment(write_experiment(folder, **changes)), home=folder / "home", run_id="test")
    run_all(lab)
    lab.close()
    return lab


@pytest.fixture
def recording(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return tmp_path


def test_responses_are_graded_and_never_sampled(recording):
    lab = replay(recording)
    frame = read(lab, "generations", 0)
    assert frame["response"].to_list() == [row["response"] for row in ROWS]
    assert frame["verdict"].to_list() == ["correct", "incorrect", "unparseable", "correct", "incorrect", "correct"]
    assert frame["strict_verdict"].to_list()[-2:] == ["unparseable", "unparseable"]
    assert frame["label"].to_list() == ["correct", "correct", "incorrect", "correct", "incorrect", "incorrect"]
    assert frame["sample_index"].to_list() == [0, 1, 2, 0, 1, 0]
    assert frame["split"].unique().to_list() == ["eval"]
    assert frame["response_id"].n_unique() == 6
    assert set(frame["engine"]) == {"replay"}
    assert frame["prompt"].null_count() == frame["seed"].null_count() == frame["n_tokens"].null_count() == 6
    assert sample_responses(lab, 0)["drawn"] == 0
    assert not (lab.store.home / "pools" / "samples").exists()
    model = read(lab, "base_model").row(0, named=True)
    assert (model["role"], model["model"], model["n_parameters"]) == ("base", "rows", None)


def test_scores_become_verifiers_beside_those_listed(recording):
    """Majority: the share of a problem's parseable answers that agree. reward has no threshold: it rejects nothing."""
    lab = replay(recording)
    assert [(item.name, item.called) for item in lab.experiment.verifiers] == [
        ("majority", "majority"),
        ("recorded", "reward"),
    ]
    scores = read(lab, "verification_scores", 0)
    by = {str(name[0]): part for name, part in scores.partition_by("verifier", as_dict=True).items()}
    assert by["reward"]["score"].to_list() == [0.9, 0.8, 0.1, 0.7, 0.6, None]
    assert by["reward"]["verdict"].to_list() == ["correct"] * 5 + ["unparseable"]
    assert by["majority"]["score"].to_list() == [0.5, 0.5, None, 0.5, 0.5, 1.0]
    assert by["majority"]["verdict"].to_list() == ["correct"] * 2 + ["unparseable"] + ["correct"] * 3
    assert scores["verifier_model"].null_count() == scores.height == 12


def test_the_gap_of_ragged_groups(recording):
    """J = (1/3 + 1/2 + 1) / 3 = 11/18. reward keeps each problem's best fifth, the lower order statistic at .8:
    of .9 .8 .1 the place floor(.8 * 2) = 1, so .9 and .8, of which half are right; of .7 .6 the place 0, so both; of p3
    nothing, so J stays. Gap = (1/2 - 1/3) / 3 = 1/18; relative gap over p1, p2 = (1/6) / (2/3) / 2 = 1/8."""
    row = read(replay(recording), "gap_metrics", 0).filter(pl.col("verifier") == "reward").row(0, named=True)
    assert (row["filter"], row["generator"], row["mechanism"], row["verifier_model"]) == (
        "quantile",
        "rows",
        "recorded",
        None,
    )
    assert row["accuracy"] == pytest.approx(11 / 18)
    assert row["gap"] == pytest.approx(1 / 18)
    assert row["relative_gap"] == pytest.approx(1 / 8)
    assert row["kept_fraction"] == pytest.approx(4 / 6)
    assert (row["n_problems"], row["n_responses"]) == (3, 6)
    assert (row["n_problems_kept_empty"], row["n_problems_solved"]) == (1, 1)
    assert row["unparseable_fraction"] == pytest.approx(1 / 6)


def test_where_given_labels_and_our_grader_disagree(recording):
    lab = Lab.open(load_experiment(write_experiment(recording)), home=recording / "home", run_id="test")
    results = run_all(lab)
    metadata = results["iteration_0/generations"].metadata
    assert (metadata["labelled_responses"], metadata["label_disagreements"]) == (6, 2)
    rebuild_catalog(lab.store.home)
    sql = re.findall(r"```sql\n(.*?)```", DOC.read_text(encoding="utf-8"), re.S)[0]
    found = query(lab.store.home, sql.strip().removesuffix(";"))
    assert found.select("problem_id", "sample_index", "given", "ours").rows() == [
        ("p1", 1, "correct", "incorrect"),
        ("p3", 0, "incorrect", "correct"),
    ]


def test_labels_as_the_truth_read_nothing_out_of_responses(recording):
    frame = read(replay(recording, task={"name": "jsonl", "grader": "label"}), "generations", 0)
    assert frame["verdict"].to_list() == frame["label"].to_list() == frame["strict_verdict"].to_list()
    assert frame["verdict"].to_list()[:2] == ["correct", "correct"]
    assert frame["answer"].null_count() == 6
    assert set(frame["reason"]) == {""}


def test_no_label_is_null_and_no_disagreement(tmp_path):
    write_jsonl(
        tmp_path / "rows.jsonl", [{k: v for k, v in row.items() if k not in ("label", "scores")} for row in ROWS]
    )
    lab = Lab.open(load_experiment(write_experiment(tmp_path)), home=tmp_path / "home")
    metadata = run_all(lab)["iteration_0/generations"].metadata
    assert "label_disagreements" not in metadata
    frame = read(lab, "generations", 0)
    assert frame["label"].null_count() == frame["recorded_scores"].null_count() == 6


def test_train_fraction_sets_problems_aside(tmp_path):
    """The best threshold is chosen on the problems set aside, and its value is measured on the others."""
    rows = [
        {"problem_id": f"p{i}", "problem": f"{i}?", "answer": "1", "response": f"#### {j}"}
        | {"scores": {"a": float(j == 1)}}
        for i in range(8, 20)
        for j in range(3)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    lab = replay(tmp_path, engine={"name": "replay", "path": "rows.jsonl", "train_fraction": 0.5})
    problems = read(lab, "problems")
    expected = {f"p{i}": split_of(f"p{i}", 0.5) for i in range(8, 20)}
    assert set(expected.values()) == {"train", "eval"}
    assert dict(problems.select("problem_id", "split").rows()) == expected
    assert dict(read(lab, "generations", 0).select("problem_id", "split").unique().rows()) == expected
    sweeps = read(lab, "threshold_sweeps", 0).filter((pl.col("verifier") == "a") & (pl.col("filter") == "threshold"))
    assert sweeps.select("split", "value", "gap", "best_on_train").sort("split", "value").rows() == [
        ("eval", 0.0, 0.0, False),
        ("eval", 1.0, pytest.approx(2 / 3), True),  # one of three is right, and it alone is kept
        ("train", 0.0, 0.0, False),
        ("train", 1.0, pytest.approx(2 / 3), True),
    ]


def test_without_problems_set_aside_no_threshold_is_best(recording):
    assert read(replay(recording), "threshold_sweeps", 0)["best_on_train"].null_count() > 0
    assert not read(replay(recording), "threshold_sweeps", 0)["best_on_train"].any()


def test_the_same_bytes_have_the_same_fingerprints_wherever_they_lie(recording):
    first = make_plan(load_experiment(write_experiment(recording)))
    elsewhere = recording / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows.jsonl").write_bytes((recording / "rows.jsonl").read_bytes())
    assert make_plan(load_experiment(write_experiment(elsewhere))).fingerprints == first.fingerprints
    content = (elsewhere / "rows.jsonl").read_text()
    (elsewhere / "rows.jsonl").write_text(content.replace("no idea", "No idea"))
    changed = make_plan(load_experiment(write_experiment(elsewhere))).fingerprints
    assert not {name for name, value in changed.items() if first.fingerprints[name] == value}


def test_a_second_run_reuses_everything(recording):
    first = replay(recording)
    again = Lab.open(first.experiment, home=first.store.home, run_id="again")
    assert all(result.reused for result in run_all(again).values())


def test_parquet_gives_the_same_tables(recording):
    write_parquet(recording / "rows.parquet", ROWS)
    first = replay(recording)
    second = replay(recording, engine={"name": "replay", "path": "rows.parquet"})
    for table in ("gap_metrics", "verifier_metrics", "threshold_sweeps", "verifier_pairs", "test_time_metrics"):
        assert read(first, table, 0).equals(read(second, table, 0)), table
    identities = ("response_id", "engine_version")  # made of the file's own bytes
    frames = [read(lab, "generations", 0).drop(*identities) for lab in (first, second)]
    assert frames[0].drop("model_fingerprint").equals(frames[1].drop("model_fingerprint"))


COUNTDOWN = [
    {
        "problem_id": f"c{i}",
        "data": {"numbers": [10, 8, 6], "target": 12 + 12 * i},
        "response": response,
        "scores": {"reward": reward},
    }
    for i in range(2)
    for response, reward in (("10 + 8 = 18 ; 18 - 6 = 12", 0.9), ("10 + 8 = 18 ; 18 + 6 = 24", 0.4), ("10 8", None))
]
BUILTIN = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16}


def test_a_built_in_model_verifies_what_another_wrote(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", COUNTDOWN)
    asked = [
        {"name": "logit", "model": BUILTIN},
        {"name": "binary_cot", "max_tokens": 16, "model": BUILTIN, "repeats": 2},
    ]
    lab = replay(tmp_path, task={"name": "countdown"}, verifiers=[*asked, {"name": "majority"}])
    names = [item.called for item in lab.experiment.verifiers]
    assert names == ["logit@countdown/a", "binary_cot@countdown/a", "majority", "reward"]
    frame = read(lab, "generations", 0)
    assert frame["verdict"].to_list() == ["correct", "incorrect", "unparseable", "incorrect", "correct", "unparseable"]
    assert not (lab.store.home / "pools" / "samples").exists()
    scores = read(lab, "verification_scores", 0)
    assert scores.height == 4 * 6
    logit = scores.filter(pl.col("verifier") == "logit@countdown/a")
    assert logit["score"].is_between(-1.0, 1.0).all()
    assert set(logit["verifier_model"]) == {lab.plan.verifier_models["logit@countdown/a"]}
    models = read(lab, "base_model").select("role", "model", "generates_iteration").rows()
    assert models == [("base", "rows", 0), ("verifier", "countdown/a", None)]
    rows = read(lab, "verifier_metrics", 0).rows_by_key("verifier", named=True, unique=True)
    assert rows["logit@countdown/a"]["verifier_model"] == "countdown/a"
    assert rows["logit@countdown/a"]["seconds_per_1000_responses"] > 0
    assert rows["reward"]["seconds_per_1000_responses"] is None


def test_a_built_in_verifier_is_not_asked_about_problems_it_was_taught(tmp_path):
    taught = [row | {"data": {"numbers": [10, 8, 6], "target": 20 + 12 * i}} for i, row in enumerate(COUNTDOWN[::3])]
    write_jsonl(tmp_path / "rows.jsonl", taught)  # 20 and 32 are targets of the task's training split
    with pytest.raises(DatasetError, match=r"2 problems to evaluate are trained on as well, e\.g\. countdown-6"):
        replay(tmp_path, task={"name": "countdown"}, verifiers=[{"name": "logit", "model": BUILTIN}])


def test_the_model_that_is_named_verifies_itself(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", COUNTDOWN)
    lab = replay(tmp_path, task={"name": "countdown"}, model=BUILTIN, verifiers=[{"name": "logit"}])
    assert read(lab, "verification_scores", 0).filter(pl.col("verifier") == "logit")["score"].null_count() == 0
    assert read(lab, "gap_metrics", 0)["generator"].unique().to_list() == ["countdown/a"]


REFUSED = {
    "first row": ({}, ["{"], "rows.jsonl:1: not valid JSON"),
    "score that names no verifier": (
        {},
        [ROWS[0] | {"scores": {"my reward": 1}}],
        "rows.jsonl:1: scores: a score cannot",
    ),
    "score called like a verifier": (
        {},
        [ROWS[0] | {"scores": {"majority": 1}}],
        "verifiers: the score majority of .* has the name of a listed verifier",
    ),
    "column that is not there": (
        {"verifiers": [{"name": "recorded", "column": "rewrd"}]},
        ROWS,
        r"verifiers\[0\].column: expected a score of .*rows.jsonl \(reward\), got rewrd",
    ),
    "nothing to verify with": (
        {"verifiers": []},
        [{k: v for k, v in row.items() if k != "scores"} for row in ROWS],
        "verifiers: expected at least one verifier; the file has no scores of its own",
    ),
    "verifier without a model": (
        {"verifiers": [{"name": "logit"}]},
        ROWS,
        r"verifiers\[0\].model: expected the model to",
    ),
    "no file": (
        {"engine": {"name": "replay", "path": "no.jsonl"}},
        ROWS,
        "engine.path: expected a JSONL or Parquet file",
    ),
    "training": (
        {"iterations": 1, "filter": {"name": "none"}, "training": {"name": "sft", "epochs": 1}},
        ROWS,
        "iterations: expected 0 with engine replay",
    ),
    "problems": ({"problems": {"eval": 7}}, ROWS, "problems: expected nothing with engine replay"),
}


@pytest.mark.parametrize(("changes", "rows", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_an_experiment_file_that_cannot_be_replayed(tmp_path, changes, rows, problem):
    """One error of that file; the others of the folder stay usable."""
    write_jsonl(tmp_path / "rows.jsonl", rows)
    path = write_experiment(tmp_path, **changes)
    with pytest.raises(ExperimentError, match=problem) as caught:
        load_experiment(path)
    assert caught.value.remedy
    write_jsonl(tmp_path / "good.jsonl", ROWS)
    (tmp_path / "good.yaml").write_text(
        yaml.safe_dump(EXPERIMENT | {"name": "good", "engine": {"name": "replay", "path": "good.jsonl"}})
    )
    good, bad = load_experiments(tmp_path)
    assert (set(good), set(bad)) == ({"good"}, {"recorded"})


def test_a_listed_column_under_another_name_is_not_added_again(recording):
    listed = [{"name": "recorded", "column": "reward", "label": "helpful", "threshold": 0.65}, {"name": "majority"}]
    filters = [{"name": "threshold", "verifier": "helpful", "threshold": 0.65}]
    lab = replay(recording, verifiers=listed, gap_filters=filters)
    assert [item.called for item in lab.experiment.verifiers] == ["helpful", "majority"]
    scores = read(lab, "verification_scores", 0).filter(pl.col("verifier") == "helpful")
    assert scores["verdict"].to_list() == ["correct", "correct", "incorrect", "correct", "incorrect", "unparseable"]


def test_a_bad_row_further_down_is_found_before_anything_is_imported(recording):
    write_jsonl(recording / "rows.jsonl", [*ROWS, ROWS[0] | {"answer": None}])
    experiment = load_experiment(write_experiment(recording))  # only the first row is read here
    with pytest.raises(DatasetError, match=r"rows.jsonl:7: answer: required, but missing"):
        check_problem_files(experiment)
    lab = Lab.open(experiment, home=recording / "home")
    with pytest.raises(DatasetError, match=r"rows.jsonl:7: answer"):
        run_all(lab)
    assert not (lab.store.home / "tables").exists()
