"""Configs: frozen dataclasses whose fields have a help text and are checked by type.

`config_field` makes a field, `check_values` turns values into the plain types of flags, and
`kipax.flags` makes the flags; both read the types by `field_types`.

Example:
    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     steps: int = config_field(10, "number of updates")
    ...     def __post_init__(self):
    ...         check_values(self)
    >>> Config(steps=2.5)
    Traceback (most recent call last):
    kipax.errors.UsageError: steps must be a whole number; got 2.5.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import numbers
import os
import sys
import typing
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from kipax.errors import UsageError

__all__ = [
    "DATA_DIR_HELP",
    "EVAL_EXAMPLES_HELP",
    "IMAGE_SIZE_HELP",
    "KERNEL_FN_HELP",
    "MAX_SECONDS_HELP",
    "changeable",
    "check_arguments",
    "check_not_negative",
    "check_positive",
    "check_seed",
    "check_share",
    "check_values",
    "config_field",
    "field_types",
    "given",
    "import_object",
    "resolved_defaults",
]

# The help of fields that several configs have.
DATA_DIR_HELP = "where prepared TensorFlow Datasets lie (its own default)"
KERNEL_FN_HELP = "MODULE:FUNCTION, the kernel, where the set was made with a function of yours"
EVAL_EXAMPLES_HELP = "test on this many test images, a fixed balanced part (all)"
IMAGE_SIZE_HELP = "side in pixels for pictures of differing sizes (32)"
MAX_SECONDS_HELP = (
    "stop after so many seconds with everything saved and exit status 0, to be continued (no limit)"
)
_NUMBERS: dict[type, tuple[type, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}


def config_field(default: Any, text: str, *, may_change: bool = False) -> Any:
    """Makes a field of a config.

    Args:
        default: the value if none is given.
        text: the help text of its flag.
        may_change: whether a run may be resumed with another value.
    """
    return dataclasses.field(default=default, metadata={"help": text, "may_change": may_change})


def field_types(config_class: type) -> dict[str, tuple[type, ...]]:
    """Returns the types that each field takes, ``NoneType`` among them where it may be None."""
    hints = typing.get_type_hints(config_class)
    fields = dataclasses.fields(config_class)
    return {f.name: typing.get_args(hints[f.name]) or (hints[f.name],) for f in fields}


def check_values(config: Any) -> None:
    """Converts a config's values to the plain types of flags: bool, int, float, str or None.

    Raises:
        UsageError: a value has another type than its field; the message names the field.
    """
    for name, types in field_types(type(config)).items():
        value = getattr(config, name)
        if value is None and NoneType in types:
            continue
        object.__setattr__(config, name, _plain(name, value, types))


def _plain(name: str, value: Any, types: tuple[type, ...]) -> Any:
    if bool in types:
        if not isinstance(value, (bool, np.bool_)):
            raise UsageError(f"{name} is True or False; got {value!r}.")
        return bool(value)
    if str in types and isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    kind = next((t for t in types if t in _NUMBERS), None)
    if kind is None:
        raise UsageError(f"{name} is text, commas between several; got {value!r}.")
    allowed, words = _NUMBERS[kind]
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise UsageError(f"{name} must be {words}; got {value!r}.")
    try:
        return kind(value)
    except OverflowError as error:
        raise UsageError(
            f"{name} must be {words} that fits 64 bits; got one of {len(str(value))} digits."
        ) from error


def check_positive(config: Any, *fields: str) -> None:
    """Raises a `UsageError` unless each field is positive and finite, or None."""
    for name in fields:
        value = getattr(config, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{name} must be positive; got {value}.")


def check_not_negative(config: Any, *fields: str) -> None:
    """Raises a `UsageError` unless each field is finite and at least 0, or None."""
    for name in fields:
        value = getattr(config, name)
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"{name} must not be negative; got {value}.")


def check_share(config: Any, *fields: str) -> None:
    """Raises a `UsageError` unless each field is None, or a number from 0 to below 1."""
    for name in fields:
        value = getattr(config, name)
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"{name} runs from 0 to below 1; got {value}.")


def check_seed(seed: int) -> None:
    """Raises a `UsageError` unless a seed is a whole number that 32 bits can hold."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must lie between 0 and 2**32 - 1; got {seed}.")


def check_arguments(kind: type, config: Any, *, resume: Any) -> None:
    """Raises a `UsageError` for arguments of a wrong type, which Python would accept.

    Args:
        kind: the class of the run's configs.
        config: must be an instance of `kind`.
        resume: must be True or False.
    """
    if not isinstance(config, kind):
        raise UsageError(f"this run takes a {kind.__name__}; got a {type(config).__name__}.")
    if not isinstance(resume, bool):
        raise UsageError(f"resume is True or False; got {resume!r}.")


def import_object(text: str, what: str) -> Any:
    """Imports the Python object that a user has named by MODULE:NAME.

    The module may lie in the current folder.

    Args:
        text: the module and the name, with a colon between.
        what: what the object is, for messages, such as "teacher".

    Raises:
        UsageError: there is no such module, or nothing of that name in it.

    Example:
        >>> import_object("math:sqrt", "function")(9)
        3.0
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"a {what} of Python is python:MODULE:NAME; got python:{text}.")
    here = os.getcwd()
    sys.path.insert(0, here)  # a module of the user's lies in the current folder
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"python:{text} names no {what}: {error}.") from error
    finally:
        sys.path.remove(here)


Value = TypeVar("Value")


def given(value: Value | None) -> Value:
    """Returns the value of a field that is optional in general but known to be set here."""
    assert value is not None
    return value


def changeable(config: Any) -> set[str]:
    """Returns the names of the fields whose values may differ when a run is resumed."""
    return {f.name for f in dataclasses.fields(config) if f.metadata["may_change"]}


def resolved_defaults(config: Any, resolve: Callable[[Any], Any]) -> dict[str, Any]:
    """Returns the value that each field has if the user sets the other fields alone.

    A run that was begun before a field existed counts as one that did not set the field.

    Args:
        config: a resolved config.
        resolve: fills in the fields that are None.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        values[field.name] = field.default
        if field.default is None:
            with contextlib.suppress(UsageError):  # another field needs it: then None is its own
                resolved = resolve(dataclasses.replace(config, **{field.name: None}))
                values[field.name] = getattr(resolved, field.name)
    return values
