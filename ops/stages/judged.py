"""What judges are asked about pairs, and how their answers become rows of the table ``synthetic_judgements``."""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from ops.errors import StorageError
from ops.evaluation.judges.base import Judge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.pairwise import PairQuestion, Pairwise
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.plan import as_planned
from ops.evaluation.rewards import preference
from ops.lab import Lab
from ops.stages.problems import problems_of
from ops.stages.verification import VERIFICATION_SCHEMA, items_of
from ops.storage.pool import Pool
from ops.storage.schemas import polars_schema
from ops.types import Problem
from ops.verifiers.base import VerificationItem

JUDGEMENT_SCHEMA = {
    "judgement_id": pl.String(),
    "value": pl.Float64(),  # of a question about a pair 1: the model's response, 0: the reference's; or a reward
    "transcript": pl.String(),
    "n_tokens": pl.Int32(),
    "seconds": pl.Float64(),  # wall time of its batch, shared equally
}

TIE = 0.5

Problems = Mapping[str, Problem]


def problems_by_id(lab: Lab) -> dict[str, Problem]:
    """The evaluation problems."""
    return {problem.problem_id: problem for problem in problems_of(lab, 0, "eval")}


def judgement_pool(lab: Lab, judge: Pairwise | RewardModel) -> Pool:
    """Where single judgements of a judge are kept."""
    identity = lab.evaluation_plan.judgement_pools[judge.called]
    return lab.store.pool("judgements", identity, JUDGEMENT_SCHEMA, "judgement_id")


def verifications_of(lab: Lab, judge: BradleyTerry) -> Pool:
    """The pool of verifications that every experiment with this verifier and model has."""
    return lab.store.pool("verifications", lab.evaluation_plan.judgement_pools[judge.called], VERIFICATION_SCHEMA)


def asked_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs that somebody has to judge: equal responses are a tie."""
    return pairs.filter(~pl.col("is_identical").fill_null(False))


def pair_questions(judge: Pairwise, pairs: pl.DataFrame, problems: Problems) -> list[PairQuestion]:
    """Every question that a judge owes, pair by pair; of pairs of the same texts once."""
    columns = ("pair_id", "problem_id", "response", "reference_response")
    rows = pairs.select(columns).unique("pair_id", maintain_order=True).iter_rows()
    return [
        PairQuestion(problems[problem_id], response, reference, order, identity)
        for pair_id, problem_id, response, reference in rows
        for order, _, identity in judge.question_ids(pair_id)
    ]


def single_responses(pairs: pl.DataFrame) -> pl.DataFrame:
    """Both sides' responses, each once: ``problem_id``, ``sample_index``, ``response``, ``response_id``."""
    where = ["problem_id", "sample_index"]
    own = pairs.select(*where, "response", "response_id")
    reference = pairs.filter(pl.col("reference_response_id").is_not_null()).select(
        *where, response="reference_response", response_id="reference_response_id"
    )
    return pl.concat([own, reference]).unique("response_id", maintain_order=True)


def verification_items(judge: BradleyTerry, responses: pl.DataFrame, problems: Problems) -> list[VerificationItem]:
    """Every verification that a judge owes, repeat by repeat, with the identities of ``ops.stages.verification``."""
    return items_of(judge.verifier, responses, problems)


def text_ids(lab: Lab, pairs: pl.DataFrame, problems: Problems) -> tuple[pl.Series, pl.Series]:
    """Identities of the rewards of both sides' responses, null where there is no reference."""
    task = lab.experiment.task
    questions = {problem_id: task.question(problems[problem_id]) for problem_id in pairs["problem_id"].unique()}

    def ids(column: str) -> pl.Series:
        rows = pairs.select("problem_id", column).iter_rows()
        found = [None if text is None else RewardModel.text_id(questions[where], text) for where, text in rows]
        return pl.Series("judgement_id", found, dtype=pl.String)

    return ids("response"), ids("reference_response")


