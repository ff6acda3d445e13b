"""Errors a user can act on: each names the place, the field and the remedy."""

from __future__ import annotations


class MindgapError(Exception):
    """Base of every error that Mindgap raises on purpose.

    Args:
        where: file, row, checkpoint or setting that is wrong, e.g. ``experiments/demo.yaml``.
        problem: what is wrong, with what was found and what was expected.
        field: dotted name of the field, when there is one.
        remedy: what to do about it.
    """

    def __init__(self, where: str, problem: str, *, field: str | None = None, remedy: str = "") -> None:
        self.where, self.field, self.problem, self.remedy = where, field, problem, remedy
        super().__init__(str(self))

    def __reduce__(self):
        return (_rebuild, (type(self), self.where, self.problem, self.field, self.remedy))

    def __str__(self) -> str:
        place = f"{self.where}: {self.field}" if self.field else self.where
        return f"{place}: {self.problem}" + (f"\n  remedy: {self.remedy}" if self.remedy else "")


def _rebuild(kind, where, problem, field, remedy):
    return kind(where, problem, field=field, remedy=remedy)


class ExperimentError(MindgapError):
    """An experiment file that cannot be run as written."""


class DatasetError(MindgapError):
    """A dataset file or row that cannot be used."""


class ModelError(MindgapError):
    """A checkpoint or tokenizer that cannot be loaded or does not fit the task."""


class EngineError(MindgapError):
    """An inference engine that is missing or cannot do what was asked."""


class IdentityError(MindgapError):
    """Something that cannot be hashed stably, so it cannot be part of a fingerprint."""


class StorageError(MindgapError):
    """Stored data that is missing, damaged or of the wrong shape."""
