"""The work itself: plain Python that runs without Dagster."""
