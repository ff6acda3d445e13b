"""Training a policy on a tiny model: what it draws, what it leaves behind, and what it refuses."""

from __future__ import annotations

import itertools
import json
import shutil

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import ModelError, StorageError
from ops.exploration.rollout_files import keep_until, read_steps, write_steps
from ops.exploration.schedule import mini_batches_of, problems_of_step, rollout_seeds
from ops.lab import Lab
from ops.stages.evaluation import draw_evaluation
from ops.stages.policy import commit_rollouts, register_policy, train_policy
from ops.stages.problems import make_problems
from ops.storage.schemas import polars_schema
from tests.exploration.tiny import tiny_exploration, with_base_model


@given(n=st.integers(1, 40), per=st.integers(1, 40), seed=st.integers(0, 5))
def test_epochs_of_problems(n, per, seed):
    if per > n:
        with pytest.raises(ValueError, match="a step asks"):
            problems_of_step(0, per, n, seed)
        return
    steps = n // per
    for epoch in range(2):
        asked = [problems_of_step(epoch * steps + i, per, n, seed) for i in range(steps)]
        assert all(len(one) == per for one in asked)
        flat = list(itertools.chain(*asked))
        assert len(set(flat)) == len(flat) and set(flat) <= set(range(n))


@given(n=st.integers(1, 50), parts=st.integers(1, 50), step=st.integers(0, 3))
def test_mini_batches_share_out_every_response(n, parts, step):
    if parts > n:
        return
    found = mini_batches_of(n, parts, 0, step, 0)
    assert sorted(itertools.chain(*found)) == list(range(n)) and len(found) == parts
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_seeds_are_of_the_step_and_the_problem():
    seeds = {rollout_seeds(s, t, p, 2) for s in (0, 1) for t in (0, 1) for p in ("a", "b")}
    assert len({seed for group in seeds for seed in group}) == 16
    assert rollout_seeds(0, 1, "a", 3)[:2] == rollout_seeds(0, 1, "a", 2)


def rows_of(*steps: int) -> pl.DataFrame:
    schema = polars_schema("rollouts")
    return pl.DataFrame([{name: step if name == "step" else None for name in schema} for step in steps], schema=schema)


def test_responses_behind_the_checkpoint_are_dropped(tmp_path):
    write_steps(tmp_path, 0, 2, [rows_of(0), rows_of(1)])
    write_steps(tmp_path, 2, 3, [rows_of(2)])
    keep_until(tmp_path, 2)
    assert pl.concat(read_steps(tmp_path, 2))["step"].to_list() == [0, 1]
    write_steps(tmp_path, 0, 1, [rows_of(0)])  # of another process
    with pytest.raises(StorageError, match="there twice"):
        list(read_steps(tmp_path, 2))
    (tmp_path / "rollouts-00000000-00000001.parquet").unlink()
    with pytest.raises(StorageError, match=r"steps 2\.\.2 are not there"):
        list(read_steps(tmp_path, 3))
    with pytest.raises(StorageError, match=r"steps 2\.\.3 are missing"):
        keep_until(tmp_path, 4)
    keep_until(tmp_path, 0)
    assert list(read_steps(tmp_path, 0)) == []


@pytest.fixture(scope="module")
def with_model(tmp_path_factory):
    """A home with the base model of ``tiny_exploration`` and its problems."""
    home = tmp_path_factory.mktemp("exploration") / "home"
    with_base_model(tiny_exploration(), home).close()
    return home


def opened(with_model, tmp_path, **changes) -> Lab:
    shutil.copytree(with_model, tmp_path / "home")
    lab = Lab.open(tiny_exploration(**changes), home=tmp_path / "home")
    make_problems(lab)
    return lab


def test_a_policy_leaves_its_snapshots_its_steps_and_its_responses(with_model, tmp_path):
    lab = opened(with_model, tmp_path, exploration={"bonus": {"name": "ucb", "coefficient": 0.5}})
    heard: list[int] = []
    lab.live = lambda step, numbers: heard.append(step)
    numbers = train_policy(lab)
    assert numbers["responses"] == 12 * 16 and heard == list(range(1, 13))
    models = register_policy(lab)
    assert models.n_rows == 3
    frame = lab.store.read("models", lab.plan.fingerprints["exploration/policy"])
    assert frame["optimizer_steps"].to_list() == [4, 8, 12] and set(frame["role"]) == {"policy"}
    assert all(lab.store.has_model(fingerprint) for fingerprint in lab.plan.policies.values())
    rows = commit_rollouts(lab)
    assert rows.n_rows == 192
    rollouts = lab.store.read("rollouts", lab.plan.fingerprints["exploration/rollouts"])
    assert rollouts.select("step", "problem_id", "sample_index").is_duplicated().sum() == 0
    steps = lab.store.read("policy_steps", lab.plan.fingerprints["exploration/policy"])
    assert steps["step"].to_list() == list(range(1, 13)) and steps["responses"].to_list()[-1] == 192
    # what the rows say of a step is what its responses say
    by_step = rollouts.group_by("step").agg((pl.col("verdict") == "correct").mean()).sort("step")
    assert by_step["verdict"].to_list() == pytest.approx(steps["accuracy"].to_list())
    assert steps["kl_to_base_nats"].null_count() == 12  # no base model was read
    # N(x, a) before a group is what earlier steps drew, unparseable responses being one answer
    seen: dict[tuple[str, str | None], int] = {}
    for (_, problem), group in rollouts.group_by("step", "problem_id", maintain_order=True):
        for row in group.iter_rows(named=True):
            assert row["seen"] == seen.get((problem, row["answer"]), 0)
        for answer in group["answer"]:
            seen[problem, answer] = seen.get((problem, answer), 0) + 1
    assert train_policy(lab) == {"reused": True} and commit_rollouts(lab).fingerprint == rows.fingerprint
    lab.close()


