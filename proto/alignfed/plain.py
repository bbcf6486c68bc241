"""Frozen dataclasses from plain values (parsed JSON or TOML), strictly: no unknown keys, no guessing between types."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class PlainValueError(ValueError):
    """A plain value does not fit the dataclass; the message names the place."""


def from_plain(kind: type[T], values: object, *, path: str = "") -> T:
    """Build dataclass `kind` from a mapping, recursively.

    Nested dataclasses may be given ready-made. Tuples are read from lists, enums from their values, floats from ints.
    Floats may be NaN or infinite, which Python's JSON writes and reads as `NaN` and `Infinity`.

    Args:
        kind: A dataclass whose fields are plain values, enums, dataclasses, tuples or mappings (`Mapping[str, X]`) of
            those, or `X | None`.
        values: A mapping with a key for every field that has no default.
        path: Name of the place, for error messages.

    Raises:
        PlainValueError: A key is unknown or missing, or a value has the wrong type.
    """
    where = path or "the document"
    if not isinstance(values, dict):
        raise PlainValueError(f"{where} must be a table, not {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = _hints(typing.cast("type", kind))
    for key in values:
        if key not in fields:
            raise PlainValueError(f"{where} has no setting named {key!r}; it knows {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise PlainValueError(f"{where} lacks {name!r}: add it")
    prefix = f"{path}." if path else ""
    return kind(**{key: _convert(hints[key], value, path=prefix + key) for key, value in values.items()})


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields; finding them out takes longer than everything else here."""
    return typing.get_type_hints(kind)


def _convert(hint: Any, value: Any, *, path: str) -> Any:
    """Convert one plain value to the type that its field declares."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):  # the only unions are `X | None`
        return None if value is None else _convert(typing.get_args(hint)[0], value, path=path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise PlainValueError(f"{path} must be a list, not {value!r}")
        element = typing.get_args(hint)[0]
        return tuple(_convert(element, item, path=f"{path}[{i}]") for i, item in enumerate(value))
    if origin in (Mapping, dict):
        return _mapping(typing.get_args(hint)[1], value, path=path)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type", hint), value, path=path)
    if issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            raise PlainValueError(f"{path} must be one of {', '.join(m.value for m in hint)}, not {value!r}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise PlainValueError(f"{path} is too large a number") from None
    raise PlainValueError(f"{path} must be of type {hint.__name__}, not {value!r}")


def _mapping(hint: Any, value: Any, *, path: str) -> dict[str, Any]:
    """Convert the values of a mapping from text, as JSON and TOML have it, to `hint`."""
    if not isinstance(value, Mapping):
        raise PlainValueError(f"{path} must be a table, not {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise PlainValueError(f"{path} must have text as keys, not {key!r}")
    return {key: _convert(hint, item, path=f"{path}.{key}") for key, item in value.items()}
