"""Immutable Parquet, manifests as commits, and a DuckDB catalog rebuilt from them."""
