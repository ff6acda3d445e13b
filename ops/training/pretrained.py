"""What a checkpoint has to be to be trained here: known from its configuration, and checked on the loaded model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ops.errors import ModelError
from ops.training.lora_settings import ALL_LINEAR, Lora

HEAD_SETTINGS = (
    "final_logit_softcapping",  # Gemma 2, 3n and others
    "logits_soft_cap",  # RecurrentGemma
    "output_logit_soft_cap",  # xLSTM
    "logit_scale",  # Cohere, MPT
    "logits_scaling",  # Granite
    "lm_head_multiplier",  # Falcon-H1
)
"""Names under which configurations say that logits are changed after the output layer."""

PROBE_TOKENS = 16
"""Of the input on which the logits are compared."""

REMEDY = "choose another model; sampling, verification and the gap work with this one"


class Trains(Protocol):
    """Settings of what is trained, and how."""

    @property
    def lora(self) -> Lora | None: ...
    @property
    def activation_checkpointing(self) -> bool: ...


def check_configuration(config: Any, settings: Trains, where: str, section: str = "training") -> None:
    """Refuse what cannot be trained with these settings, no weights being loaded.

    Args:
        config: of transformers.
        section: of the experiment file, where the settings stand.

    Raises:
        ModelError: names the setting.
    """
    import torch
    from transformers import AutoModelForCausalLM

    check_head(config)
    targets = () if settings.lora is None else settings.lora.target_modules
    named = targets not in ((), (ALL_LINEAR,))
    if not named and not settings.activation_checkpointing:
        return
    with torch.device("meta"):  # the modules without their numbers
        model = AutoModelForCausalLM.from_config(config)
    if named:
        from ops.training.lora import check_targets

        check_targets(model, list(targets), where)
    if settings.activation_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(
            where,
            f"a {config.model_type} model keeps all activations: transformers cannot compute them again",
            field=f"{section}.activation_checkpointing",
            remedy="take activation_checkpointing: false, and a lower tokens_per_micro_batch",
        )


def configuration_of(folder: Path) -> Any:
    """What ``config.json`` says, as transformers reads it.

    Raises:
        ModelError: when transformers does not know such a model.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(str(folder), f"config.json is of no model that loads: {reason}", field="model") from None


def check_head(config: Any) -> None:
    """Refuse models that change their logits after the output layer, which the loss here does not do.

    Raises:
        ModelError: names the setting of the model's configuration.
    """
    text = config.get_text_config(decoder=True)
    for name in HEAD_SETTINGS:
        value = getattr(text, name, None)
        if value not in (None, 1, 1.0):
            raise ModelError(
                f"model type {config.model_type}",
                f"{name} is {value}: its logits are changed after the output layer, which fine-tuning here does not do",
                field="model",
                remedy=REMEDY,
            )


def check_logits(model: Any, ids: Sequence[int]) -> None:
    """Hold the model's own logits to those that the loss is computed from: body, then output layer.

    Args:
        ids: a short text that it reads.

    Raises:
        ModelError: when they differ by more than rounding, whatever the configuration calls the reason.
    """
    import torch

    from ops.training.loss import in_use

    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        problem = "transformers does not say which part of it is the output layer, which fine-tuning here needs"
        raise ModelError(f"model type {model.config.model_type}", problem, field="model", remedy=REMEDY)
    tokens = torch.tensor([list(ids)[:PROBE_TOKENS]], device=model.device)
    with torch.no_grad(), in_use(model):
        own = model(input_ids=tokens, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        ours = head(hidden).float()
    far = float((own - ours).abs().max()) if own.shape == ours.shape else float("inf")
    if not far <= 1e-3 * max(1.0, float(own.abs().max())):
        raise ModelError(
            f"model type {model.config.model_type}",
            f"its logits are not those of its output layer (they differ by up to {far:.3g}), and fine-tuning here "
            "computes its loss from these",
            field="model",
            remedy=REMEDY,
        )


def make_saveable(model: Any) -> None:
    """Give ``model`` a generation configuration that can be saved; one that can stays as it is.

    ``save_pretrained`` refuses, after the whole training, what ``from_pretrained`` takes: a temperature without
    ``do_sample``, as many published checkpoints have it. Where sampling being on does not mend it, only the ids of
    special tokens are kept.
    """
    from transformers import GenerationConfig

    found = model.generation_config
    if found is None or _is_valid(found):
        return
    found.do_sample = True
    if not _is_valid(found):
        ids = {name: value for name, value in found.to_dict().items() if name.endswith("_token_id")}
        model.generation_config = GenerationConfig(**ids)


def _is_valid(generation: Any) -> bool:
    try:
        generation.validate(strict=True)
    except ValueError:
        return False
    return True


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """The model with every dropout of its own at 0, and afterwards as it was; adapters that are added keep theirs."""
    from torch.nn.modules.dropout import _DropoutNd

    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    changed: list[tuple[Any, str, float]] = []
    for place in (*model.modules(), *configs.values()):
        for name, value in list(vars(place).items()):
            is_rate = "drop" in name or (name == "p" and isinstance(place, _DropoutNd))
            if is_rate and isinstance(value, float) and value > 0.0:
                changed.append((place, name, value))
                setattr(place, name, 0.0)
    try:
        yield
    finally:
        for place, name, value in changed:
            setattr(place, name, value)


@contextmanager
def recomputed_activations(model: Any, is_on: bool) -> Iterator[None]:
    """The model computing activations again in the backward pass instead of keeping them, where ``is_on``."""
    if is_on:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        if is_on:
            model.gradient_checkpointing_disable()
