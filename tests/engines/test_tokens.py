"""The tokenizer side of every engine: the quick way to token ids, windows of requests, what is remembered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.builtin.model import new_tokenizer
from ops.engines.base import SampleRequest
from ops.engines.tokens import Tokens, windows

TEXTS = ["<s> 10 8 6 -> 12 :", "", "7 + 5 = 12 ; </s>", "what is this?", "<s><s> 1 :"]


@pytest.fixture(params=["built in", "with padding and truncation", "special tokens split"])
def tokenizer(request):
    tokenizer = new_tokenizer()
    if request.param == "with padding and truncation":  # as a tokenizer.json may say that another program saved
        tokenizer.backend_tokenizer.enable_padding(length=12)
        tokenizer.backend_tokenizer.enable_truncation(max_length=4)
    if request.param == "special tokens split":
        tokenizer.split_special_tokens = True
    return tokenizer


def test_token_ids_are_those_of_the_tokenizer_itself(tokenizer):
    found = Tokens(tokenizer, [], None, "test").ids(TEXTS)
    assert found == tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    assert max(map(len, found)) > 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="<s>/ 0123456789+-*=;:.?#%!yesno", max_size=30), max_size=6))
def test_token_ids_of_any_text(texts):
    tokenizer = new_tokenizer()
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    assert Tokens(tokenizer, [], None, "test").ids(texts) == expected


def test_the_last_answer_is_remembered_and_no_other(monkeypatch):
    tokens, calls = Tokens(new_tokenizer(), [], None, "test"), []
    encoded = tokens._encoded
    monkeypatch.setattr(tokens, "_encoded", lambda texts: calls.append(texts) or encoded(texts))
    for texts in (TEXTS, list(TEXTS), TEXTS[:2], TEXTS):
        assert tokens.ids(texts) == encoded(texts)
    assert calls == [TEXTS, TEXTS[:2], TEXTS]


def test_windows_hold_a_bounded_number_of_samples_and_are_read_lazily():
    read = []

    def requests():
        for i, n in enumerate((3, 3, 5, 9, 1)):
            read.append(i)
            yield SampleRequest(str(i), tuple(range(n)))

    found = windows(requests(), samples=6)
    assert [request.prompt for request in next(found)] == ["0", "1"]
    assert read == [0, 1, 2]
    assert [[request.prompt for request in window] for window in found] == [["2"], ["3"], ["4"]]
