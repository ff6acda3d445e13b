"""Checkpoints that are not ours: found, checked and fingerprinted by content before any work is spent on them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ops.errors import ModelError
from ops.identity import fingerprint
from ops.models import FolderModel, HubModel
from ops.storage.atomic import file_digest

WEIGHT_PATTERNS = ("*.safetensors",)
HASHED_PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", *WEIGHT_PATTERNS)


def locate_checkpoint(model: FolderModel | HubModel) -> Path:
    """The folder of a checkpoint on disk; a hub id is looked up in the cache first, then on the hub.

    Raises:
        ModelError: when it is not there, cannot be reached, or holds no safetensors weights.
    """
    if isinstance(model, HubModel):
        return _check(_from_hub(model.id, model.revision), model.id)
    return _check(Path(model.path), model.path)


def _check(folder: Path, shown: str) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(shown, "no config.json in the checkpoint folder", field="model.path")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            shown,
            "the folder holds an adapter (adapter_config.json), not a whole model",
            field="model.path",
            remedy="merge the adapter into its base model and save that",
        )
    if not any(path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)):
        raise ModelError(
            shown,
            "no *.safetensors file in the checkpoint folder",
            field="model.path",
            remedy="pickled weights are not loaded; save again with save_pretrained(safe_serialization=True)",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(shown, f"config.json cannot be read: {error}", field="model.path") from None
    if "auto_map" in config:
        raise ModelError(
            shown, "config.json asks for code from the checkpoint (auto_map), which is never run", field="model.path"
        )
    return folder


@lru_cache(maxsize=32)
def _from_hub(identity: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(identity, revision=revision, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    try:
        return Path(snapshot_download(identity, revision=revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            identity,
            f"not in the local cache, and the hub does not give it: {reason}",
            field="model.id",
            remedy="download it on a machine with access and use model: {kind: folder, path: ...}",
        ) from None


def checkpoint_fingerprint(folder: Path) -> str:
    """A hash of the content of every file that defines the model (never of its path)."""
    names = sorted({path.name for pattern in HASHED_PATTERNS for path in folder.glob(pattern) if path.is_file()})
    digests = {}
    for name in names:
        stat = (folder / name).stat()
        digests[name] = _digest(folder / name, stat.st_size, stat.st_mtime_ns)
    return fingerprint("checkpoint", "1", digests)


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256 of a file; remembered in this process while size and time stay the same."""
    return file_digest(path)
