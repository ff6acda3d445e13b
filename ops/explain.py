"""A validation error in words: which field of the file, what was expected, what was found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text of whole Unicode characters",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "text of at least {min_length} characters",
    "string_pattern_mismatch": "text that matches the pattern {pattern}",
    "literal_error": "one of {expected}",
    "union_tag_invalid": "one of {expected_tags}",
}
_NAMED = re.compile(r"^([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (.*)$", re.S)


def explain(error: ValidationError, root: type[BaseModel]) -> tuple[str | None, str]:
    """The first wrong field of a pydantic error and a sentence saying what was expected and found.

    Unknown keys come first: the misspelt name of a required field is better told than the missing one. What was found
    is left out where a field is declared ``Field(json_schema_extra={"secret": True})``: somebody pastes a key there.

    Args:
        root: the model that was validated; its fields tell union tags in the error's path from field names.
    """
    errors = error.errors(include_url=False)
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    place = _place(first["loc"], root, unknown=first["type"] == "extra_forbidden")
    field = place.field
    more = f" ({len(errors) - 1} more wrong)" if len(errors) > 1 else ""
    found, context = first.get("input"), first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden" | "invalid_key":
            key = str(first["loc"][-1])
            near = difflib.get_close_matches(key, place.known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(place.known)}"
            return field, f"unknown key; {hint}{more}"
        case "missing":
            return field, f"required, but missing{more}"
        case "value_error":
            return _said_by_a_validator(place, str(context["error"]), found, more)
        case "union_tag_not_found":
            classes = _models_in(root, field)
            names = ", ".join(_tag(item) for item in classes)
            return f"{field}.{_discriminator(classes)}", f"required, but missing; expected one of {names}{more}"
        case "union_tag_invalid":
            field = f"{field}.{_discriminator(_models_in(root, field))}"
            found = context["tag"]
        case "too_short":
            return field, f"expected at least {context['min_length']} item, got an empty list{more}"
    template = _EXPECTED.get(first["type"])
    shown = {key: _plain(key, value) for key, value in context.items()}
    expected = f"expected {template.format(**shown)}" if template else first["msg"]
    return field, f"{expected}{_got(place, found)}{more}"


def show(value: Any) -> str:
    """A value as it may have stood in the file, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class _Place:
    """A field's dotted name without union tags, the field names at its level, and whether nobody may see its value."""

    field: str | None
    known: list[str]
    secret: bool


def _got(place: _Place, found: Any) -> str:
    return "" if place.secret else f", got {show(found)}"


def _said_by_a_validator(place: _Place, message: str, found: Any, more: str) -> tuple[str | None, str]:
    """Our own validators raise 'field: what was expected', relative to the model that they check."""
    named = _NAMED.match(message)
    if named and isinstance(found, BaseModel | dict):
        return ".".join(part for part in (place.field, named[1]) if part), f"expected {named[2]}{more}"
    return place.field, f"expected {message}{_got(place, found)}{more}"


def _place(loc: Sequence[int | str], root: type[BaseModel], *, unknown: bool) -> _Place:
    parts: list[str] = []
    level: type[BaseModel] | None = root
    choices: list[type[BaseModel]] = []
    is_key = False  # the user's own key of a mapping: neither a field nor a tag
    secret = False
    for place, part in enumerate(loc):
        if isinstance(part, int):
            parts[-1:] = [f"{parts[-1]}[{part}]"] if parts else [str(part)]
            continue
        if is_key:
            parts.append(part)
            is_key = False
            continue
        chosen = next((item for item in choices if _tag(item) == part), None)
        if len(choices) > 1 and chosen is not None:
            level, choices = chosen, []
            continue
        parts.append(str(part))
        if unknown and place == len(loc) - 1:
            break
        field = level.model_fields.get(part) if level is not None else None
        secret = secret or _is_secret(field)
        choices = _models(field.annotation) if field is not None else []
        is_key = field is not None and get_origin(field.annotation) is dict
        level = choices[0] if len(choices) == 1 else None
    return _Place(".".join(parts) or None, list(level.model_fields) if level is not None else [], secret)


def _is_secret(field: FieldInfo | None) -> bool:
    extra = field.json_schema_extra if field is not None else None
    return isinstance(extra, dict) and extra.get("secret") is True


def _models_in(root: type[BaseModel], field: str | None) -> list[type[BaseModel]]:
    """The models that may stand at a dotted name; keys of mappings and indices are passed over."""
    found: list[type[BaseModel]] = [root]
    for part in re.sub(r"\[\d+\]", "", field or "").split("."):
        annotations = [item.model_fields[part].annotation for item in found if part in item.model_fields]
        found = [model for annotation in annotations for model in _models(annotation)] or found
    return [] if found == [root] else found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Every model inside an annotation: of a union, of a tuple's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _discriminator(classes: Sequence[type[BaseModel]]) -> str:
    return "kind" if classes and all("kind" in item.model_fields for item in classes) else "name"


def _tag(item: type[BaseModel]) -> str:
    """The literal that selects a variant, '' where the model is no variant."""
    field = item.model_fields.get(_discriminator([item]))
    return str((get_args(field.annotation) or ("",))[0]) if field is not None else ""


def _plain(key: str, value: Any) -> Any:
    if key in ("expected", "expected_tags"):
        return str(value).replace("'", "").replace(" or ", ", ")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
