"""Stages: one module per asset family. Each reads its inputs from the store, works, and commits its output."""
