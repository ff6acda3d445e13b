"""A small plot of every asset, for its page in the UI: a PNG for each fingerprint, so what is reused draws nothing.

Only a few columns are read, and of a large table evenly spread row groups; a plot shows a shape, never a number that
somebody cites. Matplotlib's constrained layout would cost more than all the rest, so margins are fixed.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ops.reporting import asset_drawings as one
from ops.reporting import asset_drawings_changes as several
from ops.reporting import asset_drawings_evaluation as evaluation
from ops.reporting import asset_drawings_exploration as exploration
from ops.reporting import dynamics_plots
from ops.storage.atomic import atomic_file
from ops.storage.layout import latest_manifest, materialization_folder, read_manifest, table_folder
from ops.types import StageResult

PLOTS: dict[str, Callable[[Any, Any], bool]] = {
    "problems": one.problems,
    "models": one.models,
    "generations": one.generations,
    "verification_scores": one.verification_scores,
    "gap_metrics": one.gap_metrics,
    "verifier_metrics": one.verifier_metrics,
    "calibration_bins": one.calibration_bins,
    "threshold_sweeps": one.threshold_sweeps,
    "verifier_pairs": one.verifier_pairs,
    "test_time_metrics": one.test_time_metrics,
    "diversity_metrics": one.diversity_metrics,
    "finetune_data": one.finetune_data,
    "preference_pairs": one.preference_pairs,
    "iteration_changes": several.iteration_changes,
    "problem_flips": several.problem_flips,
    "policy_shift": several.policy_shift,
    "sampling_choices": several.sampling_choices,
    "selection_metrics": several.selection_metrics,
    "stopping_rules": several.stopping_rules,
    "saturation": several.saturation,
    "scaling_laws": several.scaling_laws,
    "cross_verification": several.cross_verification,
    "arm_metrics": several.arm_metrics,
    "policy_steps": exploration.policy_steps,
    "rollouts": exploration.rollouts,
    "training_dynamics": dynamics_plots.training_dynamics,
    "policy_evaluation": exploration.policy_evaluation,
    "pairs": evaluation.pairs,
    "human_labels": evaluation.human_labels,
    "synthetic_judgements": evaluation.synthetic_judgements,
    "win_rates": evaluation.win_rates,
}
"""By table: draws into matplotlib's axes; False where there is nothing to show."""

PLOT_VERSION = 1
"""Part of a plot's file name: bumped when it would look different."""

TABLE_OF = {
    "base_model": "models",
    "model": "models",
    "scaling_law": "scaling_laws",
    "policy": "policy_steps",
    "evaluation": "policy_evaluation",
    "tuned_judgements": "synthetic_judgements",
}
"""Tables of the assets that are not called like their table."""

ROWS_READ = 150_000
"""At most about as many rows of one table are read."""

INCHES, DPI, COLORS = (4.4, 2.7), 100, 48

LOGGER = logging.getLogger("mindgap")


@dataclass(frozen=True)
class Source:
    """What a plot may read: its own table, and others of the same experiment and iteration."""

    home: Path
    experiment: str
    table: str
    fingerprint: str
    iteration: int | None

    def rows(self, columns: Sequence[str]) -> pl.DataFrame:
        """Columns of the table itself."""
        return read_spread(_data(self.home, self.table, self.fingerprint), columns)

    def other(self, table: str, columns: Sequence[str], keep: pl.Expr) -> pl.DataFrame | None:
        """Columns of the rows that ``keep`` selects of another table of this iteration; None where there is none."""
        latest = latest_manifest(materialization_folder(self.home, self.experiment, table, self.iteration))
        if latest is None:
            return None
        path = _data(self.home, table, read_manifest(latest)["fingerprint"])
        return pl.scan_parquet(path, glob=False).filter(keep).select(columns).collect(engine="streaming")

    def beside(self, table: str, columns: Sequence[str]) -> pl.DataFrame | None:
        """Columns of another table of the same fingerprint; None where there is none."""
        path = _data(self.home, table, self.fingerprint)
        return read_spread(path, columns) if path.is_file() else None


def asset_plot(home: Path, result: StageResult) -> Path | None:
    """The plot of an asset, drawn where it is not there yet. None for assets without one, and (with a warning) for a
    plot that fails: it is no reason to lose a result.
    """
    group, _, asset = result.asset.rpartition("/")
    table = TABLE_OF.get(asset, asset)
    if asset == "finetune_data" and not _data(home, table, result.fingerprint).is_file():
        table = "preference_pairs"
    if table not in PLOTS:
        return None
    path = home / "plots" / f"{asset}-{result.fingerprint}-v{PLOT_VERSION}.png"
    try:
        if path.is_file():
            return path
        if not _data(home, table, result.fingerprint).is_file():
            return None
        iteration = int(group.removeprefix("iteration_")) if group.startswith("iteration_") else None
        data = draw(Source(home, result.experiment, table, result.fingerprint, iteration))
        if data is None:
            return None
        with atomic_file(path) as staging:
            staging.write_bytes(data)
        return path
    except Exception as error:
        LOGGER.warning("no plot of %s of %s: %s: %s", result.asset, result.experiment, type(error).__name__, error)
        return None


def draw(source: Source) -> bytes | None:
    """A PNG of a few kilobytes; None where the table has nothing to show."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    from ops.reporting.plots import STYLE

    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False, "font.size": 8}):
        figure = Figure(figsize=INCHES, dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.145, 0.18, 0.835, 0.70))
        if not PLOTS[source.table](axes, source):
            return None
        canvas.draw()
        image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    small = io.BytesIO()
    image.quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return small.getvalue()


def read_spread(path: Path, columns: Sequence[str], limit: int = ROWS_READ) -> pl.DataFrame:
    """Columns of a Parquet file: all rows, or of a larger file those of evenly spread row groups.

    Columns that a file of an earlier version lacks are left out.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        n_rows, n_groups = file.metadata.num_rows, file.metadata.num_row_groups
        taken = min(max(1, n_groups * limit // max(n_rows, 1)), n_groups)
        groups = sorted({i * n_groups // taken for i in range(taken)}) if taken else []
        present = [name for name in columns if name in file.schema_arrow.names]
        frame = pl.DataFrame(pl.from_arrow(file.read_row_groups(groups, columns=present)))
    return frame if frame.height <= limit else frame.head(limit)


def _data(home: Path, table: str, fingerprint: str) -> Path:
    return table_folder(home, table, fingerprint) / "data.parquet"
