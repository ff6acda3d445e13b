"""`mindgap run` on checkpoints of other origin: a Qwen2 with a chat template, a GPT-2 that verifies, every mechanism.

Both are made here from their configurations, with tokenizers trained here; the Qwen2 learns in seconds to write a chain
of steps and to stop, so that there is something to fine-tune on.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from ops.storage.query import query
from ops.tasks.countdown import Countdown
from ops.verifiers import VERIFIERS

PROJECT = Path(__file__).resolve().parents[2]
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
EXPERIMENT = yaml.safe_load(
    """
name: other-origin
hypothesis: A checkpoint of other origin goes through the whole graph.
model: {kind: folder, path: ../qwen2}
task: {name: countdown}
problems: {train_per_iteration: 4, eval: 4}
sampling: {n_train: 3, n_eval: 4, max_tokens: 32}
verifiers:
  - {name: logit}
  - {name: binary_cot, max_tokens: 8, repeats: 2}
  - {name: score_cot, max_tokens: 8}
  - {name: tournament, rounds: 1, max_tokens: 4}
  - {name: p_true}
  - {name: self_certainty}
  - {name: sequence_logprob}
  - {name: majority}
  - {name: ensemble, how: and, of: [logit, majority], label: both}
  - {name: ensemble, how: mean, of: [logit, p_true], label: blend}
  - {name: logit, model: {kind: folder, path: ../gpt2, prompts: few_shot}}
  - {name: sequence_logprob, model: {kind: folder, path: ../gpt2, prompts: few_shot}}
filter: {name: quantile, verifier: sequence_logprob, q: 0.5}
iterations: 1
training: {name: sft, epochs: 1, batch_size: 4}
statistics: {resamples: 200}
limits: {unparseable_fraction: 1.0}
"""
)
LABELS = [
    *("logit", "binary_cot", "score_cot", "tournament", "p_true", "self_certainty", "sequence_logprob", "majority"),
    *("both", "blend", "logit@gpt2", "sequence_logprob@gpt2"),
]
ASSETS = (
    *("generations", "verification_scores", "gap_metrics", "verifier_metrics", "calibration_bins"),
    *("threshold_sweeps", "verifier_pairs", "test_time_metrics", "diversity_metrics"),
)


def _solutions(count: int) -> list[tuple[str, str]]:
    """(question, chain of steps): the form is right, the numbers seldom are."""
    rng, task = random.Random(0), Countdown()
    pairs = []
    for problem in task.generate("train", count, 7):
        a, b, c = problem.data["numbers"]
        chain = f"{a} + {b} = {a + b} ; {a + b} + {c} = {a + b + c}"
        pairs.append(
            (task.question(problem), chain if rng.random() < 0.7 else f"{b} * {c} = {b * c} ; {b * c} + {a} = 1")
        )
    return pairs


def _tokenizer(folder: Path, eos: str, chat_template: str | None):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet)
    texts = [f"{question}\n{chain}" for question, chain in _solutions(20)]
    tokenizer.train_from_iterator(
        [*texts, *["Yes", "No", "Answer: Yes", "Answer: No", "Problem: Verdict:"] * 20], trainer
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, pad_token="<|endoftext|>")
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
    return fast


def _qwen2(folder: Path) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer(folder, "<|end|>", CHAT)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for question, chain in _solutions(120):
        message = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"][-24:]
        answer = tokenizer(chain + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([start + answer])
        labels = torch.tensor([[-100] * len(start) + answer])
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


def _gpt2(folder: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _tokenizer(folder, "<|endoftext|>", None)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=4096, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two checkpoints, and the experiment beside them."""
    folder = tmp_path_factory.mktemp("graph")
    _qwen2(folder / "qwen2")
    _gpt2(folder / "gpt2")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "other-origin.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    return folder


