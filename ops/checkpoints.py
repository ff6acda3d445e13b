"""Checkpoints that are not ours: found, checked and fingerprinted by content before any work is spent on them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ops.errors import ModelError
from ops.identity import fingerprint
from ops.models import FolderModel, FoundModel, HubModel, RegistryModel
from ops.tasks.rows import content_digest

WEIGHT_PATTERNS = ("*.safetensors",)
HASHED_PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", *WEIGHT_PATTERNS)


def locate_checkpoint(model: FolderModel | HubModel | RegistryModel) -> Path:
    """The folder of a checkpoint on disk; a hub id is looked up in the cache first, then on the hub.

    A registry model that an experiment file named has its folder since then; any other is looked up now.

    Raises:
        ModelError: when it is not there, cannot be reached, or holds no safetensors weights.
    """
    if isinstance(model, HubModel):
        return _check(_from_hub(model.id, model.revision), model.shown, "model.id", "on the hub")
    if isinstance(model, RegistryModel):
        found = model if isinstance(model, FoundModel) else find_registered(model)
        return _check(
            Path(found.path), found.shown, "model.name", f"in the folder that the registry names, {found.path}"
        )
    return _check(Path(model.path), model.path, "model.path", "in the checkpoint folder")


def find_registered(model: RegistryModel) -> FoundModel:
    """The version that answers to a registry model now, with its folder.

    Raises:
        ModelError: when name, version or alias is unknown, or the folder is gone or on no disk of this machine.
        StorageError: when the registry's database cannot be used.
    """
    from ops.lab import home_folder
    from ops.storage.tracking import registered_source

    version, path = registered_source(home_folder(), model.name, model.version, model.alias)
    if not path.is_dir():
        raise ModelError(
            f"{model.name} v{version}",
            f"the folder that the registry names is not there: {path}",
            field="model.name",
            remedy="name another version, or run the experiment that trained it again under this MINDGAP_HOME",
        )
    known = {**model.model_dump(), "version": version}
    return FoundModel.model_construct(**known, path=str(path), floats=model.version is None)


def _is_complete(folder: Path) -> bool:
    """Whether a folder holds a configuration and all weights that its index names.

    A cache holds what was asked for so far: of a model whose tokenizer alone was loaded, the tokenizer.
    """
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return not any(folder.glob("*-of-*.safetensors"))
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError):
        return False
    return all((folder / shard).is_file() for shard in shards)


def _check(folder: Path, shown: str, field: str, where: str) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(shown, f"no config.json {where}", field=field)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            shown,
            f"there is an adapter {where} (adapter_config.json), not a whole model",
            field=field,
            remedy="merge the adapter into its base model and save that",
        )
    if not any(path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)):
        raise ModelError(
            shown,
            f"no *.safetensors file {where}",
            field=field,
            remedy="pickled weights are not loaded: take a revision with safetensors, or load the model and save it "
            "with save_pretrained(safe_serialization=True) for model: {kind: folder, path: ...}",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(shown, f"config.json cannot be read: {error}", field=field) from None
    if "auto_map" in config:
        raise ModelError(
            shown, "config.json asks for code from the checkpoint (auto_map), which is never run", field=field
        )
    return folder


@lru_cache(maxsize=32)
def _from_hub(identity: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    cached = "not in the local cache"
    try:
        folder = Path(snapshot_download(identity, revision=revision, allow_patterns=patterns, local_files_only=True))
        if _is_complete(folder):
            return folder
        cached = "the local cache holds it without its configuration or weights"
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    try:
        folder = Path(snapshot_download(identity, revision=revision, allow_patterns=patterns))
        if not _is_complete(folder):
            # A hub out of reach gives the cached folder as it is, without a word; a dry run says so.
            snapshot_download(identity, revision=revision, allow_patterns=patterns, dry_run=True)
        return folder
    except (LocalEntryNotFoundError, HfHubHTTPError, DryRunError, OSError, ValueError) as error:
        said = error.__cause__ if isinstance(error, DryRunError) and error.__cause__ else error
        reason = (str(said).strip().splitlines() or [type(said).__name__])[0]
        raise ModelError(
            identity,
            f"{cached}, and the hub does not give it: {reason}",
            field="model.id",
            remedy="download it on a machine with access and use model: {kind: folder, path: ...}",
        ) from None


def checkpoint_fingerprint(folder: Path) -> str:
    """A hash of the content of every file that defines the model (never of its path)."""
    names = sorted({path.name for pattern in HASHED_PATTERNS for path in folder.glob(pattern) if path.is_file()})
    return fingerprint("checkpoint", "1", {name: content_digest(folder / name) for name in names})