def response_texts(lab: Lab, pairs: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Texts that a reward model reads, each once: ``judgement_id``, ``question``, ``response``."""
    parts = [
        pairs.select("problem_id", response=column).with_columns(ids)
        for column, ids in zip(("response", "reference_response"), text_ids(lab, pairs, problems), strict=True)
    ]
    found = pl.concat(parts).drop_nulls("judgement_id").unique("judgement_id", maintain_order=True)
    asked = [lab.experiment.task.question(problems[problem_id]) for problem_id in found["problem_id"]]
    question = pl.Series("question", asked, dtype=pl.String)
    return found.with_columns(question).select("judgement_id", "question", "response")


def recorded_pairs(judge: RecordedJudge, pairs: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Recorded judgements in the order of the pairs, and how many rows of the file belong to none of them.

    Returns:
        ``score``, ``score_shown_first`` and ``score_shown_second`` of each pair, null where there is none.

    Raises:
        DatasetError: for a bad row, and when no row belongs to any pair.
    """
    found = judge.read()
    keys = list(pairs.select("problem_id", "model", "sample_index").iter_rows())
    judge.check(found, keys, complete=False)
    unused = len(found.keys() - set(keys))
    known = [found.get(key) for key in keys]
    cells = [
        (None, None, None) if item is None else (item.score, item.shown_first, item.shown_second) for item in known
    ]
    schema = dict.fromkeys(("score", "score_shown_first", "score_shown_second"), pl.Float64)
    return pl.DataFrame(cells, schema=schema, orient="row"), unused


def judgement_rows(lab: Lab, judge: Judge, pairs: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Rows of ``synthetic_judgements`` of one judge, in the order of the pairs; a null score could not be read.

    Equal responses are a tie of every judge but recorded ones, whose scale is theirs. Tokens that were spent on a
    reference's response stand in the row of every model that is compared with it.

    Raises:
        StorageError: when a judgement is not in its pool.
        DatasetError: when recorded judgements cannot be used, or changed since the experiment was planned.
    """
    if isinstance(judge, RecordedJudge):
        with as_planned(judge.path, lab.evaluation_plan.files[judge.path]):
            rows = pl.concat([pairs, recorded_pairs(judge, pairs)[0]], how="horizontal")
    elif isinstance(judge, Pairwise):
        rows = _with_ties(pairs.join(_pairwise(lab, judge, pairs), on="pair_id", how="left", maintain_order="left"))
    elif isinstance(judge, BradleyTerry):
        ids = pairs["response_id"], pairs["reference_response_id"]
        rows = _rewarded(pairs, _verified(lab, judge, pairs, problems), ids, judge.scale)
    elif isinstance(judge, RewardModel):
        rows = _rewarded(pairs, _rewards(lab, judge, pairs, problems), text_ids(lab, pairs, problems), judge.scale)
    else:
        raise TypeError(f"no judgements of a {type(judge).__name__} without labels")
    kinds = polars_schema("synthetic_judgements")
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in kinds.items() if name not in rows.columns]
    model = lab.evaluation_plan.judge_models.get(judge.called)
    about = {"judge": pl.lit(judge.called), "judge_model": pl.lit(model, dtype=pl.String)}
    return rows.with_columns(absent).with_columns(**about).select(pl.col(name).cast(kinds[name]) for name in kinds)


def _with_ties(rows: pl.DataFrame) -> pl.DataFrame:
    """Of pairs that are identical: a tie, for no tokens."""
    same = pl.col("is_identical").fill_null(False)
    tokens = pl.when(same).then(0).otherwise("n_tokens")
    return rows.with_columns(score=pl.when(same).then(TIE).otherwise("score"), n_tokens=tokens)


def _read(pool: Pool, owed: pl.DataFrame, key: str, judge: Judge) -> pl.DataFrame:
    """``owed`` with what the pool holds of it, in its order.

    Raises:
        StorageError: when something is missing.
    """
    found = owed.join(pool.read(owed[key]), on=key, how="left", maintain_order="left")
    missing = found["seconds"].null_count()
    if missing:
        raise StorageError(
            f"judge {judge.called}",
            f"{missing:,} of {found.height:,} judgements are not in their pool",
            remedy="run the experiment again: what is missing is judged",
        )
    return found


def _pairwise(lab: Lab, judge: Pairwise, pairs: pl.DataFrame) -> pl.DataFrame:
    """Score of every pair that was asked about, the mean of its two orders; transcripts repeat by repeat."""
    asked = asked_pairs(pairs)["pair_id"].unique(maintain_order=True)
    cells = [(pair_id, order, identity) for pair_id in asked for order, _, identity in judge.question_ids(pair_id)]
    schema = {"pair_id": pl.String, "order": pl.Int8, "judgement_id": pl.String}
    owed = pl.DataFrame(cells, schema=schema, orient="row")
    said = _read(judgement_pool(lab, judge), owed, "judgement_id", judge)
    by_pair = said.group_by("pair_id", maintain_order=True).agg(
        pl.col("transcript"),
        pl.col("n_tokens").sum(),
        score_shown_first=pl.col("value").filter(pl.col("order") == 0).mean(),
        score_shown_second=pl.col("value").filter(pl.col("order") == 1).mean(),
    )
    score = (pl.col("score_shown_first") + pl.col("score_shown_second")) / 2.0
    return by_pair.with_columns(_as_json(by_pair["transcript"]), score=score)


def _verified(lab: Lab, judge: BradleyTerry, pairs: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Reward, judgement by itself, transcripts and tokens of every response that was asked about, by ``id``."""
    responses = single_responses(asked_pairs(pairs))
    items = [item.identity for item in verification_items(judge, responses, problems)]
    ids = pl.concat([responses["response_id"]] * judge.verifier.n_repeats).alias("id")
    owed = pl.DataFrame([ids, pl.Series("response_id", items, dtype=pl.String)])
    said = _read(verifications_of(lab, judge), owed, "response_id", judge)
    found = said.group_by("id", maintain_order=True).agg(
        pl.col("score").mean(), pl.col("transcript"), pl.col("n_tokens").sum()
    )
    score_N = found["score"].fill_null(float("nan")).to_numpy()
    values = {"reward": judge.rewards(score_N), "alone": judge.probabilities(score_N)}
    return found.drop("score").with_columns(pl.Series(name, value).fill_nan(None) for name, value in values.items())


def _rewards(lab: Lab, judge: RewardModel, pairs: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """As ``_verified``."""
    owed = response_texts(lab, asked_pairs(pairs), problems).select("judgement_id")
    found = _read(judgement_pool(lab, judge), owed, "judgement_id", judge)
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return found.select("n_tokens", id="judgement_id", reward="value", alone="value", transcript=nothing)


def _rewarded(
    pairs: pl.DataFrame, by_response: pl.DataFrame, ids: tuple[pl.Series, pl.Series], scale: float
) -> pl.DataFrame:
    """Judgements from rewards of single responses: Bradley and Terry's preference; without a reference ``alone``.

    Args:
        ids: of both sides' responses, the second null where there is no reference.
    """
    sides = [pl.DataFrame({"id": side}).join(by_response, on="id", how="left", maintain_order="left") for side in ids]
    reward_N, reference_N = (side["reward"].fill_null(float("nan")).to_numpy() for side in sides)
    texts = [side["transcript"].fill_null([]) for side in sides]
    preferred = pl.Series(preference(reward_N, reference_N, scale)).fill_nan(None)
    is_alone = ids[1].is_null()
    rows = pairs.with_columns(
        score=pl.select(pl.when(is_alone).then(sides[0]["alone"]).otherwise(preferred)).to_series(),
        reward=sides[0]["reward"],
        reference_reward=sides[1]["reward"],
        transcript=_as_json(texts[0].list.concat(texts[1])),
        n_tokens=sides[0]["n_tokens"].fill_null(0) + sides[1]["n_tokens"].fill_null(0),
    )
    return _with_ties(rows)


def _as_json(lists: pl.Series) -> pl.Series:
    """Lists of texts as JSON, null where nothing was written."""
    found = [json.dumps(list(texts), ensure_ascii=False) if any(texts) else None for texts in lists]
    return pl.Series("transcript", found, dtype=pl.String)
