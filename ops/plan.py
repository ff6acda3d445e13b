"""The plan: the fingerprint of everything an experiment will compute, known before any of it runs.

Two experiments that agree on a step's code, settings and inputs plan the same fingerprint for it
and so share its result. ``Plan.fingerprints`` maps asset names (``problems``, ``base_model``,
``iteration_0/generations`` ...) to fingerprints; pools hold single samples and are shared more widely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.adapt.base import THRESHOLD_FIELDS, Adaptation
from ops.config import Experiment
from ops.evaluation.plan import EvaluationPlan, plan_evaluation
from ops.evaluation.settings import Evaluation
from ops.exploration.settings import Exploration
from ops.identity import fingerprint
from ops.models import RecordedModel, askable
from ops.plan_parts import (
    CODE_VERSIONS,
    model_fingerprint,
    pool_fingerprint,
    prompt_identity,
    recorded_digest,
    verification_pool_fingerprint,
)
from ops.tasks.rows import problem_file_digest
from ops.verifiers.base import ModelVerifier

__all__ = ["CODE_VERSIONS", "Plan", "make_plan", "model_fingerprint", "prompt_identity"]

ITERATION_ASSETS = (
    "sampling_choices",  # with ``adapt`` only; no asset of the graph: the step that samples commits it
    "generations",
    "verification_scores",
    "gap_metrics",
    "verifier_metrics",
    "calibration_bins",
    "threshold_sweeps",
    "verifier_pairs",
    "test_time_metrics",
    "diversity_metrics",
    "policy_shift",
    "iteration_changes",
    "problem_flips",
    "stopping_rules",
    "finetune_data",
    "selection_metrics",
    "model",
)
"""Of one iteration, in the order in which they are made."""

TRAINING_ASSETS = ("finetune_data", "selection_metrics", "model")
"""Those that the last iteration does not have."""

CHANGE_ASSETS = ("iteration_changes", "problem_flips")
"""Those that iteration 0 does not have: they compare with the iteration before and with iteration 0."""

VERIFIER_ASSETS = ("verifier_metrics", "calibration_bins", "threshold_sweeps", "verifier_pairs", "test_time_metrics")
"""Tables about the verifiers of one iteration."""

MEASURED_ASSETS = ("gap_metrics", *VERIFIER_ASSETS, "diversity_metrics", "policy_shift")
"""Tables that are estimated at every iteration with the experiment's statistics."""

EVALUATION_ASSETS = ("pairs", "human_labels", "synthetic_judgements", "tuned_judgements", "win_rates")
"""Of an experiment with ``evaluation``, in the order in which they are made; their names begin with ``evaluation/``."""

EXPLORATION_ASSETS = ("policy", "rollouts", "training_dynamics", "evaluation")
"""Of an experiment with ``exploration``, in the order in which they are made; their names in plans, in the graph and on
disk begin with ``exploration/``."""

ESTIMATED_ASSETS = (
    "sampling_choices",
    *MEASURED_ASSETS,
    *CHANGE_ASSETS,
    "selection_metrics",
    "saturation",
    "exploration/training_dynamics",
    "exploration/evaluation",
    "evaluation/win_rates",
)
"""All that draw from ``statistics.seed``."""


def measures(asset: str, iteration: int, iterations: int) -> bool:
    """Whether an experiment with iterations 0..``iterations`` has that asset at ``iteration``."""
    first = 1 if asset in CHANGE_ASSETS else 0
    return first <= iteration <= (iterations - 1 if asset in TRAINING_ASSETS else iterations)


def exploration_asset(asset: str) -> str:
    """``policy`` -> ``exploration/policy``."""
    return f"exploration/{asset}"


def evaluation_asset(asset: str) -> str:
    """``pairs`` -> ``evaluation/pairs``."""
    return f"evaluation/{asset}"


def asset_name(asset: str, iteration: int | None = None) -> str:
    """``generations``, 2 -> ``iteration_2/generations``."""
    return asset if iteration is None else f"iteration_{iteration}/{asset}"


