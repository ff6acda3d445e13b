"""Fingerprints: what defines a result changes them, where it runs does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.config import Experiment
from ops.errors import IdentityError
from ops.identity import fingerprint, response_id, seed_of
from ops.plan import make_plan
from tests.conftest import tiny_experiment


def prints(**changes):
    return make_plan(tiny_experiment(**changes)).fingerprints


BASE = prints()


def changed(**changes):
    other = prints(**changes)
    return {name for name in BASE if other.get(name) != BASE[name]}


def test_engine_settings_never_enter():
    assert not changed(engine={"name": "transformers", "batch_size": 7, "dtype": "bfloat16", "threads": 1})


def test_the_name_enters_the_report_only():
    other = make_plan(tiny_experiment("other")).fingerprints
    assert {name for name in BASE if other[name] != BASE[name]} == {"report"}


def test_the_hypothesis_changes_only_the_report():
    assert changed(hypothesis="Another sentence, the same computation.") == {"report"}


def test_the_filter_leaves_the_first_iteration_alone():
    names = changed(filter={"name": "gold"})
    assert {"iteration_0/finetune_data", "iteration_0/model", "iteration_1/generations"} <= names
    assert not names & {"problems", "base_model", "iteration_0/generations", "iteration_0/verification_scores"}


def test_a_verifier_leaves_all_generations_alone():
    names = changed(verifiers=[{"name": "binary_cot", "max_tokens": 30}, {"name": "logit"}])
    assert "iteration_0/verification_scores" in names
    assert not any(name.endswith(("generations", "model")) for name in names)


def test_the_seed_of_the_model_changes_everything_after_the_problems():
    names = changed(model={"kind": "builtin", "size": "a", "steps": 12, "batch_size": 16, "seed": 1})
    assert names == set(BASE) - {"problems"}


def test_more_iterations_keep_the_first_ones():
    """But for the judgement of the one that was the last: there was nothing left to stop."""
    more = prints(iterations=2)
    kept = {name for name in BASE if more[name] == BASE[name]}
    assert {name for name in BASE if name.startswith("iteration_")} - kept == {"iteration_1/stopping_rules"}


def test_sample_counts_keep_the_pool():
    plans = [make_plan(tiny_experiment(sampling={"n_train": 4, "n_eval": n, "max_tokens": 16})) for n in (8, 16)]
    assert plans[0].sample_pools == plans[1].sample_pools
    assert plans[0].fingerprints["iteration_0/generations"] != plans[1].fingerprints["iteration_0/generations"]


@pytest.mark.parametrize(
    "value", [lambda: 0, object(), {1: 2}, {"a": float("nan")}, b"bytes", {"a", "b"}, float("inf")]
)
def test_what_cannot_be_hashed_stably_is_refused(value):
    with pytest.raises(IdentityError):
        fingerprint("step", "1", {"value": value})


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans() | st.none()))
def test_the_order_of_keys_does_not_matter(config):
    assert fingerprint("s", "1", config) == fingerprint("s", "1", dict(reversed(list(config.items()))))


def test_a_fingerprint_is_pinned():
    """Changing how fingerprints are made would orphan every stored result: this value must not move by accident."""
    assert fingerprint("step", "1", {"a": 1, "b": [0.5, "x", None]}, {"in": "0" * 16}) == PINNED


PINNED = "b12efe0f9b770111"


def test_seeds_are_63_bits_and_depend_on_everything():
    identity = response_id("pool", "prompt", 3)
    assert len(identity) == 32
    assert 0 <= seed_of(identity) < 2**63
    others = {response_id("pool2", "prompt", 3), response_id("pool", "prompt2", 3), response_id("pool", "prompt", 4)}
    assert len({seed_of(item) for item in {identity, *others}}) == 4
    assert seed_of(identity) != seed_of(identity, "other purpose")


def test_a_label_that_is_called_like_an_input_hides_nothing():
    """Labels are the user's; a verifier called 'generations' must not stand in for the generations."""
    named = {"iterations": 0, "verifiers": [{"name": "logit", "label": "generations"}]}
    cold, warm = (prints(**named, sampling={"temperature": t, "n_eval": 4, "n_train": 2}) for t in (0.5, 1.0))
    assert cold["iteration_0/verification_scores"] != warm["iteration_0/verification_scores"]
    other = {"kind": "builtin", "size": "xxs", "steps": 12}
    crossed = {"iterations": 0, "verifiers": [{"name": "logit", "label": "base", "model": other}]}
    first, second = (prints(**crossed, model={"kind": "builtin", "size": "a", "steps": steps}) for steps in (12, 13))
    assert first["base_model"] != second["base_model"]


def test_names_that_tables_show_are_part_of_those_tables(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    replayed = {"engine": {"name": "replay", "path": str(tmp_path / "rows.jsonl")}, "task": {"name": "countdown"}}
    plain = {"name": "tiny", "hypothesis": "Names are shown.", "iterations": 0, "verifiers": [{"name": "majority"}]}
    one, other = (
        make_plan(
            Experiment.model_validate({**plain, **replayed, "model": {"kind": "recorded", "label": label}})
        ).fingerprints
        for label in ("rows", "GPT-3")
    )
    changed = {name.partition("/")[2] for name in one if one[name] != other[name]}
    assert {"gap_metrics", "verifier_metrics"} <= changed
    assert not {"verification_scores", "threshold_sweeps", "diversity_metrics"} & changed
