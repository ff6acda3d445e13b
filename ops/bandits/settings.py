"""The settings of a simulation of outcome-based bandits: everything that decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ops.errors import ExperimentError
from ops.explain import explain
from ops.variants import FromList, Seed, Strict

Gap = Annotated[float, Field(gt=0.0, le=0.5)]
Count = Annotated[int, Field(ge=2)]

WHERE = "bandits"
REMEDY = "docs/science/bandits.md explains every setting"


class Bandits(Strict):
    """A simulation: one good outcome whose arms have the mean .5 + gap, all others .5.

    Attributes:
        name: the column ``experiment`` of the table, and the folder of the page.
        arms: numbers K of arms (responses), each at least ``outcomes``; the largest is drawn over the rounds.
        outcomes: number m of outcomes (final answers), at every K.
        class_sizes: arms per outcome. ``needle``: the good outcome has one arm, the others share the rest evenly;
            ``uniform``: K/m each; ``zipf``: in proportion to 1/rank, the good outcome last. Every outcome has an arm.
        gaps: the instances; the regret that is reported at a round is that of the worst of them.
        rounds: T, arms pulled.
        runs: simulated independently. The first half choose the worst gap at each round, the others are what is
            reported, and what the intervals resample; with one gap, all are.
        batch: n of the algorithm ``batch``, pulls between two updates.
        batch_weight: c, the weight of its penalty.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = "bandits"
    arms: Annotated[FromList[tuple[Count, ...]], Field(min_length=1)] = (10, 30, 100, 300, 1000, 3000)
    outcomes: Count = 10
    class_sizes: Literal["needle", "uniform", "zipf"] = "needle"
    gaps: Annotated[FromList[tuple[Gap, ...]], Field(min_length=1)] = (0.1, 0.2, 0.4)
    rounds: Annotated[int, Field(ge=10)] = 10_000
    runs: Count = 100
    batch: Annotated[int, Field(ge=2)] = 8
    batch_weight: Annotated[float, Field(gt=0.0)] = 0.2
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1_000
    seed: Seed = 0

    @property
    def choosing_runs(self) -> int:
        """How many runs, the first ones, choose the worst gap and count for nothing else."""
        return self.runs // 2 if len(self.gaps) > 1 else 0

    @model_validator(mode="after")
    def _sizes_agree(self) -> Bandits:
        if min(self.arms) < self.outcomes:
            raise ValueError(f"arms: expected at least one for each of {self.outcomes} outcomes, got {min(self.arms)}")
        if self.choosing_runs == 1:
            raise ValueError(f"runs: expected at least 4, as half of them choose the worst gap, got {self.runs}")
        for field, values in (("arms", self.arms), ("gaps", self.gaps)):
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: the same value twice in {list(values)}")
        return self


def bandit_settings(values: Mapping[str, Any]) -> Bandits:
    """Settings from a command line or a run's config; what is not named has its default.

    Raises:
        ExperimentError: names the field, what was found and what was expected.
    """
    try:
        return Bandits.model_validate(dict(values))
    except ValidationError as error:
        field, problem = explain(error, Bandits)
        raise ExperimentError(WHERE, problem, field=field, remedy=REMEDY) from None
