"""Checkpoints of unfinished training: safetensors and JSON, swapped in with one rename, never pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ops.storage.atomic import atomic_folder


def save_checkpoint(folder: Path, step: int, model: Any, optimizers: dict[str, Any], extra: dict[str, Any]) -> None:
    """Write ``folder/step-N`` whole, then drop older ones."""
    from safetensors.torch import save_file

    tensors = {f"model/{name}": parameter.detach().contiguous() for name, parameter in model.named_parameters()}
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

    found = sorted(path for path in folder.glob("step-*") if path.is_dir())
    if not found:
        return None
    meta = json.loads((found[-1] / "state.json").read_text())
    tensors = load_file(found[-1] / "state.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
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
