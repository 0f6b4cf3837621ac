"""Makes absl flags from config dataclasses, which hold name, type, default and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, TypeVar

from absl import flags

from kipax.config import field_types

__all__ = ["config_from_flags", "define_flags"]

flags.disclaim_key_flags()  # the calling program owns the flags

Config = TypeVar("Config")


def _flag_type(types: tuple[type, ...]) -> type:
    """Returns the type of the flag for a field of these types."""
    options = [t for t in types if t is not NoneType]
    return str if str in options else options[0]


def define_flags(config_class: type, *, without: Sequence[str] = ()) -> None:
    """Defines one flag for each field of a config dataclass, except the fields in `without`."""
    define: dict[type, Callable[..., Any]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    types = field_types(config_class)
    for field in dataclasses.fields(config_class):
        if field.name not in without:
            kind = _flag_type(types[field.name])
            define[kind](field.name, field.default, field.metadata["help"])


def config_from_flags(config_class: type[Config], **overrides: Any) -> Config:
    """Returns the config that the parsed flags describe; fields without a flag have their defaults.

    Raises:
        UsageError: the dataclass refuses a value.
    """
    fields = dataclasses.fields(config_class)  # type: ignore[arg-type]
    values = {f.name: flags.FLAGS[f.name].value for f in fields if f.name in flags.FLAGS}
    return config_class(**values | overrides)
