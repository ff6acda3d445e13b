"""The code of the how-to guides, put where they say and run as they say."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from ops.arms_files import load_arms
from ops.experiment_files import load_experiment
from ops.exploration.group import Group
from ops.exploration_files import load_exploration
from ops.plan import make_plan
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.tasks import TASKS
from ops.variants import union
from tests.conftest import tiny_experiment
from tests.docs.reader import PROJECT, add_to_dict, blocks, furnish, named_blocks, new_reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Somebody who has done the tutorial's first step."""
    reader = new_reader(tmp_path_factory.mktemp("how-to"))
    reader.run('git clone -q "$REPOSITORY" mindgap')
    furnish(reader.clone)
    return reader


def follow(reader, page):
    for path, code in named_blocks(page, "Save as").items():
        (reader.clone / path).write_text(code, encoding="utf-8")
    for path, code in named_blocks(page, "Add to").items():
        add_to_dict(reader.clone / path, code)
    return reader.follow(page)


@pytest.mark.slow
def test_a_task_of_ones_own(reader):
    assert "roman: done" in follow(reader, "how-to/own-task.md")
    found = query(
        reader.clone / ".mindgap", "FROM generations WHERE experiment = 'roman' ORDER BY problem_id, sample_index"
    )
    assert list(zip(found["problem_id"], found["verdict"], found["strict_verdict"], strict=True)) == [
        ("1987", "correct", "correct"),
        ("1987", "incorrect", "incorrect"),
        ("49", "correct", "unparseable"),  # "It is XLIX." is right, but not the numeral alone
        ("49", "incorrect", "unparseable"),  # the last numeral counts: IL, not I
        ("8", "unparseable", "unparseable"),
        ("8", "correct", "correct"),
    ]
    generated = reader.run(
        '.venv/bin/python -c "'
        "from ops.tasks import TASKS; task = TASKS['roman']();"
        "train, held = (task.generate(split, 500, 3) for split in ('train', 'eval'));"
        "print(len({p.problem_id for p in train + held}), train[:5] == task.generate('train', 5, 3))\"",
        cwd=reader.clone,
    )
    assert generated.split() == ["1000", "True"]


@pytest.mark.slow
def test_a_verifier_of_ones_own(reader):
    assert "short: done" in follow(reader, "how-to/own-verifier.md")
    of_brevity = "WHERE experiment = 'short' AND verifier = 'brevity'"
    sql = f"FROM verification_scores {of_brevity} ORDER BY problem_id, sample_index"
    found = query(reader.clone / ".mindgap", sql)
    # Lengths: a 2, 32, 15; b 24, 2, 14. The share that is at least as long: 3/3, 1/3, 2/3 and 1/3, 3/3, 2/3.
    assert found["score"].to_list() == pytest.approx([1, 1 / 3, 2 / 3, 1 / 3, 1, 2 / 3])
    [row] = query(
        reader.clone / ".mindgap", "FROM gap_metrics WHERE experiment = 'short' AND verifier = 'brevity'"
    ).rows(named=True)
    # Kept from 0.5 on: a both right ones of 2/3 right, b neither right one of 1/3 right: (1 - 2/3 + 0 - 1/3) / 2 = 0.
    assert row["gap"] == pytest.approx(0.0)


def test_the_arms_on_their_page_are_a_study(tmp_path):
    [study] = blocks("how-to/arms-and-seeds.md", "yaml")
    (tmp_path / "my-arms.yaml").write_text(study)
    loaded = load_arms(tmp_path / "my-arms.yaml")
    assert len(loaded.members) == 3 * 3
    assert {(member.arm, member.experiment.filter.name) for member in loaded.members} == {
        ("self", "threshold"),
        ("gold", "gold"),
        ("unfiltered", "none"),
    }


def test_the_rules_on_their_page_are_fields_of_an_experiment():
    [fields] = blocks("how-to/watch-and-stop.md", "yaml")
    experiment = tiny_experiment(**yaml.safe_load(fields))
    assert len(experiment.stop) == 3 and experiment.limits.pass_at_k_fall == 0.05


def test_the_jsonl_task_on_its_page_is_one():
    [fields] = blocks("how-to/own-task.md", "yaml")
    task = TypeAdapter(union(TASKS)).validate_python(yaml.safe_load(fields)["task"])
    assert (task.name, task.grader) == ("jsonl", "exact")


def test_the_files_of_exploration_are_valid_and_agree(tmp_path):
    """An experiment, a study of which one arm is that experiment, and a checkpoint's."""
    alone, study, checkpoint = blocks("how-to/train-with-a-bonus.md", "yaml")
    (tmp_path / "my-policy.yaml").write_text(alone)
    (tmp_path / "my-bonus.yaml").write_text(study)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "my-checkpoint.yaml").write_text(checkpoint.replace("/models/my-1.5b", "."))
    own = load_experiment(tmp_path / "my-policy.yaml")
    members = {
        member.experiment.name: member.experiment for member in load_exploration(tmp_path / "my-bonus.yaml").members
    }
    assert len(members) == 2 * 3
    assert make_plan(own).policies == make_plan(members["my-bonus-countdown-batch-s0"]).policies
    assert load_experiment(tmp_path / "my-checkpoint.yaml").exploration.bonus.name == "ucb_con"


def test_the_bonus_on_its_page(tmp_path):
    [(path, code)] = named_blocks("how-to/train-with-a-bonus.md", "Save as").items()
    (tmp_path / "novel.py").write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("novel_of_the_page", tmp_path / "novel.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    table = tmp_path / "__init__.py"
    table.write_text((PROJECT / "ops/exploration/bonuses/__init__.py").read_text(encoding="utf-8"))
    [line] = named_blocks("how-to/train-with-a-bonus.md", "Add to").values()
    add_to_dict(table, line)
    compile(table.read_text(encoding="utf-8"), str(table), "exec")
    [test] = [block for block in blocks("how-to/train-with-a-bonus.md", "python") if "def test_novel" in block]
    names = {"Novel": module.Novel, "Group": Group, "np": np}
    exec(test, names)
    names["test_novel"]()
    assert path == "ops/exploration/bonuses/novel.py" and '"novel": Novel,' in table.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["how-to/gpu-box.md", "how-to/watch-and-stop.md", "how-to/train-with-a-bonus.md"])
def test_the_questions_on_the_pages_can_be_asked(page, tmp_path):
    """On a home without results: every table and column exists."""
    rebuild_catalog(tmp_path)
    for question in blocks(page, "sql"):
        assert query(tmp_path, question).height == 0
