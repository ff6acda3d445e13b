"""Choices off a shared prefill: equal to a plain forward pass of each prompt alone, whatever they have in common."""

import itertools

import numpy as np
import pytest
import torch
import transformers

from ops.engines import choices
from ops.engines.choices import ChoiceReader, cuts, packed
from ops.engines.transformers_engine import TransformersEngine
from ops.engines.transformers_settings import TransformersEngineSettings

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**GATED),
    "qwen2": lambda: transformers.Qwen2Config(**GATED),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SMALL, intermediate_size=64),
    "bloom": lambda: transformers.BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=4),
    "opt": lambda: transformers.OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32),
    "gemma2": lambda: transformers.Gemma2Config(**GATED, head_dim=8, sliding_window=6, final_logit_softcapping=3.0),
    "mistral": lambda: transformers.MistralConfig(**GATED, sliding_window=5),
    "mamba": lambda: transformers.MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=4),
    "stretched": lambda: transformers.LlamaConfig(
        **GATED,
        max_position_embeddings=8,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    ),
}
SHARING = ("llama", "qwen2", "gpt2", "gpt_neox", "bloom", "opt")
SHOTS = list(range(3, 30))
TREE = [
    [*SHOTS, *problem, *response]
    for problem in ([30, 31, 32], [30, 33], [34, 31, 32])
    for response in ([], [1], [1, 2, 3], [1, 2, 4], [1, 2, 4, 5, 6, 7, 8, 9], [40, 41], [40, 42, 43])
]


def _model(name):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()


def _plain(model, prompts, choice_ids):
    """Each prompt alone, without a cache: float64 [N, C]."""
    with torch.no_grad():
        rows = [torch.log_softmax(model(torch.tensor([p]), use_cache=False).logits[0, -1].float(), -1) for p in prompts]
    return torch.stack(rows)[:, choice_ids].double().numpy()


def _read(model, prompts, choice_ids, tokens=65_536, most=2048, pass_tokens=1):
    reader = ChoiceReader(model, choice_ids, 0, tokens)
    reader.pass_tokens = pass_tokens
    found = {}
    for batch in reader.batches([packed(prompt) for prompt in prompts], lambda: most):
        assert len(batch) <= most
        found.update(zip(batch, reader.read(batch), strict=True))
    assert set(found) == {packed(prompt) for prompt in prompts}  # each once
    return reader, np.array([found[packed(prompt)] for prompt in prompts])


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_each_prompt_alone(name):
    model = _model(name)
    reader, found = _read(model, TREE, [3, 44])
    assert reader.shares == (name in SHARING)
    # A fresh model each: a dynamic encoding remembers the longest input it has seen.
    alone = np.concatenate([_plain(_model(name), [prompt], [3, 44]) for prompt in TREE])
    assert found == pytest.approx(alone, abs=1e-5)
    assert len({round(value, 6) for value in found[:, 0]}) > len(TREE) // 2  # they do differ


@pytest.mark.parametrize(("tokens", "most"), [(65_536, 1), (65_536, 4), (100, 2048), (1, 2048)])
def test_batches_change_nothing(tokens, most):
    model = _model("llama")
    assert _read(model, TREE, [3, 44], tokens, most)[1] == pytest.approx(_plain(model, TREE, [3, 44]), abs=1e-5)


@pytest.mark.parametrize(
    "prompts",
    [
        [[7]],
        [[7, 8, 9, 10]],
        [[7], [7, 8], [7, 8, 9], [7, 8, 9, 10]],  # each a prefix of the next
        [[7, 8], [9, 10], [11, 12]],  # nothing in common
        [[7], [*range(3, 50)] * 5, [*range(3, 49)] * 5, [7, 8]],  # 1 to 235 tokens
        [[7] * 200, [*[7] * 199, 8], [*[7] * 199, 9]],  # all but the last in common
        [[7] * n for n in range(1, 40)],
    ],
    ids=["token", "one", "prefixes", "strangers", "lengths", "last", "stairs"],
)
def test_hand_cases(prompts):
    model = _model("llama")
    for pass_tokens in (0, 1, 256):
        found = _read(model, prompts, [3, 44, 5], pass_tokens=pass_tokens)[1]
        assert found == pytest.approx(_plain(model, prompts, [3, 44, 5]), abs=1e-5)


