"""YAML as this project reads it: safe, no duplicate keys, no merge keys, 1e-3 is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from ops.errors import ExperimentError

REMEDY = "see docs/experiments.md for every field, or copy experiments/demo.yaml"
MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads 1e-3 as a number."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise ConstructorError(
                None, None, "merge keys (<<) are not read; write the fields out", key_node.start_mark
            )
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise ConstructorError(None, None, f"expected a text as key, got {key!r}", key_node.start_mark)
        if key in seen:
            raise ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf)$|^\.(nan|NaN)$"),
    list("-+0123456789."),
)


def read_mapping(path: Path, where: str) -> dict[str, Any]:
    """The mapping of fields that a YAML file holds.

    Raises:
        ExperimentError: names the file, and line and column where it is not valid YAML.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ExperimentError(where, f"expected at most {MAX_BYTES:,} bytes, found {len(raw):,}", remedy=REMEDY)
        data = yaml.load(raw.decode("utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise ExperimentError(where, "no such file", remedy="`mindgap list` shows the experiments there are") from None
    except OSError as error:
        remedy = "check the path and its rights"
        raise ExperimentError(where, f"cannot be read: {error.strerror}", remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise ExperimentError(where, f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ExperimentError(where, f"not valid YAML: {_words(error)}", remedy=REMEDY) from None
    except RecursionError:
        raise ExperimentError(where, "not valid YAML: nested too deeply", remedy=REMEDY) from None
    if not isinstance(data, dict):
        raise ExperimentError(where, f"expected a mapping of fields, got {_kind(data)}", remedy=REMEDY)
    return data


def _words(error: Exception) -> str:
    """``line 2, column 5: key 'name' appears twice``."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} is not allowed in YAML (code {error.character})"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    problem = problem.removeprefix("but ")
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else problem


def _kind(value: Any) -> str:
    names = {type(None): "an empty file", list: "a list", str: "a text"}
    return names.get(type(value), f"a {type(value).__name__}")
