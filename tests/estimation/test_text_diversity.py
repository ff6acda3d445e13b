"""Self-BLEU by hand, against sacrebleu, and what must hold for any texts."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.estimation.text_diversity import self_bleu, tokens_of

WORDS = st.lists(st.sampled_from(["1", "2", "3", "+", "="]), max_size=7).map(" ".join)


def test_by_hand():
    """Two texts of four tokens: a b c d and a b c e, each the other's only reference.

    Matches of n-grams: 3 of 4, 2 of 3 (ab, bc), 1 of 2 (abc), 0 of 1, smoothed to 1 / (2 * 1). Equal lengths: no
    brevity penalty. BLEU = (3/4 * 2/3 * 1/2 * 1/2)^(1/4) = (1/8)^(1/4).
    """
    assert self_bleu(["a b c d", "a b c e"]) == pytest.approx((1 / 8) ** (1 / 4))


def test_clipping_and_brevity_by_hand():
    """a a against a b c: 1-grams 1 of 2 (a is there once), 2-grams 0 of 1 -> 1/2; longer ones do not exist.
    Length 2 against 3: penalty exp(1 - 3/2). BLEU = exp(-1/2) * (1/2 * 1/2)^(1/2) = exp(-1/2) / 2.

    a b c against a a: 1-grams 1 of 3; 2-grams 0 of 2 -> 1/4; 3-grams 0 of 1 -> 1/4; not shorter.
    BLEU = (1/3 * 1/4 * 1/4)^(1/3) = (1/48)^(1/3).
    """
    expected = (math.exp(-1 / 2) / 2 + (1 / 48) ** (1 / 3)) / 2
    assert self_bleu(["a a", "a b c"]) == pytest.approx(expected)


def test_the_closest_length_and_the_shorter_of_two_counts():
    """a b c d against lengths 2 and 6, both 2 away: the shorter, so no penalty. It matches a b of the first and a b c d
    of the second, all of it: 1."""
    texts = ["a b c d", "x y", "a b c d e f"]
    long_one = (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)  # a b c d e f: what a b c d has of it; longer: no penalty
    assert self_bleu(texts) == pytest.approx((1.0 + 0.0 + long_one) / 3)


def test_equal_texts_are_one_and_nothing_in_common_is_zero():
    assert self_bleu(["a b", "a b"]) == 1.0
    assert self_bleu(["a", "a", "a"]) == 1.0
    assert self_bleu(["a b", "c d"]) == 0.0
    # two equal ones count 1 each, the third 0
    assert self_bleu(["a b", "a b", "c d"]) == pytest.approx(2 / 3)
    assert self_bleu(["", "a"]) == 0.0


def test_fewer_than_two_texts_are_undefined():
    assert math.isnan(self_bleu([])) and math.isnan(self_bleu(["a b"]))


def test_tokens():
    assert tokens_of("10+8 = 18; it's") == ["10", "+", "8", "=", "18", ";", "it", "'", "s"]


@settings(deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=6))
def test_equal_to_sacrebleu(texts):
    """Texts that have an equal one are left to the rule that it counts 1 (sacrebleu gives an empty text 0)."""
    sacrebleu = pytest.importorskip("sacrebleu")
    total = 0.0
    for i, text in enumerate(texts):
        others = texts[:i] + texts[i + 1 :]
        options = dict(smooth_method="exp", tokenize="none", use_effective_order=True)
        total += 1.0 if text in others else sacrebleu.sentence_bleu(text, others, **options).score / 100.0
    assert self_bleu(texts) == pytest.approx(total / len(texts), abs=1e-9)


@given(st.lists(WORDS, min_size=2, max_size=6), st.randoms())
def test_bounds_and_order(texts, random):
    value = self_bleu(texts)
    assert 0.0 <= value <= 1.0 + 1e-12
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert self_bleu(shuffled) == pytest.approx(value)


def test_sixteen_texts_of_three_hundred_problems_take_a_second():
    texts = [f"{i} + {i % 5} = {i + i % 5} ; {i % 3} * {i} = {i * (i % 3)} ; {i} - 1 = {i - 1}" for i in range(16)]
    start = time.process_time()
    for _ in range(300):
        self_bleu(texts)
    assert time.process_time() - start < 5.0  # measured: 0.5 s
