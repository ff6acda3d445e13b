"""Control variates (arXiv 2502.10563): win rates from a few human labels and many synthetic judgements."""

from __future__ import annotations

import dagster as dg

from assets.common import Step, group_cpu_asset, group_gpu_asset, group_key
from ops.plan import EVALUATION_ASSETS
from ops.stages.human_labels import read_labels
from ops.stages.pairs import commit_pairs, draw_pairs
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from ops.stages.tuned_judgements import commit_tuned, tune_judges
from ops.stages.win_rates import estimate_win_rates

PAIRS = """\
Every response of a compared model beside the reference model's response to the same problem (with `estimand: accuracy`
single responses of all models). Only in experiments with the key `evaluation`. A label belongs to exactly this pair of
texts; identical ones are ties and nobody is asked. SQL: `SELECT model, response, reference_response FROM pairs`."""

LABELS = """\
What people said of some of the pairs, drawn at random: a row per pair and annotator, 1 where the model's response is
better, 0 where the reference's is, .5 a tie. Read from the labels file that `mindgap evaluate import` writes (or, with
`labels: {source: gold}`, from the grader). SQL: `SELECT model, avg(label) FROM human_labels GROUP BY model`."""

JUDGEMENTS = """\
What every judge of the experiment says of every pair: cheap, biased, and useful all the same, because estimates only
use how much it varies with the human labels (2502.10563). Judged once, a pair is never judged again.
SQL: `SELECT model, judge, avg(score) FROM synthetic_judgements GROUP BY ALL`."""

TUNED = """\
Judgements of judges that were fine-tuned on human labels, for every model by a copy that saw only the labels of the
others (2502.10563, leave one model out). Rows of the same table as the other judges'; none where no judge is `tuned`.
SQL: `SELECT judge, count(*) FROM synthetic_judgements WHERE judge LIKE '%tuned%' GROUP BY judge`."""

WIN_RATES = """\
How often each model's response is preferred to the reference's, from human labels alone, from judges alone (biased),
and from both by control variates (2502.10563): unbiased whatever the judges are worth, with intervals over problems and
how many labels the judges saved. Also what each judge is worth, and the error against the number of labels.
SQL: `SELECT model, value, low, high, saving FROM win_rates WHERE estimator = 'control_variate'`."""


def build_evaluation() -> list[dg.AssetsDefinition]:
    """``evaluation/pairs``, ``human_labels``, ``synthetic_judgements``, ``tuned_judgements`` and ``win_rates``."""
    pairs, labels, judged, tuned, _ = (group_key("evaluation", asset) for asset in EVALUATION_ASSETS)
    read = [pairs, labels, judged, tuned]
    return [
        _pairs(),
        group_cpu_asset("evaluation", "human_labels", [pairs], {"polars", "json"}, LABELS, read_labels),
        _synthetic_judgements(pairs),
        _tuned_judgements(labels, judged),
        group_cpu_asset("evaluation", "win_rates", read, {"numpy", "polars"}, WIN_RATES, estimate_win_rates),
    ]


def _pairs() -> dg.AssetsDefinition:
    return group_gpu_asset(
        "evaluation",
        "pairs",
        [dg.AssetKey("problems"), dg.AssetKey("base_model")],
        {"torch", "parquet"},
        PAIRS,
        Step("draw_pairs", "Draw the responses of every model that no run has drawn yet, in chunks.", draw_pairs),
        Step("commit_pairs", "Put the responses to each problem side by side.", commit_pairs),
    )


def _synthetic_judgements(pairs: dg.AssetKey) -> dg.AssetsDefinition:
    return group_gpu_asset(
        "evaluation",
        "synthetic_judgements",
        [pairs],
        {"torch", "parquet"},
        JUDGEMENTS,
        Step("judge_pairs", "Ask every judge of every pair that it has not judged yet, in chunks.", judge_pairs),
        Step("commit_judgements", "Make one score of what a judge said of a pair.", commit_judgements),
    )


def _tuned_judgements(labels: dg.AssetKey, judged: dg.AssetKey) -> dg.AssetsDefinition:
    return group_gpu_asset(
        "evaluation",
        "tuned_judgements",
        [labels, judged],
        {"torch", "huggingface", "parquet"},
        TUNED,
        Step(
            "tune_judges",
            "Fine-tune a copy of each learning judge for every model, on the labels of the others, and let it judge.",
            tune_judges,
        ),
        Step("commit_tuned_judgements", "Make one score of what a fine-tuned judge said of a pair.", commit_tuned),
    )
