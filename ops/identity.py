"""Fingerprints and seeds: what defines a result is hashed, where it runs is not.

A fingerprint is a hash of (step name, code version of the step, the part of the configuration
that the step reads, fingerprints of its inputs). Paths, hardware, batch sizes and parallelism
never enter it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ops.errors import IdentityError

FINGERPRINT_CHARS = 16


def canonical(value: Any, where: str = "value") -> Any:
    """Return ``value`` as plain JSON data, or refuse it.

    Raises:
        IdentityError: for anything whose text form is not stable: functions, objects,
            sets, bytes, NaN and infinities, or keys that are not strings.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="python")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise IdentityError(where, f"{value} cannot be part of a fingerprint", remedy="use a finite number")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise IdentityError(where, f"key {key!r} is not a string", remedy="use string keys")
        return {key: canonical(item, f"{where}.{key}") for key, item in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise IdentityError(
        where,
        f"a {type(value).__name__} has no stable text form, so it cannot be part of a fingerprint",
        remedy="pass plain JSON values (text, numbers, lists, dicts) that define the result",
    )


def fingerprint(step: str, code_version: str, config: Any = None, inputs: Mapping[str, str] | None = None) -> str:
    """Hash what defines a result into 16 hexadecimal characters.

    Args:
        step: name of the step, e.g. ``generations``.
        code_version: bumped by hand whenever the step would compute something else.
        config: the part of the configuration that the step reads (JSON values or a pydantic model).
        inputs: fingerprints of the inputs by role.

    Raises:
        IdentityError: when ``config`` cannot be hashed stably.
    """
    body = canonical({"step": step, "code_version": code_version, "config": config, "inputs": dict(inputs or {})}, step)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_CHARS]


def response_id(pool_fingerprint: str, prompt: str, sample_index: int) -> str:
    """Identity of one sample: (model and sampling settings, prompt, sample index), 32 hex characters.

    ``pool_fingerprint`` already covers the model, the sampling settings without n, and the seed.
    """
    text = f"{pool_fingerprint}\0{sample_index}\0{prompt}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def short_hash(text: str) -> str:
    """16 hexadecimal characters that stand for ``text``."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def seed_of(identity: str, purpose: str = "sample") -> int:
    """A 63-bit seed that depends on ``identity`` and ``purpose`` only."""
    digest = hashlib.blake2b(f"{purpose}\0{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
