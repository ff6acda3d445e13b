"""How long storage takes: commits, a catalog of many manifests, its swap, and the queries on it.

Run as ``python benchmarks/storage.py [EXPERIMENTS] [ITERATIONS]``; the defaults make 2,000 materializations.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ops.storage.catalog import rebuild_catalog  # noqa: E402
from ops.storage.layout import asset_key  # noqa: E402
from ops.storage.query import query  # noqa: E402
from ops.storage.schemas import polars_schema  # noqa: E402
from ops.storage.store import Provenance, Store  # noqa: E402

TABLES = ("generations", "verification_scores", "gap_metrics", "diversity_metrics", "finetune_data")
ROWS = {"gap_metrics": 4, "diversity_metrics": 30}


def filler(table: str, rows: int) -> pl.DataFrame:
    """``rows`` rows of the table's types."""
    number = pl.int_range(rows, eager=True)
    text = pl.select(pl.format("text of row {}", number)).to_series()
    schema = polars_schema(table)
    return pl.DataFrame({name: (text if kind == pl.String() else number).cast(kind) for name, kind in schema.items()})


def timed(label: str, work: Callable[[], Any], count: int = 1) -> Any:
    """Run ``work`` and print its seconds, each where ``count`` is above 1."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    each = f"   {1000 * seconds / count:8.2f} ms each" if count > 1 else ""
    print(f"{label:<58} {seconds:8.3f} s{each}")
    return result


def fill(store: Store, experiments: int, iterations: int, rows: int) -> int:
    """Commit every table of every experiment; returns the number of materializations."""
    frames = {table: filler(table, ROWS.get(table, rows)) for table in TABLES}
    count = 0
    for e in range(experiments):
        plan = {asset_key(t, k): f"{e}-{k}" for t in TABLES for k in range(iterations)}
        store.register_experiment(f"e{e}", {"hypothesis": "It rises."}, plan, run_id="r")
        for k in range(iterations):
            for table in TABLES:
                where = dict(experiment=f"e{e}", asset=table, iteration=k, fingerprint=f"{e}-{k}")
                store.commit_table(table, frames[table], provenance=Provenance("r", "1", 0.1, False, {}), **where)
                count += 1
    return count


def main() -> None:
    """Print the table."""
    experiments, iterations = (int(text) for text in (sys.argv[1:] + ["80", "5"][len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        count = experiments * iterations * len(TABLES)
        timed(f"commit of {count} tables", lambda: fill(store, experiments, iterations, 200), count)
        timed(f"catalog of {count} materializations", lambda: rebuild_catalog(store.home))
        timed("catalog again, nothing changed", lambda: rebuild_catalog(store.home))
        big = filler("generations", 1_000_000)
        where = dict(experiment="big", asset="generations", iteration=0, fingerprint="big")
        store.register_experiment("big", {}, {"iteration_0/generations": "big"}, run_id="r")
        timed(
            "commit of 1,000,000 generations",
            lambda: store.commit_table("generations", big, provenance=Provenance("r", "1", 0.1, False, {}), **where),
        )
        assert store.read("generations", "big").height == 1_000_000
        timed("catalog after one more commit", lambda: rebuild_catalog(store.home))
        for sql in (
            "SELECT experiment, iteration, max(accuracy) FROM gap_metrics GROUP BY ALL",
            "SELECT count(*), avg(n_tokens) FROM generations WHERE experiment = 'e1' AND iteration = 2",
            "SELECT verdict, count(*) FROM generations WHERE experiment = 'big' GROUP BY ALL",
            "SELECT experiment, count(*) FROM generations GROUP BY ALL",
        ):
            timed(sql[:58], lambda sql=sql: query(store.home, sql))
        pool = store.pool("samples", "p", {"response_id": pl.String(), "text": pl.String()})
        parts = [pl.DataFrame({"response_id": [f"{c}-{i}" for i in range(512)], "text": "x" * 40}) for c in range(200)]
        timed("200 chunks of 512 samples into a pool", lambda: [pool.append(part) for part in parts], 200)
        timed("keys of that pool", pool.keys)
        timed("all rows of that pool", pool.read)


if __name__ == "__main__":
    main()
