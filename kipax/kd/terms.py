"""The terms of a distillation's loss: their names, what they need, and how they are built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kipax.config import given
from kipax.errors import UsageError, check_choice
from kipax.kd.anchors import Anchors
from kipax.kd.clusters import ClusterLabels
from kipax.kd.contrast import CRD, QueuedCRD
from kipax.kd.embeddings import SRRL, AlignUniform, Regression, RegressionBN
from kipax.kd.objectives import LOSSES, Distil, KnownLabels
from kipax.training import Objective, Sum

if TYPE_CHECKING:
    from kipax.kd.config import KDConfig

__all__ = [
    "TERMS",
    "Material",
    "Term",
    "build_objective",
    "check_queue",
    "distil",
    "join_terms",
    "parse_loss",
]


class Term(NamedTuple):
    """What a term of a loss, or a whole loss, needs of teacher and images, and what it trains.

    Attributes:
        words: a description, for the help of the command line.
        settings: names of the config's fields that it uses and other terms may not.
        logits: whether it compares the teacher's logits.
        embeddings: whether it compares the teacher's embeddings.
        labels: whether it needs the labels of images.
        classes: whether it uses the labels of images, if all are known.
        indexed: whether it identifies images by their index, so that they must not be mixed.
        classifies: whether it trains the student's logits.
    """

    words: str
    settings: tuple[str, ...] = ()
    logits: bool = False
    embeddings: bool = False
    labels: bool = False
    classes: bool = False
    indexed: bool = False
    classifies: bool = False

    @property
    def asks(self) -> bool:
        """Whether it asks the teacher."""
        return self.logits or self.embeddings

    @property
    def reads_labels(self) -> bool:
        """Whether it uses the labels of images, needed or not."""
        return self.labels or self.classes


def _of_logits(words: str, *settings: str) -> Term:
    return Term(words, ("scale", *settings), logits=True, classifies=True)


def _of_embeddings(words: str, *settings: str, **more: bool) -> Term:
    return Term(words, settings, embeddings=True, **more)


_OF_KL = ("temperature", "signal", "top_k", "smoothing")
_OF_ANCHORS = ("anchor_mode", "averaging", "queue")
_OF_PROJECTIONS = ("projector", "features")
TERMS: dict[str, Term] = {
    "kl": _of_logits("relative entropy of the softmaxes", *_OF_KL),
    "l1": _of_logits("mean absolute difference of the logits", "temperature"),
    "l2": _of_logits("mean square difference of the logits", "temperature"),
    "hard": _of_logits("cross-entropy with the teacher's class"),
    "ce": Term(
        "cross-entropy with the labels", ("labels",), labels=True, indexed=True, classifies=True
    ),
    "align_uniform": _of_embeddings(
        "alignment and uniformity of projected embeddings", *_OF_PROJECTIONS
    ),
    "crd": _of_embeddings(
        "contrast with a memory of all images",
        *("negatives", "contrast_temperature", "labels", *_OF_PROJECTIONS),
        classes=True,
        indexed=True,
    ),
    "queued_crd": _of_embeddings(
        "contrast with a queue of images", "queue", "contrast_temperature", *_OF_PROJECTIONS
    ),
    "srrl": Term(
        "the teacher's embedding by a connector, and its logits from that",
        logits=True,
        embeddings=True,
    ),
    "anchors": _of_embeddings(
        "similarities to anchors, as a ranking", "anchor_temperature", *_OF_ANCHORS
    ),
    "similarities": _of_embeddings("similarities to anchors themselves", *_OF_ANCHORS),
    "clusters": _of_embeddings("the cluster of the teacher's embedding", "clusters", indexed=True),
    "regression": _of_embeddings("the teacher's embedding by a linear map"),
    "regression_bn": _of_embeddings("the same, standardised over the batch"),
}


def join_terms(names: Sequence[str]) -> Term:
    """Returns what a loss needs and trains: all that any of its terms does.

    Args:
        names: names of `TERMS`.

    Example:
        >>> join_terms(["ce", "kl"]).labels, join_terms(["kl"]).labels
        (True, False)
    """
    terms = [TERMS[name] for name in names]
    flags = {
        field: any(getattr(term, field) for term in terms)
        for field in Term._fields
        if field not in ("words", "settings")
    }
    settings = dict.fromkeys(setting for term in terms for setting in term.settings)
    return Term("; ".join(term.words for term in terms), tuple(settings), **flags)


def parse_loss(text: str) -> tuple[tuple[float, str], ...]:
    """Parses the text of a loss into the weights and names of its terms.

    The text joins names of `TERMS` by plus signs. A name may follow its weight and a star.

    Args:
        text: such as ``kl`` or ``ce+align_uniform+0.5*kl``.

    Returns:
        A weight (1 if none is given) and a name for each term, in the order of the text.

    Raises:
        UsageError: a name is unknown or comes twice, or a weight is no positive number.

    Example:
        >>> parse_loss("ce+0.5*kl")
        ((1.0, 'ce'), (0.5, 'kl'))
    """
    terms: list[tuple[float, str]] = []
    for part in text.split("+"):
        factor, star, name = part.rpartition("*")
        name = name.strip()
        check_choice("loss", name, tuple(TERMS))
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = math.nan
        if not (weight > 0 and math.isfinite(weight)):
            raise UsageError(f"the weight of a term is a positive number; got {part.strip()!r}.")
        if name in [known for _, known in terms]:
            raise UsageError(f"a loss has each term once; got {name} twice in {text!r}.")
        terms.append((weight, name))
    return tuple(terms)


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """The facts about a distillation's images and teacher that its objectives are built from.

    Attributes:
        count: number of images.
        trained: positions of the images that are trained on.
        classes: class of each image ``(count,)``, -1 where its label may not be used; None without
            labels.
        clusters: cluster of each image ``(count,)``; None if no term needs it.
        classifier: kernel and bias of the teacher's last layer; None if no term needs them.
    """

    count: int
    trained: np.ndarray
    classes: np.ndarray | None = None
    clusters: np.ndarray | None = None
    classifier: tuple[np.ndarray, np.ndarray] | None = None


def build_objective(config: KDConfig, material: Material) -> Objective:
    """Builds the objective of a resolved config: a `Sum`, or the one term if its weight is 1.

    Raises:
        UsageError: a queue is longer than the number of images, or all images are of one class
            or in one cluster.
    """
    terms = tuple((weight, _build(name, config, material)) for weight, name in config.terms)
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Sum(terms)


def distil(config: KDConfig, loss: str) -> Distil:
    """Builds the term that compares logits, from a resolved config.

    Args:
        config: gives temperature, scale and signal.
        loss: one of `kipax.kd.objectives.LOSSES`.
    """
    return Distil(
        loss=loss,
        temperature=given(config.temperature),
        scale=given(config.scale),
        signal=config.signal,
        top_k=config.top_k,
        smoothing=config.smoothing,
    )


def _build(name: str, config: KDConfig, material: Material) -> Objective:
    if name in LOSSES:
        return distil(config, name)
    if name in ("anchors", "similarities"):
        return _anchors(config, material, softmax=name == "anchors")
    if name in ("crd", "queued_crd"):
        return _contrast(name, config, material)
    if name == "clusters":
        return ClusterLabels(given(material.clusters))
    if name == "align_uniform":
        return AlignUniform(config.features, projector=config.projector)
    if name == "srrl":
        return SRRL(given(material.classifier))
    return {"ce": KnownLabels, "regression": Regression, "regression_bn": RegressionBN}[name]()


def _anchors(config: KDConfig, material: Material, *, softmax: bool) -> Anchors:
    return Anchors(
        mode=given(config.anchor_mode),
        tau=config.anchor_temperature,
        queue=_queue(config, material, 128_000),
        momentum=given(config.averaging),
        softmax=softmax,
    )


def _queue(config: KDConfig, material: Material, most: int) -> int:
    """Returns the length of a queue.

    Args:
        config: gives it, if the user does.
        material: otherwise it is half of the images that are trained on.
        most: but not more than this.
    """
    count = len(material.trained)
    check_queue(config, count)
    return config.queue or max(1, min(most, count // 2))


def check_queue(config: KDConfig, count: int) -> None:
    """Raises a `UsageError` if the user asks for a queue of more than `count` images."""
    if config.queue is not None and config.queue > count:
        raise UsageError(
            f"a queue holds images once: at most {count:,} here; got {config.queue:,}: take a "
            "smaller --queue or more --images."
        )


def _contrast(name: str, config: KDConfig, material: Material) -> Objective:
    common = config.features, config.contrast_temperature, config.projector
    if name == "queued_crd":
        return QueuedCRD(*common, queue=_queue(config, material, 16_384))
    classes, trained = material.classes, material.trained
    known = classes is not None and bool(np.all(classes[trained] >= 0))
    return CRD(
        *common,
        images=material.count,
        classes=classes if known else None,
        trained=trained,
        negatives=min(config.negatives, len(trained)),  # more of them would only repeat images
    )
