"""Lists of class names: their order, and whether two lists can name the same classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from kipax.errors import UsageError

__all__ = ["check_same_classes", "is_numbered", "natural_order"]

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def natural_order(names: Iterable[str]) -> list[str]:
    """Returns names in the order of their classes: by value where all names are numbers.

    Example:
        >>> natural_order(["10", "9", "11"]), natural_order(["b10", "b9", "a"])
        (['9', '10', '11'], ['a', 'b10', 'b9'])
    """
    ordered = sorted(names)
    if all(_NUMBER.fullmatch(name) for name in ordered):
        return sorted(ordered, key=float)
    return ordered


def is_numbered(names: Sequence[str]) -> bool:
    """Returns whether the names are the numbers of the classes, as in sets without names.

    Example:
        >>> is_numbered(["0", "1"]), is_numbered(["1", "2"])
        (True, False)
    """
    return list(names) == [str(i) for i in range(len(names))]


def check_same_classes(first: Sequence[str], second: Sequence[str], what: str, other: str) -> None:
    """Raises a `UsageError` with both lists unless they can name the same classes in one order.

    Two words are the same if they differ only in case, spaces and punctuation; two numbers if their
    values are equal. The list of class numbers from 0 may stand for any list of words, but not for
    other numbers.

    Args:
        first: names in the order of the classes.
        second: equally many names in the order of their classes.
        what: what `first` are the names of, for the message.
        other: what `second` are the names of, for the message.

    Example:
        >>> check_same_classes(["0", "1"], ["cat", "dog"], "a set", "birds")
        >>> check_same_classes(["cat", "dog"], ["dog", "cat"], "a set", "birds")
        Traceback (most recent call last):
        kipax.errors.UsageError: class 0 is 'cat' in a set and 'dog' in birds, so that their \
numbers mean different classes (cat, dog; dog, cat): give data with the same classes in the same \
order.
    """
    plain, other_plain = _simplified(first), _simplified(second)
    if plain == other_plain:
        return
    for numbers, words in ((first, second), (second, first)):
        if is_numbered(numbers) and not all(_NUMBER.fullmatch(word) for word in words):
            return
    pairs = zip(plain, other_plain, strict=False)
    bad = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
    raise UsageError(
        f"class {bad} is {first[bad]!r} in {what} and {second[bad]!r} in {other}, so that their "
        f"numbers mean different classes ({', '.join(first)}; {', '.join(second)}): give data "
        "with the same classes in the same order."
    )


def _simplified(names: Sequence[str]) -> list[str]:
    """Returns words without case and punctuation, and numbers by value.

    Returns `names` unchanged where two would become equal.
    """
    composed = [unicodedata.normalize("NFC", name) for name in names]
    plain = [_plain(name) for name in composed]
    return plain if len(set(plain)) == len(plain) and all(plain) else composed


def _plain(name: str) -> str:
    if _NUMBER.fullmatch(name):
        return repr(float(name))
    return "".join(c for c in name.casefold() if c.isalnum())