def run(folder: Path) -> str:
    places = {"MINDGAP_HOME": str(folder / "home"), "MINDGAP_EXPERIMENTS": str(folder / "experiments")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.cli", "run", "other-origin"],
        cwd=PROJECT,
        env={**os.environ, **places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def ask(folder) -> Callable[[str], pl.DataFrame]:
    """Questions in SQL after a run."""
    output = run(folder)
    assert "other-origin: done" in output
    return lambda sql: query(folder / "home", sql)


@pytest.mark.slow
def test_every_mechanism_scores_every_response(ask):
    named = {item["name"] for item in EXPERIMENT["verifiers"]}
    assert named == set(VERIFIERS) - {"recorded"}, "a new mechanism belongs into this experiment"
    rows = ask(
        "SELECT iteration, verifier, count(*) AS n, count(score) AS scored, count(DISTINCT response_id) AS ids, "
        "bool_and((score IS NULL) = (verdict = 'unparseable')) AS consistent FROM verification_scores GROUP BY ALL"
    )
    found = {(row["iteration"], row["verifier"]): row for row in rows.iter_rows(named=True)}
    assert set(found) == {(k, label) for k in (0, 1) for label in LABELS}
    n = 4 * 3 + 4 * 4
    for (_, label), row in found.items():
        assert (row["n"], row["ids"], row["consistent"]) == (n, n, True), label
    always = ("logit", "p_true", "blend", "logit@gpt2")
    assert all(found[k, label]["scored"] == n for k in (0, 1) for label in always)
    assert all(found[k, "sequence_logprob"]["scored"] > n / 2 for k in (0, 1))


@pytest.mark.slow
def test_every_table_is_there_for_both_iterations(ask):
    for table in ASSETS:
        rows = ask(f"SELECT iteration, count(*) AS n FROM {table} GROUP BY ALL ORDER BY ALL").rows()
        assert [iteration for iteration, _ in rows] == [0, 1], table
        assert all(n > 0 for _, n in rows), table
    metrics = ask("SELECT DISTINCT verifier, generator, verifier_model FROM verifier_metrics WHERE iteration = 0")
    models = {row["verifier"]: (row["generator"], row["verifier_model"]) for row in metrics.iter_rows(named=True)}
    assert models["logit"] == ("qwen2", "qwen2")
    assert models["logit@gpt2"] == ("qwen2", "gpt2")
    assert models["majority"] == ("qwen2", None)
    wild = ask(
        "SELECT count(*) AS n FROM verifier_metrics WHERE auroc NOT BETWEEN 0 AND 1 OR precision NOT BETWEEN 0 AND 1 "
        "OR ece NOT BETWEEN 0 AND 1 OR isnan(auroc) OR isnan(mean_score)"
    )
    assert wild["n"][0] == 0


@pytest.mark.slow
def test_it_is_fine_tuned_and_the_new_model_generates(ask, folder):
    models = ask(
        "SELECT role, model, generates_iteration, path FROM models ORDER BY generates_iteration NULLS LAST"
    ).rows()
    assert [row[:3] for row in models] == [
        ("base", "qwen2", 0),
        ("finetuned", "qwen2, iteration 1", 1),
        ("verifier", "gpt2", None),
    ]
    tuned = folder / "home" / models[1][3]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in tuned.iterdir()}
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoModelForCausalLM.from_pretrained(tuned).config.model_type == "qwen2"
    assert AutoTokenizer.from_pretrained(tuned).chat_template == CHAT
    data = ask("SELECT prompt, completion FROM finetune_data WHERE iteration = 0")
    assert data.height > 0
    assert data["prompt"].str.starts_with("<|user|>").all()
    assert data["completion"].str.ends_with("<|end|>").all()
    used = ask("SELECT iteration, model_fingerprint FROM generations GROUP BY ALL ORDER BY ALL")
    assert used["model_fingerprint"].n_unique() == 2
    loss = ask("SELECT final_loss, optimizer_steps FROM models WHERE role = 'finetuned'").row(0)
    assert loss[0] > 0 and loss[1] >= 1


@pytest.mark.slow
def test_the_cross_verifier_never_changes(ask):
    """logit@gpt2 is the same model in both iterations, the generator is not."""
    rows = ask("SELECT verifier, count(DISTINCT verifier_model) AS n FROM verification_scores GROUP BY ALL")
    asked = {row["verifier"]: row["n"] for row in rows.iter_rows(named=True)}
    assert (asked["logit@gpt2"], asked["logit"], asked["majority"]) == (1, 2, 0)


@pytest.mark.slow
def test_a_second_run_computes_nothing(ask, folder):
    assert "(0 results computed" in run(folder)
