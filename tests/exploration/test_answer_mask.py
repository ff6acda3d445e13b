"""Answer tokens of drawn responses: words, byte-level BPE with characters of several tokens, stop tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.builtin.model import new_tokenizer
from ops.config import Experiment
from ops.exploration.answer_mask import answer_mask, check_mask, masks_answer
from ops.exploration.bonuses.batch import Batch
from ops.exploration.bonuses.entropy import Entropy
from ops.exploration.bonuses.none import NoBonus
from ops.exploration.bonuses.ucb import Ucb
from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.jsonl import Jsonl

SENTENCES = [
    "The answer is 18 apples, 1800 euros and 180 dollars.",
    "Die Antwort lautet 1.234,50 € für zwölf Gläser.",
    "答えは 18 です。 The next answer is 1800.",
    "#### 18\n#### 1800\n",
]


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE: frequent words are one token, rare characters several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module")
def words():
    return new_tokenizer()


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def shown(tokenizer, ids, mask_T) -> list[str]:
    """The masked tokens, decoded one by one."""
    return [tokenizer.decode([token]) for token, masked in zip(ids, mask_T, strict=True) if masked]


def test_words(words):
    text = "7 + 5 = 12 ; 12 - 3 = 9"
    ids = [*ids_of(words, text), *ids_of(words, ".")]
    mask_T = answer_mask(words, ids, text, (len(text) - 1, len(text)))
    # eleven words and the stop token: the ninth after " = " is word 10 of 0..10
    assert mask_T.tolist() == [False] * 10 + [True, False] and mask_T.dtype == bool
    between = answer_mask(words, ids, text, (text.index("12"), text.index("12") + 2))
    assert np.flatnonzero(between).tolist() == [4]


def test_bpe_by_hand(bpe):
    text = "The answer is 18 apples"
    ids = ids_of(bpe, text)
    start = text.index("18")
    mask_T = answer_mask(bpe, [*ids, bpe.eos_token_id], text, (start, start + 2))
    assert "".join(shown(bpe, [*ids, bpe.eos_token_id], mask_T)).strip() == "18" and mask_T.sum() < len(ids)


def test_a_token_that_holds_a_part_of_the_answer_is_masked(bpe):
    text = "#### 1800"
    ids = ids_of(bpe, text)
    assert " 1800" in [bpe.decode([token]) for token in ids], "the test wants a token of several characters"
    one_digit = answer_mask(bpe, ids, text, (6, 7))
    assert shown(bpe, ids, one_digit) == [" 1800"]


def test_a_character_of_several_tokens_is_masked_whole(bpe):
    text = "x 🂡 y"  # four bytes that the training text has not
    ids = ids_of(bpe, text)
    mask_T = answer_mask(bpe, ids, text, (2, 3))
    assert mask_T.sum() >= 3 and bpe.decode([i for i, masked in zip(ids, mask_T, strict=True) if masked]).strip() == "🂡"
    # what is before and after the character is not masked
    assert "".join(shown(bpe, ids, answer_mask(bpe, ids, text, (0, 1)))) == "x"
    assert "".join(shown(bpe, ids, answer_mask(bpe, ids, text, (4, 5)))).strip() == "y"


def test_end_and_stop_tokens_are_no_answer(bpe, words):
    ids = [*ids_of(bpe, "The answer is 18"), bpe.eos_token_id]
    assert not answer_mask(bpe, ids, "The answer is 18", (14, 16))[-1]
    stopped = ids_of(bpe, "is 18\n#### ")  # cut before the stop string "\n####"
    mask_T = answer_mask(bpe, stopped, "is 18", (3, 5))
    assert "".join(shown(bpe, stopped, mask_T)).strip() == "18"
    drawn = [*ids_of(words, "7 + 5 = 12"), words.eos_token_id]
    assert answer_mask(words, drawn, "7 + 5 = 12", (8, 10)).tolist() == [False] * 4 + [True, False]


def test_no_answer_no_mask(words):
    ids = ids_of(words, "7 + 5 = 12")
    assert answer_mask(words, ids, "7 + 5 = 12", None).tolist() == [False] * 5
    assert answer_mask(words, ids, "7 + 5 = 12", (3, 3)).tolist() == [False] * 5
    assert answer_mask(words, [], "", None).shape == (0,)


def test_where_tokens_and_text_disagree_all_are_masked(words):
    ids = ids_of(words, "7 + 5 = 12")
    assert answer_mask(words, ids, "7 + 5 = 13", (8, 10)).tolist() == [True] * 5


def test_bytes_that_are_no_text(bpe):
    """A drawn response may end in the middle of a character, or hold bytes that are none."""
    [*head] = ids_of(bpe, "The answer is 18 ")
    half = ids_of(bpe, "🂡")[:1]
    for ids in (head + half, half + head, head[:2] + half + head[2:]):
        text = bpe.decode(ids)
        start = text.index("18")
        mask_T = answer_mask(bpe, ids, text, (start, start + 2))
        assert "18" in bpe.decode([i for i, masked in zip(ids, mask_T, strict=True) if masked])
        assert mask_T.sum() <= 4
    two_bytes = [*ids_of(bpe, "🂡")[:2], *ids_of(bpe, "A")]
    assert len(two_bytes) == 3 and bpe.decode(two_bytes) == "\ufffdA", "the test wants one mark for two bytes"
    assert answer_mask(bpe, two_bytes, "\ufffdA", (0, 1))[:2].tolist() == [True, True]


def test_few_decodes_of_a_long_response(bpe):
    class Counting:
        def __init__(self):
            self.calls = 0

        def decode(self, ids, **settings):
            self.calls += 1
            return bpe.decode(ids, **settings)

    text = " ".join(SENTENCES[0] for _ in range(400)) + "\n#### 18"
    ids, counting = ids_of(bpe, text), Counting()
    mask_T = answer_mask(counting, ids, text, (len(text) - 2, len(text)))
    assert len(ids) > 4_000 and counting.calls < 40
    assert "".join(shown(bpe, ids, mask_T)).strip() == "18"


def characters_of(tokenizer, ids) -> list[set[int]]:
    """Characters of each token by its bytes: a reading of its own, for tokens of byte-level BPE and whole UTF-8."""
    from tokenizers.pre_tokenizers import ByteLevel

    byte_tokens = [tokenizer.convert_ids_to_tokens(token) for token in ids]
    assert set("".join(byte_tokens)) <= set(ByteLevel.alphabet())
    text = tokenizer.decode(ids)
    of_byte = [i for i, character in enumerate(text) for _ in character.encode()]
    ends = np.cumsum([len(token) for token in byte_tokens])  # one letter of the alphabet is one byte
    return [set(of_byte[end - len(token) : end]) for token, end in zip(byte_tokens, ends, strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_exactly_the_tokens_whose_bytes_are_in_the_span(bpe, data):
    text = data.draw(st.text(st.sampled_from("18 €üα答🂡\u0301.#\nanswer is"), min_size=1, max_size=24))
    ids = ids_of(bpe, text)
    assert bpe.decode(ids) == text
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    expected = [bool(characters & set(range(start, end))) for characters in characters_of(bpe, ids)]
    assert answer_mask(bpe, ids, text, (start, end)).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_tokens_never_raise(bpe, data):
    ids = data.draw(st.lists(st.integers(0, len(bpe) - 1), min_size=1, max_size=20))
    text = bpe.decode(ids, skip_special_tokens=True)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    mask_T = answer_mask(bpe, ids, text, (start, end))
    assert mask_T.shape == (len(ids),) and (end == start or mask_T.any())


NUMERIC = Jsonl(grader="numeric")


def test_which_responses_are_masked():
    assert masks_answer(Ucb(), Arithmetic()) and masks_answer(Batch(), Gsm8k()) and masks_answer(Ucb(), NUMERIC)
    assert not masks_answer(Ucb(), Countdown()) and not masks_answer(Ucb(), Jsonl(grader="sudoku"))
    assert not masks_answer(Ucb(mask_answer=False), Arithmetic())
    assert not masks_answer(NoBonus(), Arithmetic()) and not masks_answer(Entropy(), Arithmetic())
    check_mask(Ucb(mask_answer=True), Arithmetic())
    check_mask(Ucb(), Countdown())
    with pytest.raises(ValueError, match=r"mask_answer: .*nothing would carry .*, got true with task countdown"):
        check_mask(Ucb(mask_answer=True), Countdown())


def test_a_mask_that_leaves_nothing_is_refused_in_the_experiment_file():
    fields = {
        "name": "explore",
        "hypothesis": "A bonus without tokens is refused.",
        "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 0},
        "task": {"name": "countdown"},
        "problems": {"train_per_iteration": 32, "eval": 8},
        "sampling": {"n_eval": 8, "max_tokens": 16},
        "exploration": {"learning_rate": 1e-3, "bonus": {"name": "ucb", "mask_answer": True}},
    }
    with pytest.raises(ValidationError, match=r"exploration\.bonus\.mask_answer: null or false"):
        Experiment.model_validate(fields)
    fields["exploration"] = json.loads(json.dumps(fields["exploration"]).replace("true", "null"))
    assert Experiment.model_validate(fields).exploration.bonus.mask_answer is None
