"""Teachers: a trained network, a distilled set, any function, several of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kipax.data import Dataset, Preprocessor, Standard
from kipax.errors import FailedRunError, UsageError
from kipax.files import hash_arrays
from kipax.kd.sources.base import ImageSpace
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.support import SupportSet
from kipax.trees import tree_to_arrays

__all__ = [
    "Ensemble",
    "FunctionTeacher",
    "KernelTeacher",
    "NetworkTeacher",
    "Teacher",
    "kernel_teacher",
]

_SCORE_SCALE = 10.0  # logits from regression scores, whose classes differ by about 1


class Teacher(Protocol):
    """An object that returns logits of images and says which images it takes."""

    @property
    def space(self) -> ImageSpace:
        """The raw images that it takes."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of its classes, in the order of the logits."""
        ...

    @property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor of its students' inputs."""
        ...

    @property
    def dataset(self) -> str:
        """The name of its training data; empty if unknown."""
        ...

    @property
    def training_hash(self) -> str:
        """Tells its training images from others; empty where they are not known."""
        ...

    @property
    def pixels(self) -> PixelFacts:
        """What its training images' pixels were."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that identify the teacher, JSON-ready."""
        ...

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns logits ``(n, classes)`` of images, given both raw and preprocessed (`x`)."""
        ...

    def describe(self) -> str:
        """Describes the teacher in words."""
        ...


@functools.partial(jax.jit, static_argnums=0)
def _apply(module: nn.Module, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    out: Any = module.apply(variables, x)
    return out.logits


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkTeacher:
    """A trained network, in evaluation mode."""

    network: TrainedNetwork

    @property
    def space(self) -> ImageSpace:
        """See `Teacher`."""
        return _space(self.network.image_shape, self.pixels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Teacher`."""
        return self.network.class_names

    @property
    def preprocessor(self) -> Preprocessor:
        """See `Teacher`."""
        return self.network.preprocessor

    @property
    def dataset(self) -> str:
        """See `Teacher`."""
        return str(self.network.metadata["dataset"])

    @property
    def training_hash(self) -> str:
        """See `Teacher`."""
        return str(self.network.metadata.get("training_hash", ""))

    @property
    def pixels(self) -> PixelFacts:
        """See `Teacher`."""
        return self.network.pixels

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        arrays = tree_to_arrays(self.network.variables)
        digest = hash_arrays(arrays | self.preprocessor.to_arrays())
        return {"teacher": self.network.spec.describe(), "teacher_hash": digest[:16]}

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Teacher`."""
        return _apply(self.network.module, self.network.variables, x)

    def describe(self) -> str:
        """See `Teacher`."""
        return str(self.network).rstrip(".")


@dataclasses.dataclass(frozen=True, eq=False)
class KernelTeacher:
    """A distilled set: the scores of kernel ridge regression, times a factor, as logits.

    Attributes:
        support: the set.
        scale: factor of the scores; see `kernel_teacher`.
        rule: how `scale` was chosen, in words.
    """

    support: SupportSet
    scale: float = _SCORE_SCALE
    rule: str = "fixed"

    @property
    def space(self) -> ImageSpace:
        """See `Teacher`."""
        return _space(self.support.images.shape[1:], self.pixels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Teacher`."""
        return self.support.class_names

    @property
    def preprocessor(self) -> Preprocessor:
        """See `Teacher`."""
        return self.support.preprocessor

    @property
    def dataset(self) -> str:
        """See `Teacher`."""
        return str(self.support.metadata["dataset"])

    @property
    def training_hash(self) -> str:
        """See `Teacher`."""
        return str(self.support.metadata.get("training_hash", ""))

    @property
    def pixels(self) -> PixelFacts:
        """See `Teacher`."""
        return self.support.pixels

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        support = self.support
        arrays = {"images": support.images, "labels": support.labels}
        return {
            "teacher": f"{len(support)} images, {support.architecture.name}",
            "teacher_hash": hash_arrays(arrays)[:16],
            "kernel": [support.architecture.to_dict(), support.kernel, support.ridge],
            "preprocessing": [support.preprocessor.name, support.preprocessor.settings],
            "teacher_scale": self.scale,
        }

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Teacher`."""
        return self.scale * self.support.scores_of_preprocessed(np.asarray(x))

    def describe(self) -> str:
        """See `Teacher`."""
        words = f"{self.support}".rstrip(".")
        return f"{words}; its scores times {self.scale:g} ({self.rule}) are the logits"