@dataclass(frozen=True)
class Plan:
    """Fingerprints of one experiment.

    Attributes:
        fingerprints: by asset name.
        models: the model that generates at iteration k, k = 0..iterations.
        sample_pools: pool of single samples at iteration k, drawn at ``sampling.temperature``.
        pilot_pools: per iteration, the pool of single samples at each temperature to choose from; empty without
            ``adapt``. One of them is the training responses' own: known when ``sampling_choices`` is there.
        verification_pools: per iteration, the pool of single verifications of every verifier that asks a model, by its
            label.
        verifier_models: the model that a cross-verifier asks, by label; the others ask the generator.
        base_logprob_pool: pool of log-probabilities of single responses under the base model, for ``policy_shift``.
        policies: of an experiment with ``exploration``, the model after so many steps of it: the base model after 0,
            then every snapshot, the last of which is the trained policy; empty without ``exploration``.
        policy_pools: of the same steps, the pool of single samples drawn from that model.
        evaluation: of an experiment with ``evaluation``.
    """

    experiment: str
    fingerprints: Mapping[str, str]
    models: tuple[str, ...]
    sample_pools: tuple[str, ...]
    pilot_pools: tuple[Mapping[float, str], ...]
    verification_pools: tuple[Mapping[str, str], ...]
    verifier_models: Mapping[str, str]
    base_logprob_pool: str
    policies: Mapping[int, str] = field(default_factory=dict)
    policy_pools: Mapping[int, str] = field(default_factory=dict)
    evaluation: EvaluationPlan | None = None

    def verifier_model(self, label: str, iteration: int) -> str:
        """Fingerprint of the model that a model verifier asks at ``iteration``."""
        return self.verifier_models.get(label, self.models[iteration])


def make_plan(experiment: Experiment) -> Plan:
    """Plan every fingerprint of ``experiment``.

    Iteration k = 0..iterations is generated, verified and measured; fine-tuning follows it where
    k < iterations.

    Raises:
        ModelError: when a checkpoint folder or hub id cannot be read.
        DatasetError: when a problem file cannot be read.
    """
    prints: dict[str, str] = {}
    problems, train_set, eval_set = _problems_fingerprints(experiment)
    prints["problems"] = problems
    models = [_generator_fingerprint(experiment)]
    others = {experiment.verifiers[i].called: model_fingerprint(model) for i, model in experiment.verifier_models()}
    prints["base_model"] = _models_fingerprint(experiment, models[0], others)
    if experiment.exploration is not None:
        return _exploration_plan(experiment, experiment.exploration, prints, models[0], train_set, eval_set)
    if experiment.evaluation is not None:
        return _evaluation_plan(experiment, experiment.evaluation, prints, models[0], eval_set)
    sample_pools: list[str] = []
    pilot_pools: list[dict[float, str]] = []
    verification_pools: list[dict[str, str]] = []
    for k in range(experiment.iterations + 1):
        sample_pools.append(pool_fingerprint(experiment, models[k]))
        pools = _verification_pools(experiment, others, models[k])
        verification_pools.append(pools)
        pilot_pools.append(_pilot_pools(experiment, models[k]))
        decision = None
        if experiment.adapt is not None:
            decision = _decision_fingerprint(experiment, k, experiment.adapt, pilot_pools[k], train_set, pools)
            prints[asset_name("sampling_choices", k)] = _choices_fingerprint(experiment, decision)
        train_responses, generations = _responses_fingerprints(
            experiment, k, sample_pools[k], train_set, eval_set, decision
        )
        scores = fingerprint(
            "verification_scores",
            CODE_VERSIONS["verification_scores"],
            None,
            {"generations": generations, **_score_prints(experiment, pools, generations)},
        )
        prints[asset_name("generations", k)] = generations
        prints[asset_name("verification_scores", k)] = scores
        prints |= {asset_name(name, k): value for name, value in _measured(experiment, generations, scores).items()}
        if k < experiment.iterations:
            start = models[0] if experiment.training.start_from == "base" else models[k]
            read = _score_prints(experiment, pools, train_responses)
            data = _finetune_data_fingerprint(experiment, train_responses, read)
            model = fingerprint(
                "model",
                CODE_VERSIONS["model"],
                {"training": experiment.training.identity(), "version": type(experiment.training).version},
                {"start": start, "finetune_data": data, "base": models[0]},
            )
            prints[asset_name("finetune_data", k)] = data
            prints[asset_name("model", k)] = model
            models.append(model)
    base_logprobs = _base_logprob_pool(experiment, models[0])
    prints = _over_iterations(experiment, prints, base_logprobs)
    about = {"name": experiment.name, "hypothesis": experiment.hypothesis}
    prints["report"] = fingerprint("report", CODE_VERSIONS["report"], about, dict(prints))
    return Plan(
        experiment=experiment.name,
        fingerprints=prints,
        models=tuple(models),
        sample_pools=tuple(sample_pools),
        pilot_pools=tuple(pilot_pools),
        verification_pools=tuple(verification_pools),
        verifier_models=others,
        base_logprob_pool=base_logprobs,
    )


