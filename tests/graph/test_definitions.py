"""The shape of the graph against a stored file: accidental rewiring shows in review.

After an intended change: MINDGAP_UPDATE_SNAPSHOT=1 pytest tests/graph/test_definitions.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.definitions import build_definitions, largest_iterations

SNAPSHOT = Path(__file__).with_name("graph.json")


def describe(definitions: dg.Definitions) -> dict[str, Any]:
    """Everything that a change of wiring would change."""
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    job = definitions.resolve_job_def("experiment_job")
    pools = {op.name: op.pool for op in job.graph.iterate_op_defs() if op.pool is not None}
    return {
        "assets": {
            key.to_user_string(): {
                "group": graph.get(key).group_name,
                "upstream": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                "kinds": sorted(graph.get(key).kinds),
                "owners": list(graph.get(key).owners),
                "code_version": graph.get(key).code_version,
                "partitions": getattr(graph.get(key).partitions_def, "name", None),  # none: over all experiments
            }
            for key in sorted(graph.materializable_asset_keys)
        },
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": "blocking" if graph.get(key).blocking else "not blocking"
            for key in sorted(graph.asset_check_keys)
        },
        "pools": dict(sorted(pools.items())),
        "jobs": sorted(item.name for item in repository.get_all_jobs() if not item.name.startswith("__")),
        "schedules": {item.name: [item.cron_schedule, item.default_status.value] for item in repository.schedule_defs},
        "sensors": {item.name: item.default_status.value for item in repository.sensor_defs},
    }


def test_graph_is_the_stored_one() -> None:
    found = describe(build_definitions(2))
    if os.environ.get("MINDGAP_UPDATE_SNAPSHOT") == "1":
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())


def test_every_asset_explains_itself() -> None:
    graph = build_definitions(1).resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert len(node.description or "") > 80, key
        assert 1 <= len(node.kinds) <= 3, key


def test_gpu_work_and_nothing_else_claims_the_pool() -> None:
    found = set(describe(build_definitions(1))["pools"])
    names = ("sample_responses", "verify_responses", "read_under_base")
    iterations = {f"{name}_{k}" for name in names for k in (0, 1)}
    explores = {"train_policy", "draw_base_responses", "draw_evaluation"}
    evaluates = {"draw_pairs", "judge_pairs", "tune_judges"}
    assert found == {"obtain_base_model", "finetune_model_0", *iterations, *explores, *evaluates}


def test_the_longest_valid_experiment_decides_and_a_broken_file_is_only_left_out(write_experiment, caplog) -> None:
    write_experiment("short", iterations=1)
    write_experiment("long", iterations=3)
    write_experiment("broken", iterations=9).write_text("name: broken\niterations: many\n")
    assert largest_iterations() == 3
    assert [record.message for record in caplog.records if "broken.yaml" in record.message]
