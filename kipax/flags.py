"""absl flags from config dataclasses: name, type, default and help stand in one place."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, TypeVar

from absl import flags

__all__ = ["config_from_flags", "define_flags"]

flags.disclaim_key_flags()  # flags belong to the program that calls

Config = TypeVar("Config")


def _value_type(config_class: type, name: str) -> type:
    hint = typing.get_type_hints(config_class)[name]
    options = [t for t in typing.get_args(hint) or (hint,) if t is not NoneType]
    return str if str in options else options[0]


def define_flags(config_class: type, *, without: Sequence[str] = ()) -> None:
    """Defines one flag for each field of a config dataclass, but for those that a program sets."""
    define: dict[type, Callable[..., Any]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(config_class):
        if field.name in without:
            continue
        kind = _value_type(config_class, field.name)
        define[kind](field.name, field.default, field.metadata["help"])


def config_from_flags(config_class: type[Config], **overrides: Any) -> Config:
    """The config that the parsed flags describe; fields without a flag have their defaults.

    Raises:
        UsageError: a value that the dataclass refuses.
    """
    fields = dataclasses.fields(config_class)  # type: ignore[arg-type]
    values = {f.name: flags.FLAGS[f.name].value for f in fields if f.name in flags.FLAGS}
    return config_class(**values | overrides)