def _exploration_plan(
    experiment: Experiment, exploration: Exploration, prints: dict[str, str], base: str, train_set: str, eval_set: str
) -> Plan:
    """Of an experiment with ``exploration``: how it is evaluated decides nothing of what is trained."""
    grader = [experiment.task.name, type(experiment.task).grader_version]
    statistics = experiment.statistics

    def add(asset: str, about: Any, inputs: Mapping[str, str]) -> str:
        prints[exploration_asset(asset)] = fingerprint(asset, CODE_VERSIONS[asset], about, inputs)
        return prints[exploration_asset(asset)]

    about = {
        "exploration": exploration.identity(),
        "version": type(exploration).version,
        "sampling": experiment.sampling.model_dump(include={"temperature", "top_p", "max_tokens"}),
        "prompts": prompt_identity(experiment, askable(experiment.model), "solve"),
        "grader": grader,
    }
    policy = add("policy", about, {"base": base, "problems": train_set})
    policies = {0: base} | {
        step: fingerprint("policy_snapshot", CODE_VERSIONS["policy"], {"step": step}, {"policy": policy})
        for step in exploration.snapshot_steps
    }
    pools = {step: pool_fingerprint(experiment, model) for step, model in policies.items()}
    rollouts = add("rollouts", None, {"policy": policy})
    read = {"rollouts": rollouts, "base_samples": pools[0]}
    add("training_dynamics", {"statistics": statistics, "grader": grader}, read)
    about = {"statistics": statistics, "n": experiment.sampling.n_eval, "grader": grader}
    add("evaluation", about, {"problems": eval_set} | {f"samples {step}": pool for step, pool in pools.items()})
    words = {"name": experiment.name, "hypothesis": experiment.hypothesis}
    prints["report"] = fingerprint("report", CODE_VERSIONS["report"], words, dict(prints))
    return Plan(
        experiment=experiment.name,
        fingerprints=prints,
        models=(base,),
        sample_pools=(pools[0],),
        pilot_pools=({},),
        verification_pools=({},),
        verifier_models={},
        base_logprob_pool=_base_logprob_pool(experiment, base),
        policies=policies,
        policy_pools=pools,
    )


