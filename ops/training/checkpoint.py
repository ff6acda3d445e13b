"""Checkpoints of unfinished training: safetensors and JSON, swapped in with one rename, never pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.storage.atomic import atomic_folder

BEST = "best"
RNG = "rng"


def save_checkpoint(
    folder: Path,
    step: int,
    model: Any,
    optimizers: dict[str, Any],
    extra: dict[str, Any],
    *,
    best: Mapping[str, Any] | None = None,
    generators: Mapping[str, Any] | None = None,
) -> None:
    """Write ``folder/step-N`` whole, then drop older ones.

    Of the model the parameters that are trained; frozen ones are those of the start model.

    Args:
        best: weights that may become the model, by name.
        generators: states of random generators, uint8, by device type (``random_states``).
    """
    from safetensors.torch import save_file

    tensors = {f"model/{name}": value.contiguous() for name, value in trained(model).items()}
    tensors |= {f"{BEST}/{name}": value.contiguous() for name, value in (best or {}).items()}
    tensors |= {f"{RNG}/{name}": value.contiguous() for name, value in (generators or {}).items()}
    scalars: dict[str, Any] = {}
    for key, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if hasattr(value, "detach"):
                    tensors[f"{key}/{index}/{name}"] = value.detach().contiguous()
                else:
                    scalars[f"{key}/{index}/{name}"] = value
    with atomic_folder(folder / f"step-{step:08d}") as staging:
        save_file(tensors, staging / "state.safetensors")
        (staging / "state.json").write_text(json.dumps({"step": step, "scalars": scalars, "extra": extra}))
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: Any, optimizers: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Restore the newest checkpoint into ``model`` and ``optimizers``; (step, extra), or None where there is none."""
    import torch
    from safetensors.torch import load_file

    newest = _newest(folder)
    if newest is None:
        return None
    meta = json.loads((newest / "state.json").read_text())
    tensors = load_file(newest / "state.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"model/{name}"])
    for key, optimizer in optimizers.items():
        states: dict[int, dict[str, Any]] = {}
        for source in (tensors, meta["scalars"]):
            for full, value in source.items():
                owner, *rest = full.split("/")
                if owner == key:
                    states.setdefault(int(rest[0]), {})[rest[1]] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(meta["step"]), meta["extra"]


def load_part(folder: Path, part: str) -> dict[str, Any]:
    """The tensors of the newest checkpoint's ``best`` weights or ``rng`` states, by name; empty where it has none."""
    from safetensors import safe_open

    newest = _newest(folder)
    if newest is None:
        return {}
    with safe_open(newest / "state.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{part}/")]  # noqa: SIM118
        return {name.removeprefix(f"{part}/"): file.get_tensor(name) for name in names}


def trained(model: Any) -> dict[str, Any]:
    """The parameters of the model that are trained, by name, detached but not copied."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def random_states(device: str) -> dict[str, Any]:
    """States of the generators that dropout draws from on ``device``: the CPU's, and the device's own."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if device in ("cuda", "mps"):
        states[device] = getattr(torch, device).get_rng_state().cpu()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put the generators where ``random_states`` found them."""
    import torch

    for device, state in states.items():
        (torch if device == "cpu" else getattr(torch, device)).set_rng_state(state)


def _newest(folder: Path) -> Path | None:
    return max((path for path in folder.glob("step-*") if path.is_dir()), default=None)
