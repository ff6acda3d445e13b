"""Checkpoints of the hub: a cache that holds a part of one, and what is not to be had there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ops.checkpoints as checkpoints
from ops.checkpoints import locate_checkpoint
from ops.errors import ModelError
from ops.models import HubModel

TOKENIZER = {"tokenizer.json": "{}", "tokenizer_config.json": "{}"}
WHOLE = {**TOKENIZER, "config.json": "{}", "model.safetensors": ""}
SHARDS = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


class Hub:
    """Stands in for ``snapshot_download``: a cache folder, what the hub has, and the calls that were made."""

    def __init__(self, folder: Path, cached: dict[str, str] | None, there: dict[str, str] | None) -> None:
        self.folder, self.there = folder, there
        self.asked: list[bool] = []
        self.is_cached = cached is not None
        self.put(cached or {})

    def put(self, files: dict[str, str]) -> None:
        self.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def snapshot_download(self, identity, *, revision, allow_patterns, local_files_only=False, dry_run=False):
        from huggingface_hub.errors import LocalEntryNotFoundError

        assert not dry_run or self.there is not None
        self.asked.append(local_files_only)
        if local_files_only:
            if not self.is_cached:
                raise LocalEntryNotFoundError("not cached")
            return str(self.folder)
        if self.there is None:
            raise LocalEntryNotFoundError("the hub cannot be reached\nand more")
        self.put(self.there)
        return str(self.folder)


@pytest.fixture
def located(tmp_path, monkeypatch):
    """Locate a model whose files are ``cached`` here and ``there`` on the hub."""

    def locate(cached, there):
        hub = Hub(tmp_path / "snapshot", cached, there)
        monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
        checkpoints._from_hub.cache_clear()
        return hub, lambda: locate_checkpoint(HubModel(kind="hub", id="somebody/model"))

    yield locate
    checkpoints._from_hub.cache_clear()


def test_a_whole_checkpoint_in_the_cache_needs_no_hub(located):
    hub, locate = located(WHOLE, None)
    assert locate() == hub.folder
    assert hub.asked == [True]


def test_a_cached_tokenizer_alone_goes_on_to_the_download(located):
    hub, locate = located(TOKENIZER, WHOLE)
    assert (locate() / "model.safetensors").is_file()
    assert hub.asked == [True, False]


def test_a_shard_without_its_index_goes_on_to_the_download(located):
    hub, locate = located({"config.json": "{}", "model-00001-of-00002.safetensors": ""}, WHOLE)
    locate()
    assert hub.asked[:2] == [True, False]


def test_a_missing_shard_goes_on_to_the_download(located):
    index = {"config.json": "{}", "model.safetensors.index.json": json.dumps(SHARDS)}
    hub, locate = located({**index, "model-1.safetensors": ""}, {"model-2.safetensors": ""})
    assert (locate() / "model-2.safetensors").is_file()
    assert hub.asked == [True, False]


def test_without_weights_here_and_without_a_hub_both_are_said(located):
    _, locate = located(TOKENIZER, None)
    with pytest.raises(ModelError) as caught:
        locate()
    assert caught.value.field == "model.id"
    assert "cache holds it without its configuration or weights, and the hub does not give it" in caught.value.problem
    assert "the hub cannot be reached" in caught.value.problem


def test_a_hub_out_of_reach_gives_the_cached_part_and_is_not_believed(tmp_path, monkeypatch):
    """The library itself, offline, with a cache as loading a tokenizer alone leaves it: it returns the folder."""
    commit, repository = "a" * 40, tmp_path / "models--somebody--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name, text in {**TOKENIZER, "config.json": "{}"}.items():
        (snapshot / name).write_text(text)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    checkpoints._from_hub.cache_clear()
    model = HubModel(kind="hub", id="somebody/model", revision="main")
    with pytest.raises(ModelError, match=r"the local cache holds it without .* the hub does not give it: .*offline"):
        locate_checkpoint(model)
    (snapshot / "model.safetensors").write_bytes(b"")
    assert locate_checkpoint(model) == snapshot
    checkpoints._from_hub.cache_clear()


def test_pickled_weights_on_the_hub_are_spoken_of_as_such(located):
    _, locate = located(None, {**TOKENIZER, "config.json": "{}"})  # what the patterns leave of a repository
    with pytest.raises(ModelError, match=r"model.id: no \*.safetensors file on the hub") as caught:
        locate()
    assert "pickled" in caught.value.remedy
    assert "folder" not in caught.value.problem
