"""The experiment: what a researcher writes in ``experiments/NAME.yaml``, validated before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from ops.adapt import ADAPTATIONS
from ops.builtin.sizes import RECIPES
from ops.engines import ENGINES
from ops.evaluation.combinations import check_evaluation, check_truth
from ops.evaluation.settings import Evaluation
from ops.exploration.answer_mask import check_mask
from ops.exploration.settings import Exploration
from ops.models import AskableModel, BuiltinModel, FolderModel, HubModel, RecordedModel
from ops.selection import FILTERS
from ops.tasks import TASKS
from ops.training import METHODS
from ops.variants import FromList, Seed, Strict, union
from ops.verifiers import VERIFIERS
from ops.verifiers.base import DerivedVerifier, ModelVerifier, Verifier
from ops.verifiers.choices import ChoiceVerifier
from ops.verifiers.token_scores import TokenScore

__all__ = ["BuiltinModel", "Experiment", "FolderModel", "HubModel", "RecordedModel"]

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"


class Problems(Strict):
    """Which problems, and how many."""

    seed: Seed = 0
    train_per_iteration: int = Field(400, ge=1)
    eval: int = Field(200, ge=2)
    train_file: str | None = None
    eval_file: str | None = None


class Sampling(Strict):
    """How responses are sampled; n is set apart for the two splits."""

    n_train: int = Field(16, ge=1)
    n_eval: int = Field(64, ge=1)
    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(24, ge=1, le=32768)
    seed: Seed = 0


class Statistics(Strict):
    """How intervals are computed: percentile bootstrap over problems."""

    resamples: int = Field(2000, ge=200, le=100_000)
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    seed: Seed = 0


class Limits(Strict):
    """Limits that the asset checks and the stopping rules hold results to.

    ``gap``: ``gap_closed`` fires where the gap's interval reaches down to it. ``pass_at_k_fall``:
    ``diversity_collapsed`` fires where the interval of pass@k at the largest k, minus that of iteration 0, lies below
    minus this. ``drift_growth``: ``drift_grows`` fires where the interval of the score drift, minus that of iteration
    0, lies above it.
    """

    unparseable_fraction: float = Field(0.2, ge=0.0, le=1.0)
    gap: float = Field(0.0, ge=0.0, le=1.0)
    pass_at_k_fall: float = Field(0.0, ge=0.0, le=1.0)
    drift_growth: float = Field(0.0, ge=0.0, le=1.0)


KL_RESPONSES = 16
"""Evaluation responses of each problem that are read under the base model, unless the experiment says otherwise."""


class Monitoring(Strict):
    """What is measured beside the gap, where it costs something or needs a number.

    ``kl_responses``: evaluation responses of each problem that are read under the base model, for the KL divergence;
    None: 16 with an engine that reads given texts, else none; 0: none. ``balance_target``: correct distinct responses
    of a problem that are enough, n* of the balance score (2412.17256).
    """

    kl_responses: int | None = Field(None, ge=0)
    balance_target: int = Field(4, ge=1)


StopRule = Literal["gap_closed", "diversity_collapsed", "drift_grows"]
"""Rules that are judged at every iteration; those that an experiment lists under ``stop`` end its loop."""


class Prompts(Strict):
    """Where the wording of prompts comes from: the built-in templates, or a folder of the user's first."""

    folder: str | None = None


