"""Self-BLEU: how much the responses to one problem repeat each other's words (1802.01886).

Written here because the libraries (sacrebleu, nltk) count every reference's n-grams anew for every hypothesis: of 300
problems with 16 responses, many seconds each time. Tests hold the value to sacrebleu's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_ORDER = 4
"""Longest n-grams, as in BLEU."""

_TOKEN = re.compile(r"\w+|[^\w\s]")

NGram = tuple[str, ...]


def tokens_of(text: str) -> list[str]:
    """Words and numbers, and every other sign by itself."""
    return _TOKEN.findall(text)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean over the texts of BLEU-4 of each against all the others as references, from 0 to 1; NaN for fewer than two.

    Higher is less diverse: 1 where each has an equal one, 0 where no word of any stands in another. It grows with the
    number of texts, so only values of equally many can be compared. BLEU of one text as sacrebleu computes it for a
    sentence: orders that the text is too short for are left out (effective order), orders without a match are smoothed
    by halving (method ``exp``), the brevity penalty is that of the closest reference length, the shorter one of two;
    tokens are those of ``tokens_of``.
    """
    if len(texts) < 2:
        return float("nan")
    copies = Counter(texts)
    if len(copies) == 1:
        return 1.0
    counts = [_ngrams(tokens_of(text)) for text in copies]
    lengths = np.array([counted.total_length for counted in counts])
    most, second, owner = _two_largest(counts)
    total = 0.0
    for place, (counted, n_copies) in enumerate(zip(counts, copies.values(), strict=True)):
        if n_copies > 1:  # a copy of itself is among its references: every n-gram matches, at its own length
            total += n_copies
            continue
        limit = {gram: second.get(gram, 0) if owner[gram] == place else most[gram] for gram in counted.grams}
        total += _bleu(counted, limit, np.delete(lengths, place))
    return total / len(texts)


class _Counted:
    """The n-grams of one text with their numbers."""

    def __init__(self, grams: Counter[NGram], total_length: int) -> None:
        self.grams, self.total_length = grams, total_length


def _ngrams(tokens: Sequence[str]) -> _Counted:
    grams: Counter[NGram] = Counter()
    for order in range(1, MAX_ORDER + 1):
        grams.update(zip(*(tokens[start:] for start in range(order)), strict=False))
    return _Counted(grams, len(tokens))


def _two_largest(counts: Sequence[_Counted]) -> tuple[dict[NGram, int], dict[NGram, int], dict[NGram, int]]:
    """Of every n-gram the largest number in any text, the largest in another text, and which text has the first."""
    most: dict[NGram, int] = {}
    second: dict[NGram, int] = {}
    owner: dict[NGram, int] = {}
    for place, counted in enumerate(counts):
        for gram, n in counted.grams.items():
            known = most.get(gram, 0)
            if n > known:
                if known:
                    second[gram] = known
                most[gram], owner[gram] = n, place
            elif n > second.get(gram, 0):
                second[gram] = n
    return most, second, owner


def _bleu(counted: _Counted, limit: dict[NGram, int], reference_lengths: np.ndarray) -> float:
    """Sentence BLEU from clipped n-gram matches."""
    length = counted.total_length
    matched = [0] * (MAX_ORDER + 1)
    for gram, n in counted.grams.items():
        matched[len(gram)] += min(n, limit[gram])
    if not any(matched):
        return 0.0
    log_precision, halvings = 0.0, 0
    orders = min(MAX_ORDER, length)
    for order in range(1, orders + 1):
        possible = length - order + 1
        if matched[order]:
            log_precision += np.log(matched[order] / possible)
        else:
            halvings += 1
            log_precision += np.log(1.0 / (2**halvings * possible))
    distance = np.abs(reference_lengths - length)
    closest = int(reference_lengths[distance == distance.min()].min())
    brevity = 1.0 if length >= closest else np.exp(1.0 - closest / length)
    return float(brevity * np.exp(log_precision / orders))
