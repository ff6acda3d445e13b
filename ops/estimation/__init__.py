"""Estimators: each with an interval that resamples problems, never single responses."""