def _evaluation_plan(
    experiment: Experiment, evaluation: Evaluation, prints: dict[str, str], reference: str, eval_set: str
) -> Plan:
    """Of an experiment with ``evaluation``."""
    found, assets = plan_evaluation(experiment, evaluation, reference, eval_set)
    prints |= {evaluation_asset(asset): value for asset, value in assets.items()}
    roles = {"reference": experiment.model.shown, "models": list(found.models), "judges": list(found.judge_models)}
    prints["base_model"] = fingerprint("base_model", CODE_VERSIONS["base_model"], roles, found.loaded())
    words = {"name": experiment.name, "hypothesis": experiment.hypothesis}
    prints["report"] = fingerprint("report", CODE_VERSIONS["report"], words, dict(prints))
    return Plan(
        experiment=experiment.name,
        fingerprints=prints,
        models=(reference,),
        sample_pools=(found.sample_pools[experiment.model.shown],),
        pilot_pools=({},),
        verification_pools=({},),
        verifier_models={},
        base_logprob_pool=_base_logprob_pool(experiment, reference),
        evaluation=found,
    )


def _pilot_pools(experiment: Experiment, model: str) -> dict[float, str]:
    temperatures = () if experiment.adapt is None else experiment.adapt.temperatures
    return {value: pool_fingerprint(experiment, model, value) for value in temperatures}


def _decision_fingerprint(
    experiment: Experiment,
    iteration: int,
    adapt: Adaptation,
    pilots: Mapping[float, str],
    train_set: str,
    pools: Mapping[str, str],
) -> str:
    """Of the choice of temperature and threshold: of everything that decides it, and nothing that only describes it."""
    scores = _score_prints(experiment, pools, "")
    filters = [[item.model_dump(), type(item).version] for item in adapt.filters(experiment.filter)]
    about = {
        "adapt": adapt,
        "version": type(adapt).version,
        "filters": filters,
        "target": experiment.monitoring.balance_target,
        "n": experiment.sampling.n_train,
        "iteration": iteration,
        "grader": [experiment.task.name, type(experiment.task).grader_version],
    }
    read = {f"scores {name}": scores[f"scores {name}"] for name in experiment.filter.verifier_names}
    inputs = {"problems": train_set, **{f"pilot {i}": pool for i, pool in enumerate(pilots.values())}, **read}
    return fingerprint("sampling_decision", CODE_VERSIONS["sampling_choices"], about, inputs)


def _choices_fingerprint(experiment: Experiment, decision: str) -> str:
    """Of the table: its intervals need the statistics, which must not decide what is sampled."""
    about = {"statistics": experiment.statistics}
    return fingerprint("sampling_choices", CODE_VERSIONS["sampling_choices"], about, {"decision": decision})


def _responses_fingerprints(
    experiment: Experiment, iteration: int, pool: str, train_set: str, eval_set: str, decision: str | None
) -> tuple[str, str]:
    """Of the training responses of an iteration, and of the whole table ``generations``.

    Where the temperature of the training responses is chosen, the ``decision`` stands for their pool.
    """
    sampling, code = experiment.sampling, CODE_VERSIONS["generations"]
    grader = [experiment.task.name, type(experiment.task).grader_version]
    train_responses = fingerprint(
        "generations",
        code,
        {"split": "train", "n": sampling.n_train, "iteration": iteration, "grader": grader},
        {"samples": pool if decision is None else decision, "problems": train_set},
    )
    inputs = {"train_responses": train_responses, "eval_problems": eval_set}
    inputs |= {} if decision is None else {"eval_samples": pool}
    return train_responses, fingerprint("generations", code, {"n_eval": sampling.n_eval}, inputs)


def _verification_pools(experiment: Experiment, others: Mapping[str, str], generator: str) -> dict[str, str]:
    """Pool of single verifications by label, of every verifier that asks a model."""
    pools = {}
    for verifier in experiment.verifiers:
        if isinstance(verifier, ModelVerifier):
            model = verifier.model or askable(experiment.model)
            asked = others.get(verifier.called, generator)
            pools[verifier.called] = verification_pool_fingerprint(experiment, verifier, model, asked)
    return pools


