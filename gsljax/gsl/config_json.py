"""A configuration back from JSON, with every field checked."""

import dataclasses
import typing
from typing import Any, Literal, TypeVar

from gsljax.errors import UserError

AnyConfig = TypeVar("AnyConfig")


def from_json(cls: type[AnyConfig], values: Any, is_whole: bool = True) -> AnyConfig:
    """A (nested, frozen) configuration back from what `dataclasses.asdict` and JSON made of it.

    Args:
      cls: its class.
      values: what JSON has of it.
      is_whole: whether every field must be there; otherwise those with a default may be missing, as they are from what
        an earlier version wrote.

    Raises:
      UserError: if a field is unknown, missing, or of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"The configuration has {values!r} where the fields of a {cls.__name__} must be.")
    hints = typing.get_type_hints(cls)
    missing = set(hints) - set(values) - (set() if is_whole else _with_default(cls))
    for fault, names in (("has the unknown", set(values) - set(hints)), ("lacks the", missing)):
        if names:
            raise UserError(f"The configuration {fault} field {min(names)!r} of a {cls.__name__}.")
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_json(typing.cast(type, hints[name]), value, is_whole)
        elif not _is_of_type(value, hints[name]):
            allowed = hints[name].__name__ if isinstance(hints[name], type) else hints[name]
            raise UserError(f"The field {name!r} of a {cls.__name__} is {value!r}, but must be of type {allowed}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def _with_default(cls: Any) -> set[str]:
    fields, none = dataclasses.fields(cls), dataclasses.MISSING
    return {field.name for field in fields if field.default is not none or field.default_factory is not none}


def _is_of_type(value: Any, hint: Any) -> bool:
    """Whether what JSON made of a value is one of the type: JSON has lists for tuples and may write 1.0 as 1."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal:
        return value in parts
    if kind is tuple:
        return isinstance(value, list) and all(_is_of_type(entry, parts[0]) for entry in value)
    if parts:  # a union
        return any(_is_of_type(value, part) for part in parts)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)
