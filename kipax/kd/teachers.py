"""Teachers: trained networks, distilled sets, ensembles. `FunctionTeacher` has its own file."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from scipy.special import log_softmax, logsumexp

from kipax.data import Dataset, Preprocessor
from kipax.errors import UsageError
from kipax.files import hash_arrays
from kipax.kd.sources.base import ImageSpace
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.students import Outputs, classifier_of
from kipax.support import SupportSet
from kipax.trees import tree_to_arrays

__all__ = [
    "Domain",
    "Ensemble",
    "KernelTeacher",
    "NetworkTeacher",
    "Teacher",
    "kernel_teacher",
]

_SCORE_SCALE = 10.0  # logits from regression scores, whose classes differ by about 1


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
    """The images and classes that a teacher was trained on.

    Attributes:
        space: the raw images that it takes.
        class_names: names of its classes, in the order of the logits.
        preprocessor: the preprocessor of its students' inputs.
        pixels: the facts of its training images' pixels.
        dataset: the name of its training data; empty if unknown.
        training_hash: `Dataset.training_hash` of its training data; empty if unknown.
        images_hash: `Dataset.images_hash` of its training data; empty if unknown.
    """

    space: ImageSpace
    class_names: tuple[str, ...]
    preprocessor: Preprocessor
    pixels: PixelFacts
    dataset: str = ""
    training_hash: str = ""
    images_hash: str = ""

    @classmethod
    def of(cls, model: TrainedNetwork | SupportSet, image_shape: Sequence[int]) -> Domain:
        """Returns the domain of a network or a distilled set, from its metadata."""
        pixels, facts = model.pixels, model.metadata
        height, width, channels = image_shape
        return cls(
            ImageSpace(
                (height, width, channels), pixels.low, pixels.high, pixels.mean, pixels.deviation
            ),
            model.class_names,
            model.preprocessor,
            pixels,
            str(facts["dataset"]),
            str(facts.get("training_hash") or ""),
            str(facts.get("images_hash") or ""),
        )


class Teacher(abc.ABC):
    """The base of teachers: objects that return logits of images."""

    @property
    @abc.abstractmethod
    def domain(self) -> Domain:
        """The images and classes that it was trained on."""

    @property
    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Facts that identify the teacher, JSON-ready."""

    @property
    def known_classes(self) -> int | None:
        """The number of likeliest classes whose logits it gives; None for all, 0 for no logits."""
        return None

    @abc.abstractmethod
    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns logits ``(n, classes)`` of images, given both raw and preprocessed (`x`)."""

    @property
    def embedding_size(self) -> int | None:
        """The length of its embeddings; None if it gives none."""
        return None

    @property
    def classifier(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The kernel and the bias that turn its embeddings into logits; None if not known."""
        return None

    def outputs(self, raw: np.ndarray, x: np.ndarray) -> Outputs:
        """Returns logits and embeddings of images, given both raw and preprocessed (`x`).

        Embeddings have the shape ``(n, embedding_size)``, or ``(n, 0)`` if it gives none.
        """
        logits = np.asarray(self.logits(raw, x), np.float32)
        return Outputs(logits, np.zeros((len(logits), 0), np.float32), {})

    @abc.abstractmethod
    def describe(self) -> str:
        """Describes the teacher in words."""


@functools.partial(jax.jit, static_argnums=0)
def _apply(module: nn.Module, variables: dict[str, Any], x: jax.Array) -> Outputs:
    out: Any = module.apply(variables, x)
    return Outputs(out.logits, out.penultimate.reshape(len(x), -1), {})


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkTeacher(Teacher):
    """A trained network, in evaluation mode."""

    network: TrainedNetwork

    @functools.cached_property
    def domain(self) -> Domain:
        """The network's training data."""
        return Domain.of(self.network, self.network.image_shape)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """The network's name and the hash of its variables and preprocessing."""
        arrays = tree_to_arrays(self.network.variables)
        digest = hash_arrays(arrays | self.network.preprocessor.to_arrays())
        return {"teacher": self.network.spec.describe(), "teacher_hash": digest[:16]}

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns the network's logits ``(n, classes)`` of preprocessed images `x`.

        Raises:
            UsageError: the network was trained without labels.
        """
        self.network.check_classifies()
        return self.outputs(raw, x).logits

    @property
    def known_classes(self) -> int | None:
        """0 for a network that was trained without labels, None for any other network."""
        return None if self.network.classifies else 0

    @property
    def classifier(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The kernel and the bias of the network's last layer; None if it does not classify."""
        if not self.network.classifies:
            return None
        kernel, bias = classifier_of(self.network.module, self.network.variables)
        return np.asarray(kernel), np.asarray(bias)

    @functools.cached_property
    def embedding_size(self) -> int:
        """The length of the network's embeddings: the inputs of its last dense layer."""
        network = self.network
        one = jax.ShapeDtypeStruct((1, *network.image_shape), np.float32)
        out = jax.eval_shape(functools.partial(_apply, network.module, network.variables), one)
        return out.penultimate.shape[-1]

    def outputs(self, raw: np.ndarray, x: np.ndarray) -> Outputs:
        """Returns the network's logits and embeddings of preprocessed images `x`."""
        return _apply(self.network.module, self.network.variables, x)

    def describe(self) -> str:
        """Returns the network's own description."""
        return str(self.network).rstrip(".")