def _score_prints(experiment: Experiment, pools: Mapping[str, str], responses: str) -> dict[str, str]:
    """Identity of every verifier's scores and verdicts on ``responses``, by ``scores LABEL``.

    The prefix keeps labels, which the user chooses, apart from the roles of other inputs.
    """
    prints: dict[str, str] = {}
    for verifier in experiment.verifiers:
        about = {
            "verifier": verifier.identity(),
            "version": type(verifier).version,
            "verdict": verifier.verdict_fields(),
        }
        if isinstance(verifier, ModelVerifier):
            inputs = {"verifications": pools[verifier.called]}
        else:
            members = {f"scores {name}": prints[f"scores {name}"] for name in verifier.members}
            inputs = {"responses": responses, **members}
        prints[f"scores {verifier.called}"] = fingerprint("scores", CODE_VERSIONS["scores"], about, inputs)
    return prints


def _measured(experiment: Experiment, generations: str, scores: str) -> dict[str, str]:
    """Of the tables that are estimated at one iteration."""
    statistics = experiment.statistics
    names = {
        "generator": experiment.model.shown,
        "verifier_models": {experiment.verifiers[i].called: model.shown for i, model in experiment.verifier_models()},
    }
    settings: dict[str, Any] = {asset: {"statistics": statistics} for asset in VERIFIER_ASSETS}
    settings["verifier_metrics"]["names"] = names
    settings["gap_metrics"] = {"filters": _filters_identity(experiment), "statistics": statistics, "names": names}
    inputs = {"generations": generations, "verification_scores": scores}
    prints = {asset: fingerprint(asset, CODE_VERSIONS[asset], about, inputs) for asset, about in settings.items()}
    code = CODE_VERSIONS["diversity_metrics"]
    return prints | {
        "diversity_metrics": fingerprint("diversity_metrics", code, statistics, {"generations": generations})
    }


def _filters_identity(experiment: Experiment) -> list[Any]:
    """Of the filters whose gaps are measured. Which threshold a pilot chooses depends on what it drew: that is in the
    generations; here only that the chosen filter is measured, too."""
    filters: list[Any] = [[item.model_dump(), type(item).version] for item in experiment.measured_filters()]
    return filters + (["chosen by a pilot"] if experiment.chooses_threshold else [])


def _over_iterations(experiment: Experiment, prints: Mapping[str, str], base_logprobs: str) -> dict[str, str]:
    """``prints``, and those of what compares iterations, audits what was selected, or decides whether to go on."""
    found = dict(prints)

    def known(asset: str, k: int) -> str:
        return found[asset_name(asset, k)]

    def add(asset: str, k: int | None, about: Any, inputs: Mapping[str, str]) -> None:
        found[asset_name(asset, k)] = fingerprint(asset, CODE_VERSIONS[asset], about, inputs)

    statistics, monitoring, limits = experiment.statistics, experiment.monitoring, experiment.limits
    filters = _filters_identity(experiment)
    trains = [experiment.filter.model_dump(), type(experiment.filter).version]
    for k in range(experiment.iterations + 1):
        read = {"generations": known("generations", k), "base_logprobs": base_logprobs}
        add("policy_shift", k, {"statistics": statistics, "responses": experiment.kl_responses}, read)
        if k > 0:
            compared = {
                f"{asset} {name}": known(asset, j)
                for name, j in (("now", k), ("previous", k - 1), ("base", 0))
                for asset in ("generations", "verification_scores")
            }
            about = {"filters": filters, "training_filter": trains, "statistics": statistics}
            add("iteration_changes", k, about, compared)
            generated = {name: value for name, value in compared.items() if name.startswith("generations")}
            add("problem_flips", k, {"statistics": statistics}, generated)
        rules = {"stop": list(experiment.stop), **limits.model_dump(exclude={"unparseable_fraction"})}
        changes = {"iteration_changes": known("iteration_changes", k)} if k > 0 else {}
        decided = {"gap_metrics": known("gap_metrics", k)} | changes
        about = {"rules": rules, "filter": experiment.filter, "last": k == experiment.iterations}
        add("stopping_rules", k, about, decided)
        if k < experiment.iterations:
            chosen = {"finetune_data": known("finetune_data", k), "generations": known("generations", k)}
            about = {"statistics": statistics, "balance_target": monitoring.balance_target}
            add("selection_metrics", k, about, chosen)
    measured = {
        asset_name(asset, k): known(asset, k)
        for k in range(experiment.iterations + 1)
        for asset in ("generations", "verification_scores")
    }
    if experiment.stop:  # they decide where the curves end
        ends = [asset_name("stopping_rules", k) for k in range(experiment.iterations)]
        measured |= {name: found[name] for name in ends}
    add("saturation", None, {"filters": filters, "statistics": statistics}, measured)
    return found


