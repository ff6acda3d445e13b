"""A tiny reward model made here: an untrained sequence classifier over the built-in notation."""

from __future__ import annotations

from pathlib import Path


def save_classifier(folder: Path, seed: int = 0) -> Path:
    """A folder with a ``LlamaForSequenceClassification`` of one output, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from ops.builtin.model import new_tokenizer

    tokenizer = new_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
