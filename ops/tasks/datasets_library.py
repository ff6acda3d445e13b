"""Tasks whose problems are a published dataset: read from the user's files, or loaded through the library datasets.

The train and eval splits here are the dataset's own train and test splits. A revision is a commit hash,
so that the same experiment file always means the same problems.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ops.errors import DatasetError
from ops.graders.base import Grader, Item
from ops.graders.traced import Span
from ops.tasks.base import Task
from ops.tasks.rows import content_hash
from ops.types import Grade, Problem, Split

REVISION = "^[0-9a-f]{40}$"
_FILES = "give problems.train_file and problems.eval_file"


class DatasetTask(Task):
    """Base of tasks with a dataset. Subclasses say how one of its rows is read, and which grader compares.

    ``dataset``, ``dataset_config`` and ``revision`` (40 hexadecimal digits) matter where no problem files are given.
    """

    name: str
    dataset: str
    dataset_config: str | None = None
    revision: str | None = Field(None, pattern=REVISION)
    splits: ClassVar[Mapping[Split, str]] = {"train": "train", "eval": "test"}
    text_key: ClassVar[str] = "question"

    @abc.abstractmethod
    def make_grader(self) -> Grader:
        """The grader of this task's responses."""

    @abc.abstractmethod
    def prompt_suffix(self) -> str:
        """The sentence that asks for the answer format."""

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        """``count`` problems of the dataset's split; see ``Task.generate``.

        Raises:
            DatasetError: when the library is missing, the dataset cannot be loaded, or it has too few problems.
        """
        problems = self._all(split)
        random.Random(f"{self.dataset}:{split}:{seed}").shuffle(problems)
        if skip + count > len(problems):
            raise DatasetError(
                f"dataset {self.dataset}",
                f"{split} split has {len(problems)} distinct problems, {skip + count} asked for",
                field="problems",
                remedy="ask for fewer problems",
            )
        return problems[skip : skip + count]

    def capacity(self, split: Split) -> int | None:
        return None  # known once the dataset is loaded; that needs the network

    def _all(self, split: Split) -> list[Problem]:
        """Every distinct problem of a split; none of the examples, and of training none that evaluation has."""
        seen = {self.content_key(problem) for problem, _ in self.examples()}
        if split == "train":
            seen |= {self.content_key(problem) for problem in self._all("eval")}
        problems = []
        rows = load_rows(self.dataset, self.dataset_config, self.splits[split], self.revision)
        for index, row in enumerate(rows):
            problem = self.read_row(row, f"dataset {self.dataset}, split {self.splits[split]}, row {index}", split)
            key = self.content_key(problem)
            if key not in seen:
                seen.add(key)
                problems.append(problem)
        return problems

    def content_key(self, problem: Problem) -> str:
        return self.id_of(str(problem.data[self.text_key]))

    def id_of(self, text: str) -> str:
        """``gsm8k-0123456789abcdef``: the task and a hash of the problem's words."""
        return f"{self.name}-{content_hash(text)}"

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        return self.make_grader().grade(problem, response, finished)

    def grade_all(self, items: Sequence[Item]) -> list[Grade]:
        return self.make_grader().grade_all(items)

    @property
    def answer_is_part(self) -> bool:
        return self.make_grader().answer_is_part

    def answer_span(self, problem: Problem, response: str) -> Span | None:
        return self.make_grader().answer_span(problem, response)

    def question(self, problem: Problem) -> str:
        return f"{problem.data[self.text_key]}\n\n{self.prompt_suffix()}"


@lru_cache(maxsize=8)
def load_rows(dataset: str, config: str | None, split: str, revision: str | None) -> tuple[dict[str, Any], ...]:
    """All rows of one split of a dataset of the Hugging Face hub, in its order.

    Raises:
        DatasetError: when the revision is not pinned, the library is missing, or the dataset cannot be loaded.
    """
    where = f"dataset {dataset}"
    if revision is None:
        remedy = f"write the commit hash that its page shows, or {_FILES}"
        raise DatasetError(where, "the revision is not pinned", field="task.revision", remedy=remedy)
    if Path(dataset).exists():
        remedy = f"{_FILES}, whose content is part of the experiment's identity"
        raise DatasetError(where, "is a file or folder here, not a dataset's id", field="task.dataset", remedy=remedy)
    try:
        import datasets
    except ImportError:
        raise DatasetError(
            where,
            "the library datasets is not installed",
            field="task.dataset",
            remedy=f"{_FILES}, or install mindgap[datasets]",
        ) from None
    try:
        table = datasets.load_dataset(dataset, config, split=split, revision=revision)
    except Exception as error:  # the library raises many kinds, those of the network and of its files included
        first = next(iter(str(error).strip().splitlines()), "")[:200]
        raise DatasetError(
            where,
            f"cannot be loaded ({type(error).__name__}: {first})",
            field="task.dataset",
            remedy=f"{_FILES}, or check the network, the id and the revision",
        ) from None
    return tuple(dict(row) for row in table)
