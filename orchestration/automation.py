"""Automation conditions: what is made of other results follows them when they were updated by somebody else's run.

A run of a whole experiment makes its report itself. But a run of one asset (a click on ``gap_metrics``, or on
``human_labels`` when new ones came), or another experiment of the same study, leaves the report, the fits, the win
rates and the study's pages behind: these conditions bring them up to date. They are judged by the sensor
``refresh_reports``, which is off until switched on.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from assets.study import STUDY_GROUP

REFRESHED = ("report", "saturation", "evaluation/tuned_judgements", "evaluation/win_rates")
"""Assets over all results of one experiment, and what is made of human labels; with them everything in the group of
studies."""

REFRESH = (
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.data_version_changed() & ~dg.AutomationCondition.executed_with_root_target()
    ).since_last_handled()
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("what it reads was updated by another run")
"""Only where it is there already (a first report comes with its run), and only where a fingerprint really changed: a
run that reuses everything updates nothing. While something that it reads is still being made, it waits."""


def with_conditions(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, those that follow others with their condition."""

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        follows = spec.key.to_user_string() in REFRESHED or spec.group_name == STUDY_GROUP
        return spec.replace_attributes(automation_condition=REFRESH) if follows else spec

    return [asset.map_asset_specs(conditioned) for asset in assets]


refresh_reports = dg.AutomationConditionSensorDefinition(
    "refresh_reports",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=60,
    run_tags={"mindgap/launched_by": "refresh_reports"},
    description="Brings reports, fits over iterations, win rates and the pages of studies up to date when what they "
    "read was updated by a run that was not theirs. Off until switched on.",
)
