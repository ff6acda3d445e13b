"""The code of the how-to guides, put where they say and run as they say."""

from __future__ import annotations

import pytest
import yaml
from pydantic import TypeAdapter

from ops.arms_files import load_arms
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.tasks import TASKS
from ops.variants import union
from tests.conftest import tiny_experiment
from tests.docs.reader import add_to_dict, blocks, furnish, named_blocks, new_reader


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


@pytest.mark.parametrize("page", ["how-to/gpu-box.md", "how-to/watch-and-stop.md"])
def test_the_questions_on_the_pages_can_be_asked(page, tmp_path):
    """On a home without results: every table and column exists."""
    rebuild_catalog(tmp_path)
    for question in blocks(page, "sql"):
        assert query(tmp_path, question).height == 0
