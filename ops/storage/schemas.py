"""The tables: names and columns are a contract with everyone who writes SQL.

``COLUMNS[table]`` lists the columns stored in Parquet, in order, with their DuckDB types. The
catalog puts ``experiment`` and ``iteration`` in front (from the manifest, because a Parquet file
can be shared by several experiments) and ``fingerprint`` behind.
"""

from __future__ import annotations

import polars as pl

COLUMNS: dict[str, dict[str, str]] = {
    "problems": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "task": "VARCHAR",
        "data": "VARCHAR",  # JSON
        "answer": "VARCHAR",
        "train_iteration": "INTEGER",  # the iteration that trains on it; NULL for the eval split
    },
    "generations": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "response": "VARCHAR",
        "answer": "VARCHAR",
        "verdict": "VARCHAR",
        "strict_verdict": "VARCHAR",
        "n_tokens": "INTEGER",
        "logprob": "DOUBLE",
        "seed": "BIGINT",
        "model_fingerprint": "VARCHAR",
        "prompt": "VARCHAR",
        "reason": "VARCHAR",
        "finish_reason": "VARCHAR",
        "engine": "VARCHAR",
        "engine_version": "VARCHAR",
        "response_id": "VARCHAR",
    },
    "verification_scores": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "verifier": "VARCHAR",
        "verifier_model": "VARCHAR",
        "score": "DOUBLE",
        "verdict": "VARCHAR",
        "transcript": "VARCHAR",
        "n_tokens": "INTEGER",
        "response_id": "VARCHAR",
    },
    "gap_metrics": {
        "split": "VARCHAR",
        "verifier": "VARCHAR",
        "filter": "VARCHAR",
        "threshold": "DOUBLE",
        "n_problems": "INTEGER",
        "n_responses": "INTEGER",
        "accuracy": "DOUBLE",
        "accuracy_low": "DOUBLE",
        "accuracy_high": "DOUBLE",
        "strict_accuracy": "DOUBLE",
        "filtered_accuracy": "DOUBLE",
        "filtered_accuracy_low": "DOUBLE",
        "filtered_accuracy_high": "DOUBLE",
        "gap": "DOUBLE",
        "gap_low": "DOUBLE",
        "gap_high": "DOUBLE",
        "relative_gap": "DOUBLE",
        "relative_gap_low": "DOUBLE",
        "relative_gap_high": "DOUBLE",
        "kept_fraction": "DOUBLE",
        "unparseable_fraction": "DOUBLE",  # responses whose verdict the verifier left unparseable
        "unparseable_response_fraction": "DOUBLE",  # responses that the grader could not parse
        "n_problems_kept_empty": "INTEGER",  # the filter kept nothing: they keep their unfiltered accuracy
        "n_problems_solved": "INTEGER",  # J(x) = 1: left out of the relative gap
        "auroc": "DOUBLE",
        "auroc_low": "DOUBLE",
        "auroc_high": "DOUBLE",
    },
    "diversity_metrics": {
        "split": "VARCHAR",
        "metric": "VARCHAR",  # pass_at_k, distinct_answers_in_k, answer_entropy_nats
        "k": "INTEGER",  # NULL for metrics without k
        "value": "DOUBLE",
        "low": "DOUBLE",
        "high": "DOUBLE",
        "n_problems": "INTEGER",
    },
    "finetune_data": {
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "prompt": "VARCHAR",
        "completion": "VARCHAR",
        "weight": "DOUBLE",
        "verdict": "VARCHAR",  # the truth, for audit; the filter never sees it except in the gold arm
        "response_id": "VARCHAR",
    },
    "models": {
        "role": "VARCHAR",  # base or finetuned
        "generates_iteration": "INTEGER",
        "model_fingerprint": "VARCHAR",
        "parent_fingerprint": "VARCHAR",
        "path": "VARCHAR",  # relative to MINDGAP_HOME, or the folder the user named
        "n_parameters": "BIGINT",
        "train_tokens": "BIGINT",
        "train_flops": "DOUBLE",
        "optimizer_steps": "INTEGER",
        "final_loss": "DOUBLE",
        "seconds": "DOUBLE",
    },
    "reports": {
        "answer": "VARCHAR",  # the hypothesis answered in one sentence, with its interval
        "html_path": "VARCHAR",  # relative to MINDGAP_HOME
        "plot_path": "VARCHAR",
    },
}

_POLARS = {
    "VARCHAR": pl.String,
    "INTEGER": pl.Int32,
    "BIGINT": pl.Int64,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
}


def polars_schema(table: str) -> dict[str, pl.DataType]:
    """Polars dtypes of ``table`` in column order."""
    return {name: _POLARS[kind]() for name, kind in COLUMNS[table].items()}


def conform(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with exactly the contract's columns, order and types.

    Raises:
        StorageError: for a missing, extra or uncastable column.
    """
    from ops.errors import StorageError

    wanted = polars_schema(table)
    missing = [name for name in wanted if name not in frame.columns]
    extra = [name for name in frame.columns if name not in wanted]
    if missing or extra:
        raise StorageError(
            f"table {table}",
            f"columns differ from the contract: missing {missing}, unexpected {extra}",
            remedy="change ops/storage/schemas.py together with the step that writes the table",
        )
    try:
        return frame.select(pl.col(name).cast(dtype, strict=True) for name, dtype in wanted.items())
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"table {table}", f"a column has the wrong type: {error}") from error