def _base_logprob_pool(experiment: Experiment, base: str) -> str:
    """Of log-probabilities under the base model; a response is known by its own identity."""
    if isinstance(experiment.model, RecordedModel):
        about = None
    else:
        about = prompt_identity(experiment, experiment.model, "solve")
    return fingerprint("base_logprobs", CODE_VERSIONS["policy_shift"], about, {"model": base})


def _finetune_data_fingerprint(experiment: Experiment, train_responses: str, scores: Mapping[str, str]) -> str:
    """Of the examples; where the filter's threshold is chosen by a pilot, its own decides nothing and is left out."""
    training, read = experiment.training, [f"scores {name}" for name in experiment.filter.verifier_names]
    item = experiment.filter
    chosen = {THRESHOLD_FIELDS[item.name]} if experiment.chooses_threshold else set()
    return fingerprint(
        "finetune_data",
        CODE_VERSIONS["finetune_data"],
        {
            "filter": item.model_dump(exclude=chosen),
            "version": type(item).version,
            **training.data_identity(),
        },
        {"train_responses": train_responses} | {name: scores[name] for name in read},
    )


def _problems_fingerprints(experiment: Experiment) -> tuple[str, str, str]:
    """Of the problems table, of the order of training problems, of the evaluation problems.

    More iterations take more of the same training problems, so their number is in the first one only.
    """
    problems, code = experiment.problems, CODE_VERSIONS["problems"]
    if experiment.engine.replays:
        task = experiment.task
        settings = {"task": task, "version": type(task).version, "train_fraction": experiment.engine.train_fraction}
        table = fingerprint("problems", code, settings, {"recorded": recorded_digest(experiment)})
        return table, table, table
    common = {"task": experiment.task, "version": type(experiment.task).version, "seed": problems.seed}

    def one(split: str, path: str | None, size: dict[str, int]) -> str:
        files = {} if path is None else {"file": problem_file_digest(path)}
        return fingerprint("problems", code, {**common, "split": split, **size}, files)

    train = one("train", problems.train_file, {"train_per_iteration": problems.train_per_iteration})
    evaluation = one("eval", problems.eval_file, {"eval": problems.eval})
    if experiment.evaluation is not None:
        return fingerprint("problems", code, None, {"eval": evaluation}), evaluation, evaluation
    table = fingerprint("problems", code, {"iterations": experiment.iterations}, {"train": train, "eval": evaluation})
    return table, train, evaluation


def _generator_fingerprint(experiment: Experiment) -> str:
    """Of the base model; where there are only recorded responses, of their file, whatever it is called."""
    if isinstance(experiment.model, RecordedModel):
        path = experiment.engine.path if experiment.evaluation is None else experiment.evaluation.responses
        inputs = {"recorded": problem_file_digest(str(path))}
        return fingerprint("base_model", CODE_VERSIONS["base_model"], {"kind": "recorded"}, inputs)
    return model_fingerprint(experiment.model)


def _models_fingerprint(experiment: Experiment, base: str, others: Mapping[str, str]) -> str:
    """Of the table of models: the base model's own where no other model verifies."""
    label = experiment.model.label if isinstance(experiment.model, RecordedModel) else None
    if not others and label is None:
        return base
    inputs = {"base": base, **{f"model {name}": model for name, model in others.items()}}
    return fingerprint("base_model", CODE_VERSIONS["base_model"], {"label": label} if label else None, inputs)
