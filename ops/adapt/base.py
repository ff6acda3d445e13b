"""What an adaptation is: before an iteration samples, a pilot says at which temperature, and what the filter keeps."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError

from ops.estimation.balance import KeptCounts
from ops.selection.base import Filter
from ops.variants import FromList, Strict
from ops.verifiers.base import Verifier

THRESHOLD_FIELDS = {"threshold": "threshold", "quantile": "q"}
"""By filter: its field that ``thresholds`` stand for."""

Temperature = Annotated[float, Field(gt=0.0, le=10.0)]


class Adaptation(Strict, abc.ABC):
    """Base of adaptations. Subclasses add ``name: Literal[...]`` and say what a selection is worth.

    Attributes:
        temperatures: to choose from, in the order of preference among equals.
        thresholds: of the training filter, likewise; empty: the filter's own.
        problems: the pilot's: the first so many training problems of the iteration.
        truth: what counts as correct in the pilot: the grades of its responses, or what the verifier accepts.
    """

    name: str
    temperatures: FromList[Annotated[tuple[Temperature, ...], Field(min_length=1)]]
    thresholds: FromList[tuple[float, ...]] = ()
    problems: int = Field(60, ge=2)
    truth: Literal["labels", "verifier"] = "labels"
    version: ClassVar[str]

    @abc.abstractmethod
    def values(self, counts: KeptCounts, target: int) -> np.ndarray:
        """What a selection is worth, float64 [P]; the mean over problems is what is to be highest.

        Args:
            counts: what it keeps of each problem.
            target: ``monitoring.balance_target``.
        """

    def filters(self, item: Filter) -> tuple[Filter, ...]:
        """The training filter with each of the thresholds.

        Raises:
            ValueError: ``field: what was expected``, where the filter has no threshold or cannot have one of these.
        """
        if not self.thresholds:
            return (item,)
        field = THRESHOLD_FIELDS.get(item.name)
        if field is None:
            takers = " or ".join(THRESHOLD_FIELDS)
            raise ValueError(f"thresholds: an empty list with filter {item.name} (those of {takers} can be chosen)")
        found: list[Filter] = []
        for i, value in enumerate(self.thresholds):
            try:
                found.append(type(item).model_validate({**item.model_dump(), field: value}))
            except ValidationError as error:
                raise ValueError(
                    f"thresholds[{i}]: a {field} of filter {item.name}, got {value} ({error.errors()[0]['msg']})"
                ) from None
        return tuple(found)

    def check(self, item: Filter, verifiers: Mapping[str, Verifier]) -> None:
        """Refuse what does not go with the training filter.

        Args:
            item: the training filter.
            verifiers: all of the experiment by label.

        Raises:
            ValueError: ``field: what was expected``, relative to this adaptation.
        """
        for field in ("temperatures", "thresholds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: each value once")
        self.filters(item)
        if self.truth == "verifier":
            read = item.verifier_names
            if len(read) != 1:
                raise ValueError(f"truth: labels with filter {item.name}, which does not read exactly one verifier")
            if verifiers[read[0]].default_threshold == -np.inf:
                raise ValueError(f"truth: labels with {read[0]}, which has no threshold of its own and accepts all")