def test_arms_of_one_seed_begin_with_the_same_responses(with_model, tmp_path):
    drawn = []
    for i, bonus in enumerate(({"name": "none"}, {"name": "batch", "coefficient": 0.4})):
        lab = opened(with_model, tmp_path / str(i), exploration={"bonus": bonus, "steps": 2, "snapshots": 1})
        train_policy(lab)
        commit_rollouts(lab)
        drawn.append(lab.store.read("rollouts", lab.plan.fingerprints["exploration/rollouts"]))
        lab.close()
    columns = ["problem_id", "sample_index", "response", "seed"]
    first = [frame.filter(pl.col("step") == 0).select(columns) for frame in drawn]
    assert first[0].equals(first[1])
    assert drawn[0].select("problem_id").equals(drawn[1].select("problem_id"))


def test_snapshots_and_evaluation_decide_nothing_of_each_other(with_model, tmp_path):
    """More evaluation responses, or other statistics, keep the trained policy."""
    plans = [
        opened(with_model, tmp_path / str(i), **changes).plan
        for i, changes in enumerate(({}, {"sampling": {"n_eval": 16, "max_tokens": 20}}, {"statistics": {"seed": 1}}))
    ]
    assert len({plan.fingerprints["exploration/policy"] for plan in plans}) == 1
    assert len({plan.fingerprints["exploration/evaluation"] for plan in plans}) == 3


def test_a_snapshot_that_is_gone_is_an_error_with_a_remedy(with_model, tmp_path):
    changes = {"steps": 2, "snapshots": 2, "bonus": {"name": "ucb", "coefficient": 1.0}}
    lab = opened(with_model, tmp_path, exploration=changes)
    train_policy(lab)
    shutil.rmtree(lab.store.model_folder(lab.plan.policies[1]))
    assert train_policy(lab) == {"reused": True}  # nothing needs it, as long as its responses are there
    with pytest.raises(StorageError, match="after 1 steps of exploration is not there"):
        draw_evaluation(lab)
    # trained again, it is the same one; another training's is not taken for it
    shutil.rmtree(lab.store.model_folder(lab.plan.policies[2]))
    train_policy(lab)
    shutil.rmtree(lab.store.model_folder(lab.plan.policies[2]))
    shutil.copyfile(lab.policy_path(0) / "model.safetensors", lab.policy_path(1) / "model.safetensors")
    with pytest.raises(StorageError, match="a snapshot of an earlier training"):
        train_policy(lab)
    lab.close()


def test_a_loss_that_is_not_finite_ends_the_training(with_model, tmp_path):
    lab = opened(with_model, tmp_path, exploration={"learning_rate": 1.0, "clip_norm": 1e30, "weight_decay": 1e30})
    with pytest.raises(ModelError, match=r"exploration\.learning_rate"):
        train_policy(lab)
    assert not lab.store.has_model(lab.plan.policies[12])
    lab.close()


def test_the_row_of_a_step_is_json(with_model, tmp_path):
    lab = opened(with_model, tmp_path, exploration={"steps": 1, "snapshots": 1, "kl_coefficient": 0.1})
    train_policy(lab)
    rows = json.loads((lab.policy_path(1) / "policy_steps.json").read_text())
    assert rows[0]["kl_to_base_nats"] == pytest.approx(0.0, abs=1e-6)  # the first policy is the base model
    lab.close()


def test_an_experiment_survives_its_own_json():
    """Defaults that exploration does not read are written out, and read back."""
    experiment = tiny_exploration(exploration={"bonus": {"name": "ucb_con", "baseline": 1.0}})
    assert type(experiment).model_validate_json(experiment.model_dump_json()) == experiment


def test_a_number_of_training_responses_is_refused():
    with pytest.raises(ValueError, match=r"sampling\.n_train: nothing with exploration"):
        tiny_exploration(sampling={"n_train": 8, "max_tokens": 20})