@dataclasses.dataclass(frozen=True, eq=False)
class KernelTeacher(Teacher):
    """A distilled set: the scores of kernel ridge regression, times a factor, as logits.

    Attributes:
        support: the set.
        scale: factor of the scores; see `kernel_teacher`.
        rule: how `scale` was chosen, in words.
    """

    support: SupportSet
    scale: float = _SCORE_SCALE
    rule: str = "fixed"

    @functools.cached_property
    def domain(self) -> Domain:
        """The data that the set was distilled from."""
        return Domain.of(self.support, self.support.images.shape[1:])

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """The hash of the set, its kernel, ridge and preprocessing, and the factor."""
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
        """Returns the kernel's scores ``(n, classes)`` of preprocessed `x`, times `scale`."""
        return self.scale * self.support.scores_of_preprocessed(np.asarray(x))

    def describe(self) -> str:
        """Describes the set, the factor of its scores, and the backend that computes its kernel."""
        words = f"{self.support}".rstrip(".")
        computed_by = self.support.kernel_spec.computed_by()
        return (
            f"{words}; its scores times {self.scale:g} ({self.rule}) are the logits, computed by "
            f"{computed_by}"
        )


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
    losses = [-np.mean(log_softmax(f * scores, axis=1)[picked]) for f in factors]
    best = float(factors[int(np.argmin(losses))])
    rule = f"lowest cross-entropy on {len(scores):,} validation images"
    return KernelTeacher(support, round(best, 3), rule)


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble(Teacher):
    """Several teachers of the same images and classes: the logarithm of their mean probability.

    Raises:
        UsageError: there are no teachers, they differ in images, classes or preprocessing, or one
            does not give all classes, so that a mean is not known.
    """

    teachers: Sequence[Teacher]

    def __post_init__(self) -> None:
        if not self.teachers:
            raise UsageError("an ensemble has one teacher or more; got none.")
        for teacher in self.teachers:
            if teacher.known_classes is not None:
                raise UsageError(
                    "teachers of an ensemble give the logits of all classes; "
                    f"{teacher.describe()} gives {teacher.known_classes}."
                )
        first = self.teachers[0]
        for other in self.teachers[1:]:
            if _inputs(other.domain) != _inputs(first.domain):
                raise UsageError(
                    "teachers of an ensemble share images, classes and preprocessing; "
                    f"{other.describe()} does not fit {first.describe()}."
                )

    @property
    def domain(self) -> Domain:
        """The domain of the first teacher."""
        return self.teachers[0].domain

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of each teacher, and a hash of the teachers' hashes if all of them have one."""
        members = [t.facts for t in self.teachers]
        facts: dict[str, Any] = {"teacher": "ensemble", "teachers": members}
        hashes = [member.get("teacher_hash") for member in members]
        if all(hashes):
            facts["teacher_hash"] = hash_arrays({"hashes": np.array(hashes)})[:16]
        return facts

    def logits(self, raw: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Averages the teachers' probabilities; returns the logarithm of the mean as logits."""
        each = [log_softmax(np.asarray(t.logits(raw, x)), axis=1) for t in self.teachers]
        return logsumexp(each, axis=0) - np.log(len(self.teachers))

    def describe(self) -> str:
        """Returns each teacher's description."""
        return "an ensemble of " + "; ".join(t.describe() for t in self.teachers)


def _inputs(domain: Domain) -> tuple[Any, ...]:
    """Returns image shape, class names and preprocessing, which an ensemble's teachers share."""
    return domain.space.shape, domain.class_names, hash_arrays(domain.preprocessor.to_arrays())
