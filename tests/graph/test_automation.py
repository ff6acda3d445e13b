"""Reports and studies follow what they read, when somebody else's run updated it, and only then."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.common import EXPERIMENT
from orchestration.automation import REFRESH, refresh_reports, with_conditions
from orchestration.definitions import build_definitions


@dg.asset(partitions_def=EXPERIMENT)
def gap_metrics() -> None:
    pass


@dg.asset(deps=[gap_metrics], partitions_def=EXPERIMENT, automation_condition=REFRESH)
def report() -> None:
    pass


@dg.asset(deps=[gap_metrics], group_name="study", automation_condition=REFRESH)
def study_report() -> None:
    pass


ASSETS = [gap_metrics, report, study_report]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", ["demo", "other"])
        yield instance


def _update(instance: dg.DagsterInstance, assets: list, partition: str | None, version: str) -> None:
    """A run that materializes ``assets`` together; the data version stands for the fingerprint."""
    versions = {asset.key: version for asset in assets}
    for asset in assets:
        tags = {"dagster/data_version": versions[asset.key]}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset.key, partition=partition, tags=tags))


def _run(instance: dg.DagsterInstance, assets: list, partition: str | None) -> None:
    assert dg.materialize(ASSETS, selection=assets, instance=instance, partition_key=partition).success


def _asked(instance: dg.DagsterInstance, cursor=None):
    result = dg.evaluate_automation_conditions(dg.Definitions(assets=ASSETS), instance, cursor=cursor)
    keys = {asset.key: sorted(result.get_requested_partitions(asset.key)) for asset in (report,)}
    return keys[report.key], result.get_num_requested(study_report.key), result.cursor


def test_an_update_by_another_run_is_followed_once(instance) -> None:
    for name in ("demo", "other"):
        _update(instance, [gap_metrics, report], name, "v1")
    _update(instance, [study_report], None, "v1")
    partitions, study, cursor = _asked(instance)
    assert (partitions, study) == ([], 0)
    _update(instance, [gap_metrics], "demo", "v2")
    partitions, study, cursor = _asked(instance, cursor)
    assert (partitions, study) == (["demo"], 1)
    partitions, study, cursor = _asked(instance, cursor)
    assert (partitions, study) == ([], 0)


def test_a_rerun_that_reuses_everything_is_not_followed(instance) -> None:
    _update(instance, [gap_metrics, report], "demo", "v1")
    _update(instance, [study_report], None, "v1")
    _, _, cursor = _asked(instance)
    _update(instance, [gap_metrics], "demo", "v1")
    assert _asked(instance, cursor)[:2] == ([], 0)


def test_its_own_run_is_not_followed(instance) -> None:
    _run(instance, [gap_metrics, report], "demo")
    _, _, cursor = _asked(instance)
    _run(instance, [gap_metrics, report], "demo")
    assert _asked(instance, cursor)[0] == []


def test_a_report_that_was_never_made_is_left_to_its_run(instance) -> None:
    _update(instance, [gap_metrics], "demo", "v1")
    _, _, cursor = _asked(instance)
    _update(instance, [gap_metrics], "demo", "v2")
    assert _asked(instance, cursor)[:2] == ([], 0)


def test_reports_and_studies_of_the_graph_have_the_condition() -> None:
    graph = build_definitions(1).resolve_asset_graph()
    found = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).automation_condition}
    studies = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).group_name == "study"}
    made_of_labels = {"evaluation/tuned_judgements", "evaluation/win_rates"}
    assert found == studies | made_of_labels | {"report", "saturation"}
    assert refresh_reports.default_status == dg.DefaultSensorStatus.STOPPED
    assert with_conditions([gap_metrics])[0].specs_by_key[gap_metrics.key].automation_condition is None
