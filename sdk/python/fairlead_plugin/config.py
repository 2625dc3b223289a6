"""Configurations: a dataclass is the schema, the type and the reader at once.

Understood are `str`, `int`, `float`, `bool`, `list[T]`, `dict[str, T]`, `Optional[T]`, `Literal[...]`, `Any` and other
dataclasses. A field with a default may be absent. `described(...)` adds a description and further keywords of JSON Schema.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Optional, Union

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


class ConfigError(ValueError):
    """A configuration that does not fit its type. The host checks the schema first, so this is for tests."""


def described(description: str, /, *, default: Any = dataclasses.MISSING, **keywords: Any) -> Any:
    """A field with a description, and with further keywords of JSON Schema such as `minimum` or `pattern`."""
    metadata = {"schema": {"description": description, **keywords}}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def schema(config_type: Optional[type]) -> dict[str, Any]:
    """The JSON Schema of a configuration."""
    if config_type is None:
        return {"type": "object", "additionalProperties": False}
    if not dataclasses.is_dataclass(config_type):
        raise TypeError(f"`config_type` is a dataclass, not {config_type!r}")
    return _of(config_type)


def _of(kind: Any) -> dict[str, Any]:
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if dataclasses.is_dataclass(kind):
        return _object(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return {"type": "array", "items": _of(arguments[0])}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if part is type(None) else _of(part) for part in arguments]}
    raise TypeError(f"{kind!r} cannot be a part of a configuration")


def _object(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    written: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: {**_of(hints[field.name]), **field.metadata.get("schema", {})} for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if not _has_default(field)]
    return {**written, "required": required} if required else written


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def parse(config_type: Optional[type], text: str) -> Any:
    """Reads a configuration; an absent one is an empty object."""
    value = json.loads(text) if text.strip() else {}
    return {} if config_type is None else read(config_type, {} if value is None else value)


def read(kind: Any, value: Any, place: str = "") -> Any:
    """A JSON value as a value of a type."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"`{place}` is no object")
        hints = typing.get_type_hints(kind)
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise ConfigError(f"`{place}/{unknown[0]}` is unknown")
        fields = {name: read(hints[name], item, f"{place}/{name}") for name, item in value.items()}
        missing = [field.name for field in dataclasses.fields(kind) if field.name not in fields and not _has_default(field)]
        if missing:
            raise ConfigError(f"`{place}/{missing[0]}` is missing")
        return kind(**fields)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list and isinstance(value, list):
        return [read(arguments[0], item, f"{place}/{index}") for index, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: read(arguments[1], item, f"{place}/{name}") for name, item in value.items()}
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [part for part in arguments if part is not type(None)]
        return read(rest[0], value, place) if len(rest) == 1 else value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_plain = kind in (str, int, float, bool)
    if is_plain and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        raise ConfigError(f"`{place}` is no {kind.__name__}")
    if origin is typing.Literal and value not in arguments:
        raise ConfigError(f"`{place}` is none of {', '.join(map(repr, arguments))}")
    return value
