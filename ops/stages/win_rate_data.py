"""Pairs of one model with their labels and judgements as flat arrays, the form in which estimators take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ops.control_variates.data import LabelledPairs
from ops.errors import ExperimentError
from ops.lab import Lab
from ops.plan import evaluation_asset

PAIR_COLUMNS = ["pair_id", "problem_id", "category", "model", "reference", "sample_index"]
LABEL_COLUMNS = ["pair_id", "model", "annotator", "label", "wave", "stratum"]

TOGETHER = " + "
"""Between the labels of judges that are used at once."""

NO_WAVE = -1
"""Of unlabelled pairs."""


@dataclass(frozen=True)
class ModelPairs:
    """All N pairs of one model (single responses with ``estimand: accuracy``), by problem and sample index.

    Attributes:
        reference: None with ``estimand: accuracy``.
        problem_N: int [N], 0..P-1.
        stratum_N: int [N], 0..S-1; all 0 without strata.
        labels_N: float [N], mean over annotators, NaN where unlabelled.
        wave_N: int [N], 0.. in the order of the exports; -1 where unlabelled.
        scores: float [N] of every judge, NaN where it could not judge; judges without any row are not there.
        n_not_drawn: labelled pairs that no export had drawn from all pairs that there are: nobody had asked for them,
            or they were drawn when there were fewer pairs.
        uses_not_drawn: whether they count: only where there are no others, and then as if drawn at random.
        drawn_within: strata within which labels that count were drawn, each with a share of its own.
    """

    model: str
    reference: str | None
    problem_N: np.ndarray
    stratum_N: np.ndarray
    labels_N: np.ndarray
    wave_N: np.ndarray
    scores: Mapping[str, np.ndarray]
    n_not_drawn: int = 0
    uses_not_drawn: bool = False
    drawn_within: tuple[str, ...] = ()

    @property
    def n_labelled(self) -> int:
        """Pairs with a label that counts."""
        return int((~np.isnan(self.labels_N)).sum())

    def with_judges(self, judges: Sequence[str], missing: str, where: str) -> tuple[LabelledPairs, int]:
        """Arrays for the estimators with these judges' scores, and how many pairs were left out.

        Args:
            missing: ``error``, ``exclude`` or ``mean``, as ``evaluation.missing_judgements`` says.
            where: the experiment, for messages.

        Raises:
            ExperimentError: for a pair without a judgement, where that is not allowed.
        """
        shape = (len(self.labels_N), len(judges))
        judges_NJ = np.stack([self.scores[name] for name in judges], axis=1) if judges else np.empty(shape)
        absent_NJ = np.isnan(judges_NJ)
        if missing == "error":
            self._refuse(judges, absent_NJ, where)
        if missing == "mean":
            judges_NJ = self._filled(judges_NJ, absent_NJ)
            absent_NJ = np.isnan(judges_NJ)  # a judge that read nothing at all has no mean
        kept_N = ~absent_NJ.any(axis=1)
        _, problem_N = np.unique(self.problem_N[kept_N], return_inverse=True)
        _, stratum_N = np.unique(self.stratum_N[kept_N], return_inverse=True)
        labels_N, wave_N = self.labels_N[kept_N], self.wave_N[kept_N]
        return LabelledPairs(labels_N, judges_NJ[kept_N], problem_N, stratum_N, wave_N), int((~kept_N).sum())

    def _filled(self, judges_NJ: np.ndarray, absent_NJ: np.ndarray) -> np.ndarray:
        """Missing judgements replaced by the judge's mean over the model's pairs: it knows no label."""
        n_J = (~absent_NJ).sum(axis=0)
        mean_J = np.where(n_J > 0, np.where(absent_NJ, 0.0, judges_NJ).sum(axis=0) / np.maximum(n_J, 1), np.nan)
        return np.where(absent_NJ, mean_J, judges_NJ)

    def _refuse(self, judges: Sequence[str], absent_NJ: np.ndarray, where: str) -> None:
        for name, n_absent in zip(judges, absent_NJ.sum(axis=0), strict=True):
            if n_absent:
                raise ExperimentError(
                    where,
                    f"judge {name} has no judgement of {n_absent:,} of the {len(absent_NJ):,} pairs of {self.model} "
                    "(it could not be read, or is not in the file)",
                    field="evaluation.missing_judgements",
                    remedy="`exclude` leaves such pairs out and counts them, `mean` gives them the judge's mean",
                )


def judge_sets(pairs: ModelPairs) -> list[tuple[str, ...]]:
    """Each judge alone, then all at once where there are several."""
    judges = tuple(pairs.scores)
    return [(name,) for name in judges] + ([judges] if len(judges) > 1 else [])


def read_pairs(lab: Lab) -> list[ModelPairs]:
    """Of every judged model in the order of the table ``pairs``: its pairs, labels and judgements.

    Raises:
        ExperimentError: when strata are asked for and problems have none, or labels were drawn within strata that the
            experiment does not name.
        StorageError: when a table is missing or damaged.
    """
    pairs, labels, judgements = read_tables(lab)
    strata = _strata(lab, pairs)
    models = pairs["model"].unique(maintain_order=True).to_list()
    by_model = pairs.with_columns(stratum=strata).partition_by("model", as_dict=True)
    found = [_of_model(by_model[(model,)], labels, judgements) for model in models]
    _check_drawn_within(lab, found)
    return found


def read_tables(lab: Lab) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """``pairs``, ``human_labels`` and ``synthetic_judgements``, those of fine-tuned judges among them.

    Raises:
        StorageError: when a table is missing or damaged.
    """
    prints = lab.plan.fingerprints
    pairs = lab.store.read("pairs", prints[evaluation_asset("pairs")], [*PAIR_COLUMNS, "is_identical"])
    labels = lab.store.read("human_labels", prints[evaluation_asset("human_labels")])
    assets = ["synthetic_judgements"] + ["tuned_judgements"] * bool(lab.evaluation.learning_judges)
    columns = ["pair_id", "model", "judge", "score", "score_shown_first", "score_shown_second"]
    columns += ["reward", "reference_reward"]
    judged = [lab.store.read("synthetic_judgements", prints[evaluation_asset(asset)], columns) for asset in assets]
    return pairs, labels, pl.concat(judged)


def _strata(lab: Lab, pairs: pl.DataFrame) -> pl.Series:
    """Index of every pair's stratum, the same for all models."""
    if lab.evaluation.strata == "none":
        return pl.Series(np.zeros(pairs.height, dtype=np.int64))
    if n_without := pairs["category"].null_count():
        raise ExperimentError(
            lab.experiment.name,
            f"{n_without:,} of {pairs.height:,} pairs are of problems without a category",
            field="evaluation.strata",
            remedy='give every problem of problems.eval_file a "category", or set strata: none',
        )
    return pairs["category"].rank("dense").cast(pl.Int64) - 1


