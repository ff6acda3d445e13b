"""What a server has loaded: whether it is the experiment's checkpoint, its context, and the server's version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ops.engines.openai_answers import ModelCard, Models, Version, read
from ops.engines.openai_client import Server
from ops.engines.openai_settings import OpenaiSettings
from ops.errors import EngineError

LOADING_RETRIES = 2
"""Of the first questions: a server that is not there should be known at once."""


@dataclass(frozen=True)
class Served:
    """The model on the server.

    Attributes:
        model: its name there.
        root: the path or name that it was loaded from; None where the server does not say: then nothing was compared.
        max_model_len: tokens of its context; None where nothing says.
        is_vllm: whether the server knows vLLM's additions to the protocol.
        version: of the server, as it is recorded with every response.
    """

    model: str
    root: str | None
    max_model_len: int | None
    is_vllm: bool
    version: str


async def find_served(server: Server, model_path: Path, settings: OpenaiSettings) -> Served:
    """The experiment's model on ``server``.

    Raises:
        EngineError: when nothing answers, it has another model or checkpoint, or it does not say which and nobody else
            does (``settings.model``).
    """
    retries = min(LOADING_RETRIES, settings.max_retries)

    async def send() -> Any:
        return await server.client.models.with_raw_response.list(extra_headers=server.headers)

    models = await server.ask(send, lambda body: read(Models, body), retries)
    card = _wanted(server, models.data, settings.model)
    _check_checkpoint(server, card, model_path, settings)
    is_vllm = card.owned_by == "vllm"
    limits = [limit for limit in (card.max_model_len, settings.max_model_len) if limit is not None]
    version = await _version(server, settings.base_url)
    who = ["vllm"] if is_vllm else ["openai-compatible", *([card.owned_by] if card.owned_by else [])]
    said = [*who, *([version] if version else []), *(["(checkpoint not compared)"] if card.root is None else [])]
    return Served(card.id, card.root, min(limits, default=None), is_vllm, " ".join(said))


def _wanted(server: Server, cards: Sequence[ModelCard], name: str | None) -> ModelCard:
    names = ", ".join(sorted(repr(server.shown(card.id)) for card in cards)) or "no model"
    found = [card for card in cards if name is None or card.id == name]
    if not found:
        wanted = "any" if name is None else repr(name)
        raise server.error(f"serves {names}, not {wanted}", "correct engine.model, or serve the model under that name")
    if len(found) > 1:
        raise server.error(f"serves {names}", "say in engine.model which of them is meant")
    return found[0]


def _check_checkpoint(server: Server, card: ModelCard, model_path: Path, settings: OpenaiSettings) -> None:
    if card.root is None:
        if settings.model is not None and settings.served_path is None:
            return  # the user's word for it
        name, without = server.shown(card.id), "; and leave engine.served_path out"
        raise server.error(
            f"serves {name!r} and does not say from which checkpoint (root in /v1/models), so nothing tells that it is "
            f"{str(model_path)!r}",
            f"if it is, say so by its name there, engine.model: {name}"
            + ("" if settings.served_path is None else without),
        )
    if not served_from(card.root, model_path, settings.served_path):
        raise server.error(
            f"serves {card.id!r} from {card.root!r}, and the experiment's checkpoint is {str(model_path)!r}",
            "serve that folder, or set engine.served_path to what the server calls it if it is the same checkpoint",
        )


def served_from(root: str, model_path: Path, served_path: str | None) -> bool:
    """Whether ``root``, which a server says it has loaded, is the checkpoint in ``model_path``.

    Args:
        root: a folder, or the id of a hub model.
        served_path: what ``root`` has to be instead of the path, where somebody said so.
    """
    if served_path is not None:
        return root == served_path
    if Path(root).resolve() == model_path.resolve():
        return True
    # A snapshot in the hub's cache: models--OWNER--NAME/snapshots/COMMIT.
    cached = model_path.resolve().parents
    return len(cached) > 1 and cached[0].name == "snapshots" and cached[1].name == f"models--{root.replace('/', '--')}"


async def _version(server: Server, base_url: str) -> str | None:
    """What vLLM's /version says; None where a server has no such thing."""
    import httpx2

    parts = urlsplit(base_url)
    address = urlunsplit(parts._replace(path=parts.path.removesuffix("/v1") + "/version"))

    async def send() -> Any:
        return await server.client.get(address, cast_to=httpx2.Response, options={"headers": server.headers})

    try:
        return (await server.ask(send, lambda body: read(Version, body), 0)).version
    except EngineError:
        return None
