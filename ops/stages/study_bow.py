"""Lack of fit of a scaling law: how far a family's points bend away from a line in log10 FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, percentile_interval
from ops.estimation.scaling import ScalingPoint
from ops.study_findings import MATERIAL_BOW
from ops.types import Interval


@dataclass(frozen=True)
class Bow:
    """How far a least-squares parabola bends away from a line over the range of log10 FLOPs.

    Attributes:
        height: the parabola minus its chord, in the middle of the range (in units of the statistic; below 0: concave
            up). ``height = -c (range / 2)**2`` with the parabola's quadratic coefficient c.
        beyond: |height| less ``MATERIAL_BOW`` times |rise of the least-squares line over the range|; in resamples the
            height counts with the sign of the estimate, so that noise of either sign adds nothing.
    """

    height: Interval
    beyond: Interval


def bow_of(points: list[ScalingPoint], confidence: float) -> Bow:
    """The bow of one family's points, resampled over problems; undefined with fewer than three different FLOPs."""
    used = [point for point in points if not np.isnan(point.value)]
    x_M = np.log10([point.flops for point in used])
    if len(np.unique(x_M)) < 3:
        return Bow(UNDEFINED, UNDEFINED)
    x_M = x_M - x_M.mean()
    width = float(x_M.max() - x_M.min())
    height_M = -np.linalg.pinv(np.vander(x_M, 3))[0] * (width / 2) ** 2
    rise_M = x_M / (x_M @ x_M) * width
    y_M, draws_RM = np.array([point.value for point in used]), np.stack([point.draws_R for point in used], axis=1)
    height, height_R, side = y_M @ height_M, draws_RM @ height_M, np.sign(y_M @ height_M)
    beyond, beyond_R = (
        side * bow - MATERIAL_BOW * np.abs(rise)
        for bow, rise in ((height, y_M @ rise_M), (height_R, draws_RM @ rise_M))
    )
    return Bow(
        percentile_interval(float(height), height_R, confidence),
        percentile_interval(float(beyond), beyond_R, confidence),
    )
