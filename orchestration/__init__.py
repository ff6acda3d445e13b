"""Orchestration: the Dagster graph, and the ``mindgap`` command that runs it."""
