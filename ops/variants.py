"""How variants are declared: one frozen pydantic model per file, one line in a plain dict.

A variant's fields are its parameters in the experiment file; its ``name`` selects it. ``union``
turns such a dict into the type that pydantic validates by that name.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

T = TypeVar("T")
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Any seed in a file: what every random generator takes."""


def _list_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FromList = Annotated[T, BeforeValidator(_list_to_tuple)]
"""``FromList[tuple[int, ...]]``: a tuple, which stands as a list in a file (strict models take no list for a tuple)."""


class Strict(BaseModel):
    """Base of everything read from a file: unknown keys, wrong types and NaN are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def union(table: dict[str, type[Strict]]) -> Any:
    """The discriminated union (by ``name``) of a table of variants."""
    classes = tuple(table.values())
    if len(classes) == 1:
        return classes[0]
    return Annotated[Union[classes], Field(discriminator="name")]  # noqa: UP007
