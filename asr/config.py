"""Frozen config dataclasses to plain tables and back: one function each way, for TOML files and model metadata.

A config class validates its values in `__post_init__` by raising `UsageError`; this module checks the keys and
the types, and puts the place in front of every message.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from asr.errors import UsageError

C = TypeVar("C")
Table = dict[str, Any]


def to_table(config: Any) -> Table:
    """Nested plain dictionaries of a config dataclass: tuples become lists, and what is None is left out."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def from_table(cls: type[C], table: Mapping[str, Any], where: str) -> C:
    """A config of class `cls` from a table; `where` (a file, a model) begins the message of a `UsageError`.

    Keys that are absent take the class's defaults. Unknown keys, missing keys, wrong types and values that the
    class refuses are errors that name the key.
    """
    hints = _hints(cls)
    for key in table:
        if key not in hints:
            raise UsageError(f"{where}: {key}: unknown key{_hint(key, hints)}")
    for field in _fields(cls):
        if field.name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"{where}: {field.name}: missing key; add it")
    values = {key: _typed(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def override(cls: type[Any], table: Table, overrides: Mapping[str, Any], where: str) -> Table:
    """A copy of `table` (of class `cls`) with the values of dotted keys replaced: `{"network.cell": "gru"}`.

    A value given as a string is read as TOML where the key's type is not a string: `"12"`, `"true"`, `"[1, 2]"`.
    """
    known = dict(_dotted(cls))
    result = merge(table, {})
    for key, value in overrides.items():
        if key not in known:
            raise UsageError(f"{where}: {key}: unknown key{_hint(key, known)}")
        if isinstance(value, str) and not _is_text(known[key]):
            value = _parse(value, f"{where}: {key}")
        *parents, name = key.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return result


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Table:
    """`base` with `changes` laid over it, table by table; neither is altered."""
    result: Table = {key: merge(value, {}) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def require(holds: bool, message: str) -> None:
    """What a config class says of each of its values: `message` begins with the key."""
    if not holds:
        raise UsageError(message)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `kind` wants it, or a UsageError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # T | None: a table never holds None
        return _typed(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}{_hint(value, arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}: {_name(value)} where a list belongs")
        return tuple(_typed(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: {_name(value)} where a table belongs")
        return from_table(kind, value, where)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"{where}: a whole number that is too large") from None
    if type(value) is not kind:
        raise UsageError(f"{where}: {_name(value)} where {_KINDS[kind]} belongs")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _name(value: Any) -> str:
    return f"{value!r} ({_KINDS.get(type(value), type(value).__name__)})"


def _parse(text: str, where: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
        if len(table) == 1:
            return table["value"]
    except tomllib.TOMLDecodeError:
        pass
    raise UsageError(f"{where}: {text!r} is no TOML value; write a number, true, false or a [list]")


def _is_text(kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_text(argument) for argument in get_args(kind))
    return kind is str or get_origin(kind) is Literal


def _dotted(cls: type[Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every key of a config class and the classes inside it, dotted, with its type."""
    for name, kind in _hints(cls).items():
        if is_dataclass(kind):
            yield from _dotted(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name, kind


def _hint(key: Any, known: Iterable[Any]) -> str:
    """What the writer may have meant: near in spelling, or the same name in another table."""
    names = [str(name) for name in known]
    same = [name for name in names if name.rpartition(".")[2] == str(key).rpartition(".")[2]]
    near = same or difflib.get_close_matches(str(key), names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def _fields(cls: type[Any]) -> tuple[Field[Any], ...]:
    return fields(cls)


def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}
