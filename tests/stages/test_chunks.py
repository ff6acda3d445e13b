"""Committing in the background: order, bounds, errors, what happens when the engine or the disk fails."""

import threading
import time
from types import SimpleNamespace

import pytest

from ops.stages import chunks
from ops.stages.chunks import ChunkWriter


def test_everything_is_committed_in_order_and_in_halves_of_a_chunk():
    done = []
    with ChunkWriter(lambda rows, hurry: done.append(rows), chunk_rows=8) as writer:
        for start in range(0, 30, 3):
            writer.add(list(range(start, start + 3)))
    assert [row for rows in done for row in rows] == list(range(30))
    assert all(len(rows) <= 4 for rows in done)


def test_at_most_a_chunk_is_uncommitted_at_any_time():
    committed, added, worst = [], 0, 0

    def commit(rows, hurry):
        time.sleep(0.002)
        committed.extend(rows)

    with ChunkWriter(commit, chunk_rows=10) as writer:
        for i in range(300):
            writer.add([i])
            added += 1
            worst = max(worst, added - len(committed))
    assert worst <= 10
    assert committed == list(range(300))


def test_the_engine_goes_on_while_a_commit_runs():
    """The first commit waits for something that happens only after more rows were added."""
    more = threading.Event()
    with ChunkWriter(lambda rows, hurry: more.wait(10) or pytest.fail("stood still"), chunk_rows=4) as writer:
        writer.add([1, 2])
        writer.add([3])
        more.set()


def test_a_slow_commit_is_told_to_hurry():
    seen = []

    def commit(rows, hurry):
        seen.append(hurry.wait(5))

    with ChunkWriter(commit, chunk_rows=2) as writer:
        writer.add([1])
        writer.add([2])
    assert seen == [True, True]
    assert writer.waited_seconds < 4


def test_rows_are_committed_after_a_while_even_if_they_are_few(monkeypatch):
    done, now, committed = [], 100.0, threading.Event()
    monkeypatch.setattr(chunks, "time", SimpleNamespace(monotonic=lambda: now))

    def commit(rows, hurry):
        done.append(rows)
        committed.set()

    with ChunkWriter(commit, chunk_rows=1000, chunk_seconds=60.0) as writer:
        writer.add([1])
        now = 159.5
        writer.add([2])
        now = 160.0
        writer.add([3])
        assert committed.wait(10)
        assert done == [[1, 2, 3]]  # not [1, 2] at 159.5
        now = 219.5  # it counts from the last commit
        writer.add([4])
        now = 220.0
        committed.clear()
        writer.add([5])
        assert committed.wait(10)
        assert done[1:] == [[4, 5]]


def test_what_was_collected_is_kept_when_the_engine_fails():
    done = []
    with pytest.raises(RuntimeError, match="engine"), ChunkWriter(lambda rows, hurry: done.append(rows)) as writer:
        writer.add([1, 2, 3])
        raise RuntimeError("engine")
    assert done == [[1, 2, 3]]


def test_a_failed_commit_stops_the_work():
    def commit(rows, hurry):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), ChunkWriter(commit, chunk_rows=2) as writer:
        for i in range(100):
            writer.add([i])
    with pytest.raises(OSError, match="disk full"), ChunkWriter(commit) as writer:
        writer.add([1])
    with pytest.raises(RuntimeError, match="engine"), ChunkWriter(commit) as writer:
        writer.add([1])
        raise RuntimeError("engine")
