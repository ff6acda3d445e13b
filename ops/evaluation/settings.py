"""What an experiment says of win rates, under ``evaluation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ops.evaluation.judges import JUDGES
from ops.evaluation.judges.base import Estimand, Judge
from ops.evaluation.labels import FileLabels, Labels
from ops.models import Askable
from ops.variants import FromList, Seed, Strict, union
from ops.verifiers.base import LABEL_PATTERN


class ComparedModel(Strict):
    """A model that is compared with the reference.

    ``model``: left out where responses are recorded; ``label``: what tables call it, by default the model's own name.
    """

    model: Askable | None = None
    label: str | None = Field(None, pattern=LABEL_PATTERN)

    @model_validator(mode="after")
    def _named(self) -> ComparedModel:
        if self.model is None and self.label is None:
            raise ValueError("label: the model's name in the file of responses, where there is no model")
        return self

    @property
    def called(self) -> str:
        """The label, or its default."""
        return self.label or (self.model.shown if self.model is not None else "")


class Evaluation(Strict):
    """Win rates of ``models`` against ``model`` of the experiment, or accuracies of all of them (2502.10563).

    ``estimand``: ``win_rate``: the probability that a model's response is preferred to the reference's, a tie counting
    one half; ``accuracy``: the probability that a response is correct.
    ``responses``: JSONL of responses written elsewhere, a row for each problem and model; then no model is asked.
    ``judges``: synthetic judgements, of all pairs.
    ``labels``: of some pairs, by people.
    ``strata``: estimate within categories of problems and weigh them by their share.
    ``missing_judgements``: of pairs that a judge could not judge: ``error``; ``exclude`` them, counted; ``mean``: give
    them the judge's mean, which keeps the estimate unbiased.
    ``folds``: of cross-fitting, by problem. ``seed``: of the pairs that are drawn for people to label.
    """

    estimand: Estimand = "win_rate"
    models: FromList[tuple[ComparedModel, ...]] = ()
    responses: str | None = None
    judges: FromList[tuple[union(JUDGES), ...]] = ()  # type: ignore[valid-type]
    labels: Labels = FileLabels()
    strata: Literal["none", "category"] = "none"
    missing_judgements: Literal["error", "exclude", "mean"] = "error"
    folds: int = Field(5, ge=2, le=50)
    seed: Seed = 0
    version: ClassVar[str] = "1"

    @model_validator(mode="after")
    def _combinations(self) -> Evaluation:
        if self.estimand == "win_rate" and not self.models:
            raise ValueError("models: at least 1 model to compare with the reference, got an empty list")
        self._check_models()
        self._check_judges()
        return self

    def _check_models(self) -> None:
        seen: list[str] = []
        for i, compared in enumerate(self.models):
            if compared.called in seen:
                raise ValueError(f"models[{i}].label: a label of its own, {compared.called} is taken")
            if self.responses is not None and compared.model is not None:
                raise ValueError(
                    f"models[{i}].model: nothing with responses (the file has what it wrote), got {compared.called}"
                )
            if self.responses is None and compared.model is None:
                raise ValueError(f"models[{i}].model: the model to ask, or responses: a file of what models wrote")
            seen.append(compared.called)

    def _check_judges(self) -> None:
        seen: dict[str, Judge] = {}
        for i, judge in enumerate(self.judges):
            if judge.called in seen:
                raise ValueError(f"judges[{i}].label: a label of its own, {judge.called} is taken")
            if self.estimand not in judge.estimands:
                raise ValueError(f"judges[{i}].name: a judge of {self.estimand}, got {judge.name}")
            if judge.learns:
                of = getattr(judge, "of", None)
                if of not in seen or seen[of].learns:
                    raise ValueError(
                        f"judges[{i}].of: the label of a judge listed before it that is not fine-tuned itself "
                        f"({', '.join(seen) or 'none'}), got {of}"
                    )
                if not getattr(seen[of], "can_learn", False):
                    raise ValueError(
                        f"judges[{i}].of: a judge with a scalar reward (bradley_terry with logit or p_true, "
                        f"reward_model), got {of}"
                    )
                if len(self.models) + (self.estimand == "accuracy") < 2:
                    raise ValueError(
                        f"judges[{i}].name: at least 2 judged models with {judge.name} (it learns from the labels of "
                        "the others), got 1"
                    )
            seen[judge.called] = judge

    @property
    def prompted_judges(self) -> tuple[Judge, ...]:
        """Those that need no labels."""
        return tuple(judge for judge in self.judges if not judge.learns)

    @property
    def learning_judges(self) -> tuple[Judge, ...]:
        """Those that are fine-tuned on labels."""
        return tuple(judge for judge in self.judges if judge.learns)

    def estimate_identity(self) -> Mapping[str, Any]:
        """What decides the estimates, beside pairs, judgements and labels."""
        return self.model_dump(include={"estimand", "strata", "missing_judgements", "folds"})
