"""The tables: names and columns are a contract with everyone who writes SQL.

``COLUMNS[table]`` lists the columns stored in Parquet, in order, with their DuckDB types. The
catalog puts ``experiment`` and ``iteration`` in front (from the manifest, because a Parquet file
can be shared by several experiments) and ``fingerprint`` behind.
"""

from __future__ import annotations

import polars as pl


def _interval(*names: str) -> dict[str, str]:
    """Columns of estimates with their intervals."""
    return {f"{name}{end}": "DOUBLE" for name in names for end in ("", "_low", "_high")}


def _value() -> dict[str, str]:
    """The columns of one estimate in a table that has a row for each metric."""
    return {"value": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE"}


COLUMNS: dict[str, dict[str, str]] = {
    "problems": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "task": "VARCHAR",
        "data": "VARCHAR",  # JSON
        "answer": "VARCHAR",
        "train_iteration": "INTEGER",  # the iteration that trains on it; NULL for the eval split
    },
    "sampling_choices": {
        "temperature": "DOUBLE",
        "rule": "VARCHAR",  # the filter in words
        "threshold": "DOUBLE",  # of the filter; NULL where it has none
        "n_problems": "INTEGER",  # of the pilot
        "n_responses": "INTEGER",
        **_interval("balance_score", "kept_per_problem", "precision"),
        "chosen": "BOOLEAN",
    },
    "generations": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "response": "VARCHAR",
        "answer": "VARCHAR",
        "verdict": "VARCHAR",
        "strict_verdict": "VARCHAR",
        "n_tokens": "INTEGER",
        "logprob": "DOUBLE",
        "seed": "BIGINT",
        "model_fingerprint": "VARCHAR",
        "prompt": "VARCHAR",
        "reason": "VARCHAR",
        "finish_reason": "VARCHAR",
        "engine": "VARCHAR",
        "engine_version": "VARCHAR",
        "label": "VARCHAR",  # a correctness given with a recorded response: correct or incorrect
        "recorded_scores": "VARCHAR",  # JSON: verification scores given with it, by name
        "response_id": "VARCHAR",
    },
    "verification_scores": {
        "split": "VARCHAR",
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "verifier": "VARCHAR",  # its label
        "mechanism": "VARCHAR",  # its name: logit, binary_cot ...
        "verifier_model": "VARCHAR",  # fingerprint; NULL where it was derived without asking a model
        "score": "DOUBLE",
        "verdict": "VARCHAR",
        "transcript": "VARCHAR",
        "n_tokens": "INTEGER",
        "response_id": "VARCHAR",
    },
    "gap_metrics": {
        "split": "VARCHAR",
        "generator": "VARCHAR",  # the model's name
        "verifier": "VARCHAR",  # label; NULL where the filter reads none or several
        "mechanism": "VARCHAR",
        "verifier_model": "VARCHAR",  # the model's name; NULL where none was asked
        "filter": "VARCHAR",
        "threshold": "DOUBLE",
        "rule": "VARCHAR",  # the filter in words
        "n_problems": "INTEGER",
        "n_responses": "INTEGER",
        "accuracy": "DOUBLE",
        "accuracy_low": "DOUBLE",
        "accuracy_high": "DOUBLE",
        "strict_accuracy": "DOUBLE",
        "filtered_accuracy": "DOUBLE",
        "filtered_accuracy_low": "DOUBLE",
        "filtered_accuracy_high": "DOUBLE",
        "gap": "DOUBLE",
        "gap_low": "DOUBLE",
        "gap_high": "DOUBLE",
        "relative_gap": "DOUBLE",
        "relative_gap_low": "DOUBLE",
        "relative_gap_high": "DOUBLE",
        "kept_fraction": "DOUBLE",  # mean weight; NULL for weights that accept and reject nothing (KL)
        "unparseable_fraction": "DOUBLE",  # responses whose verdict the verifier left unparseable
        "unparseable_response_fraction": "DOUBLE",  # responses that the grader could not parse
        "n_problems_kept_empty": "INTEGER",  # the filter kept nothing: they keep their unfiltered accuracy
        "n_problems_solved": "INTEGER",  # J(x) = 1: left out of the relative gap
        "auroc": "DOUBLE",
        "auroc_low": "DOUBLE",
        "auroc_high": "DOUBLE",
    },
    "verifier_metrics": {
        "split": "VARCHAR",
        "generator": "VARCHAR",
        "verifier": "VARCHAR",
        "mechanism": "VARCHAR",
        "verifier_model": "VARCHAR",
        "n_problems": "INTEGER",
        "n_responses": "INTEGER",
        "unparseable_fraction": "DOUBLE",
        "accepted_fraction": "DOUBLE",  # kept by the verifier's default filter
        "mean_score": "DOUBLE",
        **_interval("verification_accuracy", "precision", "recall", "auroc", "ece", "brier"),
        **_interval("score_drift"),  # mean score mapped to 0..1, minus accuracy; NULL where it has no range
        # three other quantities that are called generation-verification gap in public
        **_interval(
            "verification_accuracy_minus_generation_accuracy", "precision_minus_accuracy", "oracle_minus_selected"
        ),
        "new_tokens_per_1000_responses": "DOUBLE",  # NULL where not known: recorded scores
        "seconds_per_1000_responses": "DOUBLE",  # measured wall time: the only column that a rerun changes
    },
    "calibration_bins": {
        "split": "VARCHAR",
        "verifier": "VARCHAR",
        "bin": "INTEGER",
        "bin_low": "DOUBLE",
        "bin_high": "DOUBLE",
        "n_responses": "INTEGER",
        "mean_probability": "DOUBLE",
        **_interval("accuracy"),
    },
    "threshold_sweeps": {
        "split": "VARCHAR",
        "verifier": "VARCHAR",
        "filter": "VARCHAR",  # threshold: one for all problems; quantile: of each problem's own scores
        "value": "DOUBLE",  # the threshold, or q
        **_interval("gap", "relative_gap"),
        "kept_fraction": "DOUBLE",
        "best_on_train": "BOOLEAN",  # largest gap on the train split; NULL where there is none
    },
    "verifier_pairs": {
        "split": "VARCHAR",
        "verifier_a": "VARCHAR",
        "verifier_b": "VARCHAR",
        "n_responses": "INTEGER",  # with a score by both
        **_interval("pearson", "spearman", "within_problem_pearson"),
        "rule_a": "VARCHAR",  # the filters whose gaps are compared
        "rule_b": "VARCHAR",
        **_interval("gap_difference", "relative_gap_difference", "auroc_difference"),  # a minus b, paired by problem
    },
    "test_time_metrics": {
        "split": "VARCHAR",
        "method": "VARCHAR",  # best_of_n, weighted_vote, majority_vote, oracle (pass@n)
        "verifier": "VARCHAR",  # NULL for majority_vote and oracle
        "n": "INTEGER",  # as many as at least half of the problems have responses
        **_interval("accuracy"),  # NULL for votes where no response has an answer
        "n_problems": "INTEGER",  # with at least n responses
    },
    "diversity_metrics": {
        "split": "VARCHAR",
        "metric": "VARCHAR",  # accuracy, pass_at_k, distinct_answers_in_k, answer_entropy_nats, self_bleu ...
        "k": "INTEGER",  # NULL for metrics without k
        "value": "DOUBLE",
        "low": "DOUBLE",
        "high": "DOUBLE",
        "n_problems": "INTEGER",  # with at least k responses
    },
    "iteration_changes": {
        "split": "VARCHAR",  # eval
        "reference": "VARCHAR",  # previous or base: the iteration that is subtracted
        "from_iteration": "INTEGER",
        "metric": "VARCHAR",  # as in diversity_metrics; gap, relative_gap, score_drift, update_error
        "k": "INTEGER",
        "rule": "VARCHAR",  # gap, relative_gap: the filter in words; update_error: what trained; score_drift: verifier
        **_value(),  # this iteration minus the reference, paired by problem
        "n_problems": "INTEGER",
        "n_problems_left_out": "INTEGER",  # undefined at one of the two
    },
    "problem_flips": {
        "split": "VARCHAR",  # eval
        "reference": "VARCHAR",
        "from_iteration": "INTEGER",
        "criterion": "VARCHAR",  # what counts as solved: any, half or majority
        "n_problems": "INTEGER",
        **_interval("stayed_solved", "learned", "forgotten", "stayed_unsolved"),  # fractions of the problems
    },
    "policy_shift": {
        "split": "VARCHAR",  # eval
        "metric": "VARCHAR",  # kl_to_base_nats, kl_to_base_k3_nats, kl_to_base_nats_per_token
        **_value(),
        "n_problems": "INTEGER",
        "n_responses": "INTEGER",
    },
    "selection_metrics": {
        "metric": "VARCHAR",  # balance_score (2412.17256), precision, kept_problem_fraction, distinct_correct_kept ...
        **_value(),
        "n_problems": "INTEGER",
    },
    "stopping_rules": {
        "rule": "VARCHAR",  # gap_closed, diversity_collapsed, drift_grows
        "stops": "BOOLEAN",  # the experiment's stop lists the rule
        **_value(),
        "limit": "DOUBLE",
        "fires": "BOOLEAN",  # NULL where the value is undefined
        "sentence": "VARCHAR",
    },
    "saturation": {
        "quantity": "VARCHAR",  # gap, relative_gap, accuracy
        "rule": "VARCHAR",  # the filter in words; NULL for accuracy
        "n_iterations": "INTEGER",
        **_interval("limit", "rate", "half_life_iterations", "next_value"),
        "residual": "DOUBLE",  # root mean square of what the curve leaves over
    },
    "finetune_data": {
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",
        "prompt": "VARCHAR",
        "completion": "VARCHAR",
        "weight": "DOUBLE",
        "verdict": "VARCHAR",  # the truth, for audit; the filter never sees it except in the gold arm
        "response_id": "VARCHAR",
    },
    "preference_pairs": {
        "problem_id": "VARCHAR",
        "prompt": "VARCHAR",
        "chosen_sample_index": "INTEGER",
        "chosen": "VARCHAR",
        "chosen_score": "DOUBLE",
        "chosen_verdict": "VARCHAR",  # the truth, for audit
        "chosen_response_id": "VARCHAR",
        "rejected_sample_index": "INTEGER",
        "rejected": "VARCHAR",
        "rejected_score": "DOUBLE",
        "rejected_verdict": "VARCHAR",
        "rejected_response_id": "VARCHAR",
        "weight": "DOUBLE",
    },
    "training_steps": {
        "step": "INTEGER",  # optimiser steps done
        "epoch": "DOUBLE",
        "learning_rate": "DOUBLE",
        "loss": "DOUBLE",  # mean over the steps since the row before
        "validation_loss": "DOUBLE",  # NULL where it was not measured at this step
        "validation_problems": "INTEGER",
        "tokens": "BIGINT",  # seen so far
        "kept": "BOOLEAN",  # the weights of this step became the model
    },
    "models": {
        "role": "VARCHAR",  # base, finetuned, policy, verifier (another model that verifies), reference ...
        "model": "VARCHAR",  # its name in tables and figures
        "generates_iteration": "INTEGER",
        "model_fingerprint": "VARCHAR",
        "parent_fingerprint": "VARCHAR",
        "path": "VARCHAR",  # relative to MINDGAP_HOME, or the folder the user named
        "n_parameters": "BIGINT",
        "train_tokens": "BIGINT",
        "train_flops": "DOUBLE",
        "optimizer_steps": "INTEGER",
        "final_loss": "DOUBLE",
        "seconds": "DOUBLE",
    },
    "scaling_points": {
        "task": "VARCHAR",
        "family": "VARCHAR",
        "model": "VARCHAR",
        "verifier": "VARCHAR",
        "mechanism": "VARCHAR",
        "rule": "VARCHAR",
        "n_parameters": "BIGINT",
        "pretraining_flops": "DOUBLE",
        **_interval("accuracy", "gap", "relative_gap"),
    },
    "scaling_laws": {
        "task": "VARCHAR",
        "family": "VARCHAR",
        "verifier": "VARCHAR",
        "mechanism": "VARCHAR",
        "rule": "VARCHAR",
        "metric": "VARCHAR",  # relative_gap or gap, against log10 pretraining FLOPs
        "n_models": "INTEGER",
        **_interval("slope"),  # resamples problems
        "slope_t_low": "DOUBLE",  # t interval of the residuals; NULL with fewer than 3 models
        "slope_t_high": "DOUBLE",
        "intercept": "DOUBLE",
        **_interval("r_squared"),
    },
    "cross_verification": {
        "task": "VARCHAR",
        "mechanism": "VARCHAR",
        "rule": "VARCHAR",
        "generator": "VARCHAR",
        "verifier_model": "VARCHAR",
        "generator_flops": "DOUBLE",
        "verifier_flops": "DOUBLE",
        **_interval("accuracy", "gap", "relative_gap", "auroc"),
        "kept_fraction": "DOUBLE",
    },
    "arm_metrics": {
        "arm": "VARCHAR",
        "arm_iteration": "INTEGER",
        "metric": "VARCHAR",  # as in diversity_metrics and gap_metrics, policy_shift, selection_metrics
        "k": "INTEGER",
        "rule": "VARCHAR",
        "seed": "BIGINT",  # NULL: over all seeds
        "n_seeds": "INTEGER",
        **_value(),  # the interval resamples problems; over all seeds of the mean of the seeds
        "standard_error": "DOUBLE",  # over seeds; NULL with one seed
    },
    "arm_differences": {
        "arm_a": "VARCHAR",
        "arm_b": "VARCHAR",
        "arm_iteration": "INTEGER",
        "metric": "VARCHAR",
        "k": "INTEGER",
        "rule": "VARCHAR",
        "n_seeds": "INTEGER",
        **_value(),  # a minus b, paired by seed and problem
        "standard_error": "DOUBLE",  # of the difference over seeds; NULL with one seed
        "n_problems": "INTEGER",
    },
    "rollouts": {
        "step": "INTEGER",  # 0 .. steps - 1: drawn by the policy before that step's update
        "problem_id": "VARCHAR",
        "sample_index": "INTEGER",  # within the group
        "response": "VARCHAR",
        "answer": "VARCHAR",
        "verdict": "VARCHAR",
        "finish_reason": "VARCHAR",
        "n_tokens": "INTEGER",
        "logprob": "DOUBLE",  # of the whole response under the policy that drew it, at temperature 1
        "entropy_nats": "DOUBLE",  # of the policy's next-token distributions, mean over the response's tokens
        "seen": "BIGINT",  # N(x, a) that the bonus read; NULL where it reads none
        "reward": "DOUBLE",
        "advantage": "DOUBLE",  # without the bonus
        "bonus": "DOUBLE",  # b before the coefficient
        "bonus_tokens": "INTEGER",  # tokens that carried it
        "seed": "BIGINT",
        "engine": "VARCHAR",
        "engine_version": "VARCHAR",
    },
    "policy_steps": {
        "step": "INTEGER",  # steps done
        "learning_rate": "DOUBLE",
        "loss": "DOUBLE",  # of the whole objective, mean over the step's mini-batches and passes
        "kl_to_base_nats": "DOUBLE",  # per token, k3 estimator; NULL where kl_coefficient is 0
        "entropy_nats": "DOUBLE",  # of the next-token distributions, mean over tokens
        "clip_fraction": "DOUBLE",  # of tokens whose ratio was clipped
        "gradient_norm": "DOUBLE",  # before clipping
        "engine_logprob_difference": "DOUBLE",  # of an engine with a copy of the weights (vLLM), see docs/sql.md
        "accuracy": "DOUBLE",  # of the step's responses
        "mean_reward": "DOUBLE",
        "mean_bonus": "DOUBLE",
        "unparseable_fraction": "DOUBLE",
        "distinct_answers_per_group": "DOUBLE",
        "all_correct_fraction": "DOUBLE",  # of groups
        "all_wrong_fraction": "DOUBLE",
        "response_tokens": "DOUBLE",  # mean
        "responses": "BIGINT",  # drawn so far
        "tokens": "BIGINT",  # trained on so far, prompts included
        "seconds": "DOUBLE",  # wall time of the step: the only column that a rerun changes
    },
    "training_dynamics": {
        "sampler": "VARCHAR",  # policy, base, or policy_minus_base at the same number of responses to each problem
        "step": "INTEGER",  # steps done
        "n_responses": "BIGINT",  # so far
        "questions": "VARCHAR",  # all, solved, unsolved
        "metric": "VARCHAR",  # solved_questions, distinct_answers, distinct_answers_per_group, entropy_nats_correct ...
        **_value(),
        "n_problems": "INTEGER",
    },
    "policy_evaluation": {
        "step": "INTEGER",  # steps done; 0: the base model
        "metric": "VARCHAR",  # as in diversity_metrics
        "k": "INTEGER",
        **_value(),
        **_interval("change"),  # minus the base model, paired by problem
        "n_problems": "INTEGER",
    },
    "exploration_metrics": {
        "task": "VARCHAR",  # label
        "arm": "VARCHAR",  # label; base: before any training
        "step": "INTEGER",
        "metric": "VARCHAR",  # as in policy_evaluation and, with ``questions``, in training_dynamics
        "k": "INTEGER",
        "questions": "VARCHAR",  # NULL for what is measured on evaluation problems
        "seed": "BIGINT",  # NULL: over all seeds
        "n_seeds": "INTEGER",
        **_value(),  # the interval resamples problems; over all seeds of the mean of the seeds
        "standard_error": "DOUBLE",  # over seeds; NULL with one seed
    },
    "exploration_differences": {
        "task": "VARCHAR",
        "arm": "VARCHAR",
        "reference": "VARCHAR",  # another arm, or base
        "step": "INTEGER",
        "metric": "VARCHAR",
        "k": "INTEGER",
        "n_seeds": "INTEGER",
        **_value(),  # arm minus reference, paired by seed and problem
        "standard_error": "DOUBLE",
        "seed_low": "DOUBLE",  # t interval over seeds, the problems given; NULL with one seed
        "seed_high": "DOUBLE",
        "n_problems": "INTEGER",
    },
    "bandit_regret": {
        "algorithm": "VARCHAR",
        "assumption": "VARCHAR",  # what the learner may do with an outcome
        "n_arms": "INTEGER",
        "n_outcomes": "INTEGER",
        "round": "INTEGER",  # arms pulled so far
        "gap": "DOUBLE",  # the worst of those simulated, by runs that do not count below
        "n_runs": "INTEGER",  # over which the means are
        **_interval("regret"),  # cumulative pseudo-regret; the interval resamples runs
        "bound": "DOUBLE",  # what theory says, up to a constant; NULL where it says nothing
        "distinct_outcomes": "DOUBLE",  # seen so far
    },
    "pairs": {
        "pair_id": "VARCHAR",  # of the problem, both models and both texts: a label belongs to exactly this pair
        "problem_id": "VARCHAR",
        "category": "VARCHAR",  # of the problem; NULL where it has none
        "model": "VARCHAR",  # label
        "reference": "VARCHAR",  # label; NULL where a response is judged by itself (accuracy)
        "sample_index": "INTEGER",
        "response": "VARCHAR",
        "reference_response": "VARCHAR",
        "response_id": "VARCHAR",
        "reference_response_id": "VARCHAR",
        "is_identical": "BOOLEAN",  # the same text twice: a tie, which nobody is asked about
        "shown_first": "VARCHAR",  # model or reference: whose response labellers see as A
    },
    "synthetic_judgements": {
        "pair_id": "VARCHAR",
        "model": "VARCHAR",
        "judge": "VARCHAR",
        "score": "DOUBLE",  # higher: the model's response is better (correct); NULL: could not be read
        "score_shown_first": "DOUBLE",  # with the model's response shown first; NULL of judges that see one at a time
        "score_shown_second": "DOUBLE",
        "reward": "DOUBLE",  # of the model's response; NULL of pairwise judges
        "reference_reward": "DOUBLE",
        "transcript": "VARCHAR",  # JSON list: what the judge wrote, in both orders
        "n_tokens": "INTEGER",
        "judge_model": "VARCHAR",  # fingerprint; of a tuned judge that of the copy that never saw this model's labels
    },
    "human_labels": {
        "pair_id": "VARCHAR",
        "model": "VARCHAR",
        "annotator": "VARCHAR",  # gold: the grader; identical: nobody was asked
        "label": "DOUBLE",  # 1: the model's response is better (correct), 0: worse, 0.5: a tie
        "wave": "INTEGER",  # which export drew it from the pairs that there are; NULL: none, or from fewer pairs
        "stratum": "VARCHAR",  # within which it was drawn at random; NULL: among all pairs of the model
        "source": "VARCHAR",  # file and line
        "comment": "VARCHAR",
    },
    "win_rates": {
        "model": "VARCHAR",
        "reference": "VARCHAR",  # NULL: accuracy
        "quantity": "VARCHAR",  # win_rate, accuracy, gap
        "estimator": "VARCHAR",  # human, synthetic, control_variate, cross_fitted
        "judge": "VARCHAR",  # NULL: none (human); several at once: their labels joined by " + "
        **_value(),  # score interval
        "standard_error": "DOUBLE",
        "t_low": "DOUBLE",  # value plus and minus t standard errors
        "t_high": "DOUBLE",
        "bootstrap_low": "DOUBLE",  # resamples problems; NULL of gap
        "bootstrap_high": "DOUBLE",
        "is_biased": "BOOLEAN",  # synthetic alone; n_excluded > 0: of the pairs that all judges could read, not of all
        "n_pairs": "INTEGER",
        "n_labelled": "INTEGER",
        "n_problems": "INTEGER",  # labelled
        "n_excluded": "INTEGER",  # pairs without a judgement, where that is allowed
        "coefficient": "DOUBLE",  # alpha; NULL with several judges
        "correlation": "DOUBLE",  # rho of labels and judgements (multiple R with several judges)
        "saving": "DOUBLE",  # labels saved: 1 - variance / variance of the human estimate, as estimated
        "saving_low": "DOUBLE",
        "saving_high": "DOUBLE",
        "predicted_saving": "DOUBLE",  # by planning, rho^2 adjusted; rho^2 (1 - n/N) with one pair per problem
        "saving_without_limit": "DOUBLE",  # rho^2: with unlabelled pairs without end, as the paper prints it
        "human_labels_equal": "DOUBLE",  # labels alone that would be as precise; NULL: more than all pairs, or gap
    },
    "judge_metrics": {
        "model": "VARCHAR",  # NULL: all models together
        "judge": "VARCHAR",
        "metric": "VARCHAR",  # position_bias, order_agreement, agreement, auroc, correlation, mean_score ...
        **_value(),
        "n_pairs": "INTEGER",
    },
    "label_curves": {
        "model": "VARCHAR",
        "quantity": "VARCHAR",
        "estimator": "VARCHAR",
        "judge": "VARCHAR",
        "n_labels": "INTEGER",
        "squared_error": "DOUBLE",  # against the estimate from all labels, mean over redraws
        "squared_error_low": "DOUBLE",
        "squared_error_high": "DOUBLE",
        "predicted": "DOUBLE",  # the variance that theory gives
        "human_labels_equal": "DOUBLE",  # with this squared error, read off the human curve; NULL of human
        **_interval("saving"),  # realised: 1 - n_labels / human_labels_equal
        "predicted_saving": "DOUBLE",  # the same from the curves of theory
        "n_redraws": "INTEGER",
    },
    "findings": {
        "finding": "VARCHAR",  # e.g. 2a: which of the paper's findings (2412.02674)
        "task": "VARCHAR",
        "statement": "VARCHAR",
        "outcome": "VARCHAR",  # holds, does not hold, undecided
        "evidence": "VARCHAR",  # in words, with intervals
        **_interval("value"),
    },
    "reports": {
        "answer": "VARCHAR",  # the hypothesis answered in one sentence, with its interval
        "html_path": "VARCHAR",  # relative to MINDGAP_HOME
        "plot_path": "VARCHAR",
    },
}

_POLARS = {
    "VARCHAR": pl.String,
    "INTEGER": pl.Int32,
    "BIGINT": pl.Int64,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
}


def polars_schema(table: str) -> dict[str, pl.DataType]:
    """Polars dtypes of ``table`` in column order."""
    return {name: _POLARS[kind]() for name, kind in COLUMNS[table].items()}


def conform(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with exactly the contract's columns, order and types.

    Raises:
        StorageError: for a missing, extra or uncastable column.
    """
    from ops.errors import StorageError

    wanted = polars_schema(table)
    missing = [name for name in wanted if name not in frame.columns]
    extra = [name for name in frame.columns if name not in wanted]
    if missing or extra:
        raise StorageError(
            f"table {table}",
            f"columns differ from the contract: missing {missing}, unexpected {extra}",
            remedy="change ops/storage/schemas.py together with the step that writes the table",
        )
    try:
        return frame.select(pl.col(name).cast(dtype, strict=True) for name, dtype in wanted.items())
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"table {table}", f"a column has the wrong type: {error}") from error
