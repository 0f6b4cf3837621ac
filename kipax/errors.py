"""The errors of kipax, whose messages name the rule, the value given and the remedy.

Every error that a user can cause derives from `KipaxError`, so that a command line can
print it as a sentence (exit status 2 for `UsageError`, 1 for the others) instead of a
traceback. `UsageError` is also a `ValueError`: library users may catch either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "FailedRunError",
    "FileError",
    "Interrupted",
    "KipaxError",
    "OutOfTime",
    "PoolError",
    "UsageError",
    "WireError",
    "check_choice",
    "read_whole_numbers",
    "split_list",
]


class KipaxError(Exception):
    """Base class of the errors that kipax raises on purpose."""


class UsageError(KipaxError, ValueError):
    """An argument, flag or array breaks a rule; the message says which and what to do."""


class FileError(KipaxError, OSError):
    """A file could not be read or written; nothing that was saved before is lost."""


class FailedRunError(KipaxError, RuntimeError):
    """A computation failed (not finite, ill-conditioned, diverged); the last good state is safe."""


class Interrupted(KeyboardInterrupt):
    """Raised when the user interrupts a run (Ctrl-C), after the state of the run was saved."""


class OutOfTime(KipaxError):
    """``max_seconds`` are over; not a failure: the work is saved and can be continued.

    Attributes:
        facts: the results so far, JSON-ready; ``finished`` is False.
    """

    def __init__(self, message: str, **facts: Any):
        super().__init__(message)
        self.facts: dict[str, Any] = {"finished": False} | facts


class PoolError(KipaxError, RuntimeError):
    """A pool of workers cannot continue: a block fails repeatedly or the server is out of reach."""


class WireError(KipaxError, ValueError):
    """A message between server and workers is damaged, foreign or of another version."""


def check_choice(what: str, given: Any, choices: Iterable[str], *, also: str = "") -> None:
    """Raises a `UsageError` that lists the choices unless `given` is one of them.

    Args:
        what: the noun for the message, such as "dataset".
        given: the value from the user.
        choices: the valid values.
        also: further valid forms that are not fixed names, such as "npz:PATH".

    Example:
        >>> check_choice("colour", "gren", ["green", "blue"])
        Traceback (most recent call last):
        kipax.errors.UsageError: unknown colour 'gren'; did you mean green? Choices: green, blue.
    """
    names = list(choices)
    if not isinstance(given, str):
        raise UsageError(f"{what} is a name, as text; got {given!r}. Choices: {', '.join(names)}.")
    if given in names:
        return
    near = difflib.get_close_matches(given, names, n=2, cutoff=0.6)
    near += [name for name in names if given and name.startswith(given) and name not in near]
    hint = f"; did you mean {' or '.join(near[:3])}?" if near else "."
    listed = ", ".join([*names, *([also] if also else [])])
    raise UsageError(f"unknown {what} {given!r}{hint} Choices: {listed}.")


def split_list(given: str) -> list[str]:
    """Returns the words of a comma-separated list, which may be empty.

    Example:
        >>> split_list("convnet, fc1,")
        ['convnet', 'fc1']
    """
    return [part.strip() for part in given.split(",") if part.strip()]


def read_whole_numbers(what: str, given: str) -> tuple[int, ...]:
    """Returns the positive whole numbers of a comma-separated list, which may be empty.

    Raises:
        UsageError: a word is not a positive whole number.

    Example:
        >>> read_whole_numbers("widths", "64, 256")
        (64, 256)
    """
    parts = split_list(given)
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(
            f"{what} is a comma-separated list of whole numbers from 1; got {given!r}."
        )
    return tuple(int(part) for part in parts)
