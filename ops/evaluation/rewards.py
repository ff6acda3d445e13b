"""Reward models: sequence classifiers with one output, the text that they read, and what a reward says of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ops.errors import ModelError

CLIP = 1e-6
"""Probabilities are kept so far from 0 and 1: their log-odds stay within 13.8."""

TEXTS_AT_ONCE = 1024
"""Texts that are tokenised together to count their tokens."""


def log_odds(probability_N: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)) float [N] of probabilities, clipped to [``CLIP``, 1 - ``CLIP``] before; NaN stays NaN."""
    p_N = np.clip(np.asarray(probability_N, np.float64), CLIP, 1.0 - CLIP)
    return np.log(p_N) - np.log1p(-p_N)


def preference(reward_N: np.ndarray, reference_N: np.ndarray, scale: float) -> np.ndarray:
    """P(response preferred to the reference's) = 1 / (1 + exp(-(r - r_reference) / scale)) by Bradley and Terry.

    Args:
        reward_N, reference_N: float [N], NaN where there is none: the preference is then NaN.
        scale: of the rewards; how much of a difference counts.
    """
    from scipy.special import expit  # type: ignore[import-untyped]

    return np.asarray(expit((np.asarray(reward_N, np.float64) - np.asarray(reference_N, np.float64)) / scale))


def reward_text(tokenizer: Any, question: str, response: str) -> str:
    """What a reward model reads of one response.

    A conversation, the question by the user and the response by the assistant, where the tokenizer has a chat
    template; otherwise the question, a line end, the response.
    """
    if not getattr(tokenizer, "chat_template", None):
        return f"{question}\n{response}"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def reward_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts made by ``reward_text``: special tokens are added where no chat template writes them out."""
    added = not getattr(tokenizer, "chat_template", None)
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=added)["input_ids"]] if texts else []


def reward_lengths(tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Tokens int [N] of each text."""
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    counts = [len(ids) for start in starts for ids in reward_ids(tokenizer, texts[start : start + TEXTS_AT_ONCE])]
    return np.array(counts, dtype=np.int64)


def reward_configuration(path: Path) -> Any:
    """The configuration of a reward model; its weights are not read.

    Raises:
        ModelError: when transformers does not know the model, or it has not one output.
    """
    from ops.training.pretrained import configuration_of

    config = configuration_of(path)
    if config.num_labels != 1:
        raise ModelError(
            str(path),
            f"a classifier with {config.num_labels} outputs (num_labels), a reward model has 1",
            field="path",
            remedy="name a sequence classifier trained as a reward model; judges that ask a language model are "
            "pairwise and bradley_terry",
        )
    return config


def reward_room(config: Any) -> int | None:
    """Tokens that the model can take in; None where it has no limit."""
    room = getattr(config.get_text_config(), "max_position_embeddings", None)
    return room if isinstance(room, int) and room > 0 else None


def load_reward_model(path: Path, device: str = "auto", dtype: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a local checkpoint of ``AutoModelForSequenceClassification`` with one output.

    Args:
        device: as in the settings of the transformers engine.
        dtype: name of torch's; None: float32 on a CPU, bfloat16 elsewhere.

    Raises:
        ModelError: when it does not load from safetensors alone, has not one output, or its weights lack some that
            transformers would make up at random (the output of a plain language model, for instance).
        EngineError: when the device is not there.
    """
    import torch
    import transformers

    from ops.engines.tokens import first_line, load_tokenizer
    from ops.engines.transformers_engine import device_of

    reward_configuration(path)
    tokenizer, place = load_tokenizer(path), device_of(device)
    wanted = dtype or ("float32" if place.type == "cpu" else "bfloat16")
    try:
        model, about = transformers.AutoModelForSequenceClassification.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, wanted),
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        problem = f"not a reward model that loads: {first_line(error)}"
        remedy = "save it with save_pretrained(safe_serialization=True)"
        raise ModelError(str(path), problem, field="path", remedy=remedy) from error
    if about["missing_keys"]:
        raise ModelError(
            str(path),
            f"weights of a reward model are missing: {', '.join(sorted(about['missing_keys'])[:4])}",
            field="path",
            remedy="a language model is no reward model before it is trained as one; name one that is",
        )
    return model.to(place).eval(), tokenizer


def reward_logits(model: Any, ids: Sequence[Sequence[int]]) -> Any:
    """Rewards of one batch: a float32 tensor [n], through which gradients flow.

    Texts are filled up on the right. The last token that is not the padding token carries the reward, so where the
    checkpoint names no padding token one is taken that stands in none of these texts.
    """
    import torch

    config = model.config.get_text_config()
    named = config.pad_token_id
    pad = named if named is not None else _unused(ids)
    longest = max(len(row) for row in ids)
    tokens = torch.full((len(ids), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    config.pad_token_id = pad
    try:
        found = model(input_ids=tokens.to(model.device), attention_mask=mask.to(model.device))
    finally:
        config.pad_token_id = named
    return found.logits[:, 0].float()


def _unused(ids: Sequence[Sequence[int]]) -> int:
    """The smallest token that stands in none of the texts."""
    used = {token for row in ids for token in row}
    return next(token for token in range(len(used) + 1) if token not in used)


def release_memory() -> None:
    """Give memory that no tensor uses any more back to other engines."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reward_batches(
    model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 8, lengths: np.ndarray | None = None
) -> Iterator[tuple[list[int], np.ndarray]]:
    """(indices of texts, their rewards) batch by batch, short texts first; halves of a batch where memory runs out.

    Args:
        lengths: tokens of each text, where they are known already.

    Raises:
        EngineError: when there is no memory for a single text.
    """
    import torch

    from ops.engines.memory import in_parts

    if lengths is None:
        lengths = reward_lengths(tokenizer, texts)
    order = np.argsort(lengths, kind="stable").tolist()

    def run(indices: Sequence[int]) -> np.ndarray:
        with torch.inference_mode():
            found = reward_logits(model, reward_ids(tokenizer, [texts[index] for index in indices]))
        return np.asarray(found.cpu().numpy(), np.float64)

    for start in range(0, len(order), batch_size):
        for part, found in in_parts(order[start : start + batch_size], run, release_memory):
            yield list(part), found


def rewards(model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 8) -> np.ndarray:
    """Rewards float [N] of texts made by ``reward_text``, in their order."""
    found_N = np.full(len(texts), np.nan)
    for indices, found in reward_batches(model, tokenizer, texts, batch_size):
        found_N[indices] = found
    return found_N