def kernel_teacher(support: SupportSet, dataset: Dataset | None = None) -> KernelTeacher:
    """Makes a teacher of a distilled set.

    Scores are near 0 and 1 (less 1 / classes) and thus not logits: they are multiplied by the
    factor of lowest cross-entropy on validation images, or by 10 without validation images.

    Args:
        support: the set.
        dataset: its data set, whose validation images choose the factor; None for the factor 10.

    Example:
        >>> import kipax
        >>> teacher = kernel_teacher(kipax.load("digits-convnet-10"))  # doctest: +SKIP
    """
    if dataset is None or not len(dataset.x_validation):
        return KernelTeacher(support)
    scores = support.scores(dataset.x_validation)
    factors = np.geomspace(1.0, 300.0, 60)
    picked = np.arange(len(scores)), dataset.y_validation
    losses = [-np.mean(_log_softmax(f * scores)[picked]) for f in factors]
    best = float(factors[int(np.argmin(losses))])
    rule = f"lowest cross-entropy on {len(scores):,} validation images"
    return KernelTeacher(support, round(best, 3), rule)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionTeacher:
    """Any function of raw images.

    Attributes:
        function: ``function(raw float32 (n, H, W, C))`` returns logits ``(n, classes)``, or
            probabilities if `probabilities`.
        space: the images that it takes.
        class_names: names of its classes, in order.
        name: name that identifies it, also in the run's record.
        probabilities: whether it returns probabilities, whose logarithms are then the logits; an
            API may give those of the five most likely classes, and 0 for the others.
    """

    function: Callable[[np.ndarray], Any]
    space: ImageSpace
    class_names: tuple[str, ...]
    name: str = "function"
    probabilities: bool = False

    @property
    def preprocessor(self) -> Preprocessor:
        """Standardises by the mean and deviation of its images, or by the range."""
        space = self.space
        middle = (space.low + space.high) / 2
        mean = np.array(space.mean or (middle,) * space.shape[-1])
        spread = np.array(space.deviation or ((space.high - space.low) / 4,) * space.shape[-1])
        return Standard(mean, spread, space.low, space.high)

    @property
    def dataset(self) -> str:
        """See `Teacher`: not known."""
        return ""

    @property
    def training_hash(self) -> str:
        """See `Teacher`: not known."""
        return ""

    @property
    def pixels(self) -> PixelFacts:
        """See `Teacher`: the range alone."""
        space = self.space
        return PixelFacts("", space.low, space.high, space.mean, space.deviation)

    @property
    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        return {"teacher": self.name}

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Teacher`.

        Raises:
            UsageError: its result has another shape.
            FailedRunError: its result is not finite.
        """
        out = np.asarray(self.function(np.array(raw, np.float32)), np.float32)  # a copy of its own
        expected = len(raw), len(self.class_names)
        if out.shape != expected:
            raise UsageError(
                f"a teacher gives a row of {expected[1]} numbers an image, here {expected}; "
                f"{self.name} gave {out.shape}."
            )
        if not np.all(np.isfinite(out)):
            raise FailedRunError(f"the teacher {self.name} gave what is not finite.")
        return np.log(np.maximum(out, 1e-8)) if self.probabilities else out

    def describe(self) -> str:
        """See `Teacher`."""
        kind = "probabilities" if self.probabilities else "logits"
        return f"the function {self.name}, {kind} of {len(self.class_names)} classes"


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Several teachers of the same images and classes: the logarithm of their mean probability.

    Raises:
        UsageError: there are no teachers, or they differ in images, classes or preprocessing.
    """

    teachers: Sequence[Teacher]

    def __post_init__(self) -> None:
        if not self.teachers:
            raise UsageError("an ensemble has one teacher or more; got none.")
        first = self.teachers[0]
        for other in self.teachers[1:]:
            same = other.space.shape == first.space.shape and (
                other.class_names == first.class_names
            )
            arrays = [t.preprocessor.to_arrays() for t in (first, other)]
            if not same or hash_arrays(arrays[0]) != hash_arrays(arrays[1]):
                raise UsageError(
                    "teachers of an ensemble share images, classes and preprocessing; "
                    f"{other.describe()} does not fit {first.describe()}."
                )

    @property
    def space(self) -> ImageSpace:
        """See `Teacher`."""
        return self.teachers[0].space

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Teacher`."""
        return self.teachers[0].class_names

    @property
    def preprocessor(self) -> Preprocessor:
        """See `Teacher`."""
        return self.teachers[0].preprocessor

    @property
    def dataset(self) -> str:
        """See `Teacher`."""
        return self.teachers[0].dataset

    @property
    def training_hash(self) -> str:
        """See `Teacher`."""
        return self.teachers[0].training_hash

    @property
    def pixels(self) -> PixelFacts:
        """See `Teacher`."""
        return self.teachers[0].pixels

    @property
    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        return {"teacher": "ensemble", "teachers": [t.facts for t in self.teachers]}

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Teacher`."""
        each = jnp.stack([jax.nn.log_softmax(jnp.asarray(t.logits(raw, x))) for t in self.teachers])
        return np.asarray(jax.nn.logsumexp(each, axis=0) - np.log(len(self.teachers)))

    def describe(self) -> str:
        """See `Teacher`."""
        return "an ensemble of " + "; ".join(t.describe() for t in self.teachers)


def _space(shape: Sequence[int], pixels: PixelFacts) -> ImageSpace:
    height, width, channels = shape
    sides = height, width, channels
    return ImageSpace(sides, pixels.low, pixels.high, pixels.mean, pixels.deviation)
