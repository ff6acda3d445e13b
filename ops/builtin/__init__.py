"""Tiny decoders that the lab pretrains itself, after the measured recipe (docs/builtin-models.md)."""
