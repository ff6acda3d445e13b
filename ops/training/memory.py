"""Out of memory in training: an error that says which setting bounds it. What is done is in the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ops.errors import ModelError


@contextmanager
def told_of_memory(where: str, bound: int | None, section: str = "training") -> Iterator[None]:
    """Say of an allocator's failure what to do about it.

    A batch is not cut smaller by itself: with dropout that would make another model of the same settings.

    Args:
        bound: tokens of a micro-batch; None: whole batches.
        section: of the experiment file, where the setting stands.

    Raises:
        ModelError: names the setting.
    """
    from ops.engines.memory import is_out_of_memory

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    else:
        return
    smaller = "precision: bfloat16 or lora" if section == "training" else "or precision: bfloat16"
    # Out of the `except`, so that its traceback keeps no tensor of the failed step alive.
    raise ModelError(
        where,
        f"no memory for {f'parts of {bound:,} tokens' if bound else 'a whole batch at once'}: {reason}",
        field=f"{section}.tokens_per_micro_batch",
        remedy=f"take {'a lower' if bound else 'one, such as 2048, or a lower'} tokens_per_micro_batch, "
        f"activation_checkpointing: true, {smaller}; the run goes on at its last checkpoint",
    )