class Experiment(Strict):
    """One experiment = one file = one partition. The hypothesis comes first.

    With ``iterations: 0`` nothing is trained: responses are verified and measured, and ``filter`` and ``training`` may
    be left out. With ``exploration`` there is no loop and no verifier: a policy is trained by reinforcement learning
    on the truth of its answers, and evaluated. With ``evaluation`` nothing is trained on responses either: models are
    compared by human labels and synthetic judgements.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # pydantic's own words would show secrets of nested settings

    name: str = Field(pattern=NAME_PATTERN)
    hypothesis: str = Field(min_length=10)
    model: Annotated[AskableModel | RecordedModel, Field(discriminator="kind")]
    task: union(TASKS)  # type: ignore[valid-type]
    problems: Problems = Problems()
    sampling: Sampling = Sampling()
    prompts: Prompts = Prompts()
    verifiers: FromList[tuple[union(VERIFIERS), ...]]  # type: ignore[valid-type]
    filter: union(FILTERS) = FILTERS["none"]()  # type: ignore[valid-type]
    gap_filters: FromList[tuple[union(FILTERS), ...]] = ()  # type: ignore[valid-type]
    iterations: int = Field(3, ge=0, le=20)
    adapt: union(ADAPTATIONS) | None = None  # type: ignore[valid-type]
    training: union(METHODS) = METHODS["sft"]()  # type: ignore[valid-type]
    engine: union(ENGINES) = ENGINES["transformers"]()  # type: ignore[valid-type]
    statistics: Statistics = Statistics()
    limits: Limits = Limits()
    monitoring: Monitoring = Monitoring()
    stop: FromList[tuple[StopRule, ...]] = ()
    exploration: Exploration | None = None
    evaluation: Evaluation | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_loop_with_exploration(cls, value: Any) -> Any:
        """Reinforcement learning has no iterations, and the truth is its only verifier."""
        if isinstance(value, dict) and value.get("exploration") is not None:
            return {"iterations": 0, "verifiers": (), **value}
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_loop_with_evaluation(cls, value: Any) -> Any:
        """One response of each model to a prompt, unless the file says otherwise; judges replace verifiers."""
        if not isinstance(value, dict) or value.get("evaluation") is None:
            return value
        sampling = value.get("sampling", {})
        if isinstance(sampling, dict):
            sampling = {"n_eval": 1, **sampling}
        return {"iterations": 0, "verifiers": (), **value, "sampling": sampling}

    @model_validator(mode="before")
    @classmethod
    def _recorded_by_default(cls, value: Any) -> Any:
        """Replayed responses need no model, and bring verifiers with them."""
        engine = value.get("engine") if isinstance(value, dict) else None
        if not isinstance(engine, dict) or engine.get("name") != "replay":
            return value
        label = Path(str(engine.get("path", "recorded"))).stem[:100] or "recorded"
        return {"model": {"kind": "recorded", "label": label}, "verifiers": (), **value}

    @model_validator(mode="after")
    def _combinations(self) -> Experiment:
        if self.iterations > 0 and self.exploration is None and self.evaluation is None:
            for field in ("filter", "training"):
                if field not in self.model_fields_set:
                    raise ValueError(f"{field}: a mapping (or iterations: 0, where nothing is trained), got nothing")
        if self.exploration is not None:
            self._check_exploration(self.exploration)
        elif self.evaluation is not None:
            check_evaluation(self, self.evaluation)
        elif self.engine.replays:
            self._check_replay()
        elif not self.verifiers:
            raise ValueError("verifiers: at least 1 item, got an empty list")
        self._check_verifiers()
        self._check_engine()
        self._check_filters()
        self._check_adapt()
        self._check_models()
        check_truth(self)
        self._check_stop()
        if self.iterations > 0:
            self.training.check(self.filter)
        most = max(1 if self.evaluation is not None else self.sampling.n_train, self.sampling.n_eval)
        if self.sampling.temperature == 0.0 and most > 1:
            raise ValueError("sampling.temperature: above 0 when n is above 1 (greedy samples are all the same)")
        has_training_problems = self.evaluation is None
        if has_training_problems and (self.problems.train_file is None) != (self.problems.eval_file is None):
            raise ValueError("problems.train_file: both train_file and eval_file, or neither")
        if self.problems.eval_file is None and not self.engine.replays:
            self._check_capacity()
        return self

    def refuse_loop(self, kind: str, why: str, *others: str) -> None:
        """Refuse what only experiments with a loop have."""
        for field in ("verifiers", "filter", "gap_filters", "training", "adapt", "stop", *others):
            if field in self.model_fields_set and getattr(self, field) != type(self).model_fields[field].default:
                if field == "verifiers" and not self.verifiers:
                    continue
                raise ValueError(f"{field}: nothing with {kind} ({why})")

    def _check_exploration(self, exploration: Exploration) -> None:
        self.refuse_loop("exploration", "its policy is trained on the truth of its answers", "evaluation")
        if self.iterations > 0:
            raise ValueError(f"iterations: 0 with exploration (its steps are exploration.steps), got {self.iterations}")
        if not self.engine.trains_policies:
            raise ValueError(
                f"engine.name: transformers or vllm with exploration (they take a policy's weights after every step), "
                f"got {self.engine.name}"
            )
        sampling, problems = self.sampling, self.problems
        if sampling.n_train != Sampling.model_fields["n_train"].default:
            raise ValueError(
                "sampling.n_train: nothing with exploration (its groups are exploration.responses_per_problem), "
                f"got {sampling.n_train}"
            )
        if sampling.temperature == 0.0 or sampling.top_p < 1.0:
            raise ValueError(
                "sampling: temperature above 0 and top_p 1 with exploration (the gradient is that of the distribution "
                f"that responses are drawn from), got temperature {sampling.temperature:g}, top_p {sampling.top_p:g}"
            )
        if exploration.problems_per_step > problems.train_per_iteration:
            raise ValueError(
                "exploration.problems_per_step: at most problems.train_per_iteration "
                f"({problems.train_per_iteration}), got {exploration.problems_per_step}"
            )
        check_mask(exploration.bonus, self.task)

    def _check_replay(self) -> None:
        for field in ("problems", "sampling"):
            if field in self.model_fields_set and getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(f"{field}: nothing with engine replay (the file holds problems and responses)")
        if self.iterations > 0:
            raise ValueError("iterations: 0 with engine replay (recorded responses are measured, not iterated)")

    def _check_verifiers(self) -> None:
        seen: dict[str, Verifier] = {}
        for i, verifier in enumerate(self.verifiers):
            if verifier.called in seen:
                raise ValueError(f"verifiers[{i}].label: a label of its own, {verifier.called} is taken")
            if verifier.name == "recorded" and not self.engine.replays:
                raise ValueError(f"verifiers[{i}].name: a verifier of responses sampled here, got recorded")
            if isinstance(verifier, DerivedVerifier):
                for member in verifier.members:
                    if member not in seen:
                        raise ValueError(
                            f"verifiers[{i}].of: labels of verifiers listed before it "
                            f"({', '.join(seen) or 'none'}), got {member}"
                        )
                try:
                    verifier.check_members({name: seen[name] for name in verifier.members})
                except ValueError as error:
                    raise ValueError(f"verifiers[{i}].{error}") from None
            seen[verifier.called] = verifier

    def _check_engine(self) -> None:
        engine = self.engine
        if self.iterations > 0 and not engine.loads_checkpoints:
            raise ValueError(f"iterations: 0 with engine {engine.name}, whose server cannot load a model trained here")
        for i, verifier in enumerate(self.verifiers):
            if isinstance(verifier, TokenScore) and not engine.reads_distributions:
                raise ValueError(
                    f"verifiers[{i}].name: no {verifier.name} with engine {engine.name}, which does not give whole "
                    "next-token distributions (transformers does)"
                )
            if isinstance(verifier, ChoiceVerifier) and not engine.reads_choices:
                raise ValueError(
                    f"verifiers[{i}].name: no {verifier.name} with engine {engine.name}, which is told to ask for no "
                    "log-probabilities (logprobs: true, where the server has them)"
                )
        if self.monitoring.kl_responses and (engine.replays or not engine.reads_distributions):
            why = (
                "no model here wrote the responses"
                if engine.replays
                else "it cannot read given texts, transformers can"
            )
            raise ValueError(
                f"monitoring.kl_responses: 0 with engine {engine.name} ({why}), got {self.monitoring.kl_responses}"
            )
        if not engine.loads_checkpoints:
            self._check_one_model()

    def _check_one_model(self) -> None:
        """A server that somebody else runs has one model: the generator's, or with replay the verifiers'."""
        served = None if self.engine.replays else self.model
        for i, verifier in enumerate(self.verifiers):
            asked = (verifier.model or self.model) if isinstance(verifier, ModelVerifier) else None
            if asked is None or isinstance(asked, RecordedModel):
                continue
            served = served or asked
            if asked != served:
                raise ValueError(
                    f"verifiers[{i}].model: the one model of the engine's server ({served.shown}), got {asked.shown}"
                )

    def _check_filters(self) -> None:
        names = [verifier.called for verifier in self.verifiers]
        filters = {"filter": self.filter} | {f"gap_filters[{i}]": item for i, item in enumerate(self.gap_filters)}
        for i, item in enumerate(self.gap_filters):
            if item in self.gap_filters[:i]:
                raise ValueError(f"gap_filters[{i}]: each filter once, {item.label} is there already")
        for field, item in filters.items():
            for name in item.verifier_names:
                if name not in names:
                    raise ValueError(f"{field}.verifier: one of the listed verifiers ({', '.join(names)}), got {name}")

    def _check_adapt(self) -> None:
        if self.adapt is None:
            return
        if self.engine.replays:
            raise ValueError("adapt: null with engine replay (recorded responses have been sampled already)")
        if self.iterations == 0:
            raise ValueError("adapt: null with iterations: 0 (it chooses what the next model is trained on)")
        if self.adapt.problems > self.problems.train_per_iteration:
            raise ValueError(
                f"adapt.problems: at most problems.train_per_iteration ({self.problems.train_per_iteration}), "
                f"got {self.adapt.problems}"
            )
        try:
            self.adapt.check(self.filter, {verifier.called: verifier for verifier in self.verifiers})
        except ValueError as error:
            raise ValueError(f"adapt.{error}") from None

    def _check_models(self) -> None:
        if isinstance(self.model, RecordedModel) and not self.engine.replays and self.evaluation is None:
            raise ValueError("model.kind: builtin, folder or hub (recorded goes with engine replay), got recorded")
        models = [self.model, *(model for _, model in self.verifier_models())]
        for model in models:
            if isinstance(model, BuiltinModel):
                RECIPES[model.recipe].check_task(self.task)
        if isinstance(self.model, RecordedModel):
            for i, verifier in enumerate(self.verifiers):
                if isinstance(verifier, ModelVerifier) and verifier.model is None:
                    raise ValueError(f"verifiers[{i}].model: the model to ask (the responses' own is recorded only)")
        if not isinstance(self.model, BuiltinModel) and self.iterations > 0 and self.training.replay_fraction > 0:
            raise ValueError(
                "training.replay_fraction: 0 with a model that is not built in (there are no pretraining documents)"
            )

    def _check_stop(self) -> None:
        for i, rule in enumerate(self.stop):
            if rule in self.stop[:i]:
                raise ValueError(f"stop[{i}]: each rule once, {rule} is there already")
        if self.stop and self.iterations == 0:
            raise ValueError("stop: nothing with iterations: 0, where there is no loop to end")
        if "diversity_collapsed" in self.stop and self.sampling.n_eval < 2:
            raise ValueError("sampling.n_eval: at least 2 with stop diversity_collapsed (pass@1 is accuracy), got 1")
        if "drift_grows" in self.stop and all(item.score_range is None for item in self.verifiers):
            raise ValueError(
                "stop: no drift_grows where no verifier's scores have a range (drift is the mean score as a "
                "probability, minus accuracy)"
            )

    def _check_capacity(self) -> None:
        wanted = {"train": self.problems.train_per_iteration * (self.iterations + 1), "eval": self.problems.eval}
        for split, count in wanted.items():
            if split == "train" and self.evaluation is not None:
                continue
            capacity = self.task.capacity(split)
            if capacity is not None and count > capacity:
                if split == "eval":
                    raise ValueError(f"problems.eval: at most {capacity}, all there are of this task, got {count}")
                raise ValueError(
                    f"problems.train_per_iteration: at most {capacity // (self.iterations + 1)} ({capacity} distinct "
                    f"training problems for iterations 0..{self.iterations}), got {self.problems.train_per_iteration}"
                )

    def verifier_models(self) -> list[tuple[int, AskableModel]]:
        """(place in ``verifiers``, model) of the verifiers that ask another model than the generator."""
        return [
            (i, verifier.model)
            for i, verifier in enumerate(self.verifiers)
            if isinstance(verifier, ModelVerifier) and verifier.model is not None
        ]

    @property
    def kl_responses(self) -> int:
        """Evaluation responses of each problem that are read under the base model."""
        if self.monitoring.kl_responses is not None:
            return self.monitoring.kl_responses
        return KL_RESPONSES if self.engine.reads_distributions and not self.engine.replays else 0

    @property
    def chooses_threshold(self) -> bool:
        """Whether a pilot of each iteration chooses the threshold of the training filter."""
        return self.adapt is not None and bool(self.adapt.thresholds)

    def measured_filters(self) -> tuple[Any, ...]:
        """Filters whose gap is reported: ``gap_filters``, or one per verifier; the training filter always."""
        chosen = list(self.gap_filters) or [verifier.default_filter() for verifier in self.verifiers]
        if self.filter.verifier_names and self.filter not in chosen:
            chosen.append(self.filter)
        return tuple(chosen)