def test_what_is_shared_is_computed_once(monkeypatch):
    """Two problems of 3 tokens behind 20 shots, two responses of 2 tokens each: 20 + 2 * 3 + 4 * 2 = 34 tokens."""
    model = _model("llama")
    prompts = [[*range(20), *p, *r] for p in ([30, 31, 32], [33, 31, 32]) for r in ([40, 41], [42, 43])]
    forward, seen, logits = model.forward, [], []

    def watched(*args, **kwargs):
        seen.append(tuple(kwargs["input_ids"].shape))
        result = forward(*args, **kwargs)
        logits.append(tuple(result.logits.shape))
        return result

    monkeypatch.setattr(model, "forward", watched)
    found = _read(model, prompts, [3])[1]
    assert seen == [(1, 20), (2, 3), (4, 2)]
    assert logits == [(1, 1, 50), (1, 1, 50), (4, 1, 50)]  # one row of logits per prompt, never one per token
    monkeypatch.undo()
    assert found == pytest.approx(_plain(model, prompts, [3]), abs=1e-5)


def test_a_model_that_keeps_nothing_in_the_cache_is_run_whole(monkeypatch):
    model = _model("llama")
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, past_key_values=None, **k: forward(*a, **k))
    reader, found = _read(model, TREE, [3])
    monkeypatch.undo()
    assert not reader.shares
    assert found == pytest.approx(_plain(model, TREE, [3]), abs=1e-5)


def test_cuts_by_hand():
    """Rows aab, aac, abc: one beginning of 1 token, two of 2.

    Uncut 3 * 3 = 9. Cut at 1: 1 + 3 * 2 = 7. At 2: 2 * 2 + 3 * 1 = 7. At 1 and 2: 1 + 2 * 1 + 3 * 1 = 6. A pass costs.
    """
    common, length = np.array([2, 1]), np.array([3, 3, 3])
    assert cuts(common, length, 0) == [1, 2]
    assert cuts(common, length, 1) in ([1], [2])  # 7 + 1 = 6 + 2: both are cheapest, and below 9
    assert cuts(common, length, 2) == []  # 7 + 2 = 9 saves nothing
    assert cuts(np.array([], dtype=np.int64), np.array([5]), 0) == []
    assert cuts(np.array([0]), np.array([5, 5]), 0) == []


def test_cuts_are_the_cheapest_of_all():
    """Against every subset of depths, on random trees."""
    random = np.random.default_rng(0)
    for _ in range(60):
        rows = sorted({tuple(random.integers(0, 2, random.integers(4, 8))) for _ in range(12)})
        common = np.array([next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                           for a, b in itertools.pairwise(rows)])  # fmt: skip
        length = np.array([len(row) for row in rows])
        price = int(random.integers(0, 4))

        def cost(chosen, rows=rows, length=length, price=price):
            total, start = len(chosen) * price, 0
            for cut in chosen:
                total, start = total + len({row[:cut] for row in rows}) * (cut - start), cut
            return total + len(rows) * (int(length.max()) - start)

        depths = range(1, int(length.min()))
        subsets = (s for k in range(len(depths) + 1) for s in itertools.combinations(depths, k))
        assert cost(cuts(common, length, price)) == min(cost(subset) for subset in subsets)


def test_equal_prompts_and_their_order(tiny_model_folder):
    engine = TransformersEngineSettings(device="cpu").load(tiny_model_folder)
    prompts = ["<s> 3 4 :", "<s> 10 8 6 -> 12 :", "<s> 3 4 :", "<s> 3", "<s> 10 8 6 -> 12 : 10 + 8"]
    found = engine.choice_logprobs(prompts, ("yes", "no"))
    assert found.shape == (5, 2)
    assert (found[0] == found[2]).all()
    ids = [engine.tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    choice_ids = engine.tokenizer.convert_tokens_to_ids(["yes", "no"])
    assert found == pytest.approx(_plain(engine.model, ids, choice_ids), abs=1e-5)
    assert engine.choice_logprobs([], ("yes", "no")).shape == (0, 2)


def test_a_model_in_training_stays_in_training(tiny_model_folder):
    loaded = TransformersEngineSettings(device="cpu").load(tiny_model_folder)
    engine = TransformersEngine.from_model(loaded.model.train(), loaded.tokenizer, loaded.settings)
    engine.choice_logprobs(["<s> 3 4 :"], ("yes", "no"))
    assert engine.model.training


def test_a_cpu_takes_small_batches_and_a_large_vocabulary_smaller_ones(monkeypatch):
    model = _model("llama")
    prompts = [[1, 2, *row] for row in itertools.product(range(6), repeat=3)]
    monkeypatch.setattr(choices, "CPU_TOKENS", 30)
    reader = ChoiceReader(model, [3], 0, 65_536)
    rows = [packed(prompt) for prompt in prompts]
    sizes = [len(batch) for batch in reader.batches(rows, lambda: 2048)]
    assert sum(sizes) == 216 and max(sizes) <= 31
    monkeypatch.setattr(choices, "rows_at_once", lambda model: 5)
    assert max(len(batch) for batch in reader.batches(rows, lambda: 2048)) == 5