def _check_drawn_within(lab: Lab, models: Sequence[ModelPairs]) -> None:
    within = sorted({stratum for pairs in models for stratum in pairs.drawn_within})
    if within and lab.evaluation.strata == "none":
        raise ExperimentError(
            lab.experiment.name,
            f"labels were drawn within strata ({', '.join(within[:3])}{', …' * (len(within) > 3)}), each with a share "
            "of its own: without strata the estimate would be biased",
            field="evaluation.strata",
            remedy="set strata: category",
        )


def _of_model(pairs: pl.DataFrame, labels: pl.DataFrame, judgements: pl.DataFrame) -> ModelPairs:
    pairs = pairs.sort("problem_id", "sample_index", maintain_order=True)
    first = pairs.row(0, named=True)
    mine = pl.col("model") == first["model"]
    by_pair = (
        labels.filter(mine)
        .group_by("pair_id")
        .agg(pl.col("label").mean(), pl.col("wave").min(), drawn_within=pl.col("stratum").min())
    )
    joined = pairs.join(by_pair, on="pair_id", how="left", maintain_order="left")
    labels_N = joined["label"].fill_null(float("nan")).to_numpy().copy()
    wave_N, n_not_drawn, uses_not_drawn = _waves(labels_N, joined["wave"])
    labels_N[wave_N == NO_WAVE] = np.nan
    within = joined["drawn_within"].filter(pl.Series(wave_N != NO_WAVE)).drop_nulls().unique().sort()
    scores = {}
    for (judge,), part in judgements.filter(mine).group_by("judge", maintain_order=True):
        one = part.group_by("pair_id").agg(pl.col("score").mean())
        score = pairs.join(one, on="pair_id", how="left", maintain_order="left")["score"]
        scores[str(judge)] = score.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return ModelPairs(
        first["model"],
        first["reference"],
        pairs["problem_id"].rle_id().cast(pl.Int64).to_numpy(),
        pairs["stratum"].to_numpy(),
        labels_N,
        wave_N,
        scores,
        n_not_drawn,
        uses_not_drawn,
        tuple(within.to_list()),
    )


def _waves(labels_N: np.ndarray, waves: pl.Series) -> tuple[np.ndarray, int, bool]:
    """Index of every labelled pair's wave, how many no export drew from all pairs, and whether those count.

    What nobody drew at random may be anything (the easy ones, say), so it does not count beside what was drawn; alone
    it is all there is, and is taken as one draw.
    """
    is_labelled_N = ~np.isnan(labels_N)
    is_drawn_N = waves.is_not_null().to_numpy()
    n_not_drawn = int((is_labelled_N & ~is_drawn_N).sum())
    wave_N = np.full(len(labels_N), NO_WAVE)
    if not is_drawn_N.any():
        wave_N[is_labelled_N] = 0
        return wave_N, n_not_drawn, n_not_drawn > 0
    wave_N[is_drawn_N] = np.unique(waves.drop_nulls().to_numpy(), return_inverse=True)[1]
    return wave_N, n_not_drawn, False
