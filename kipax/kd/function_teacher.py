"""`FunctionTeacher`: makes a teacher of any function of images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kipax.data import Standard
from kipax.errors import FailedRunError, UsageError
from kipax.kd.sources.base import ImageSpace
from kipax.kd.teachers import Domain, Teacher
from kipax.pixels import PixelFacts
from kipax.students import Outputs

__all__ = ["FunctionTeacher"]


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionTeacher(Teacher):
    """A teacher that calls a function of raw images.

    Attributes:
        function: ``function(raw float32 (n, H, W, C))`` returns logits ``(n, classes)``, or
            probabilities if `probabilities`.
        space: the images that it takes.
        class_names: names of its classes, in order.
        name: name that identifies it, also in the run's record.
        probabilities: whether it returns probabilities, whose logarithms are then the logits; an
            API may give those of the five most likely classes, and 0 for the others.
        known_classes: the number of likeliest classes that it gives, such as 5; None for all. A
            student that needs more is refused. 0 if it gives embeddings alone.
        embedding_size: d, the length of its embeddings; the function then returns a pair, logits
            and embeddings ``(n, d)``, or embeddings alone if `known_classes` is 0.

    Raises:
        UsageError: `known_classes` is not a number of its classes, or 0 without embeddings.
    """

    function: Callable[[np.ndarray], Any]
    space: ImageSpace
    class_names: tuple[str, ...]
    name: str = "function"
    probabilities: bool = False
    known_classes: int | None = None
    embedding_size: int | None = None

    def __post_init__(self) -> None:
        known, classes = self.known_classes, len(self.class_names)
        least = 1 if self.embedding_size is None else 0
        if not classes:
            raise UsageError(
                "class_names names one class or more; got none: a teacher of embeddings alone "
                "takes those of the data that its students are tested on."
            )
        if known is not None and not least <= known <= classes:
            raise UsageError(f"known_classes is a number of the {classes} classes; got {known}.")

    @functools.cached_property
    def domain(self) -> Domain:
        """`space` and `class_names`; images are standardised by the space's mean and deviation.

        Without these, the middle of the range counts as the mean, and a quarter of it as the
        deviation.
        """
        space = self.space
        middle, quarter = (space.low + space.high) / 2, (space.high - space.low) / 4
        mean = np.array(space.mean or (middle,) * space.shape[-1])
        deviation = np.array(space.deviation or (quarter,) * space.shape[-1])
        deviation[deviation == 0] = 1.0  # a constant channel, as `Standard.fit` has it
        pixels = PixelFacts("", space.low, space.high, space.mean, space.deviation)
        preprocessor = Standard(mean, deviation, space.low, space.high)
        return Domain(space, self.class_names, preprocessor, pixels)

    @property
    def facts(self) -> dict[str, Any]:
        """The function's name."""
        return {"teacher": self.name}

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Calls the function with raw images; returns logits ``(n, classes)``; see `outputs`."""
        return np.asarray(self.outputs(raw, x).logits)

    def outputs(self, raw: np.ndarray, x: np.ndarray) -> Outputs:
        """Calls the function with raw images; returns logits and embeddings.

        Raises:
            UsageError: its result has another shape.
            FailedRunError: its result is not finite.
        """
        out = self.function(np.array(raw, np.float32))  # a copy of its own
        size, classes = self.embedding_size, len(self.class_names)
        none = np.zeros((len(raw), 0), np.float32)
        if size is None:
            return Outputs(self._logits(out, len(raw)), none, {})
        if self.known_classes == 0:
            logits = np.zeros((len(raw), classes), np.float32)
            return Outputs(logits, self._checked(out, len(raw), size), {})
        if not isinstance(out, tuple) or len(out) != 2:
            raise UsageError(
                "a teacher with an embedding_size gives a pair, logits and embeddings; "
                f"{self.name} gave a {type(out).__name__}: known_classes=0 is for embeddings alone."
            )
        embeddings = self._checked(out[1], len(raw), size)
        return Outputs(self._logits(out[0], len(raw)), embeddings, {})

    def _logits(self, out: Any, count: int) -> np.ndarray:
        rows = self._checked(out, count, len(self.class_names))
        if not self.probabilities:
            return rows
        if np.any(rows < 0) or np.any(rows.sum(axis=1) <= 0):
            raise UsageError(
                "probabilities are not negative, and those of an image have a positive sum; "
                f"{self.name} gave {rows.min():g} and a sum of {rows.sum(axis=1).min():g}: for "
                "logits leave probabilities=True out."
            )
        return np.log(np.maximum(rows, 1e-8))

    def _checked(self, out: Any, count: int, columns: int) -> np.ndarray:
        """Returns an answer as an array ``(count, columns)`` of finite numbers."""
        rows = np.asarray(out, np.float32)
        if rows.shape != (count, columns):
            raise UsageError(
                f"a teacher gives a row of {columns} numbers an image, here {(count, columns)}; "
                f"{self.name} gave {rows.shape}."
            )
        if not np.all(np.isfinite(rows)):
            raise FailedRunError(f"the teacher {self.name} gave numbers that are not finite.")
        return rows

    def describe(self) -> str:
        """Describes the function by its name and by what it returns."""
        kind = "probabilities" if self.probabilities else "logits"
        gives = [] if self.known_classes == 0 else [f"{kind} of {len(self.class_names)} classes"]
        if self.embedding_size is not None:
            gives.append(f"embeddings of length {self.embedding_size}")
        return f"the function {self.name}, {' and '.join(gives)}"
