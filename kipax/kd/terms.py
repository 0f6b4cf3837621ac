"""The terms that a distillation's loss is a sum of: their names, what they need, their objects."""

from __future__ import annotations

import dataclasses
import math
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

__all__ = ["TERMS", "Material", "Term", "build_objective", "check_queue", "distil", "parse_loss"]


class Term(NamedTuple):
    """What a term of a loss needs of the teacher and the images, and what it trains.

    Attributes:
        words: what it is, for the help.
        settings: the fields of a config that it uses and not every term.
        logits: whether it compares the teacher's logits.
        embeddings: whether it compares the teacher's embeddings.
        labels: whether it needs the labels of images.
        classes: whether it uses the labels of images, if all are known.
        indexed: whether it knows images by their index, so that they must not be mixed.
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


def parse_loss(text: str) -> tuple[tuple[float, str], ...]:
    """Reads a loss: names of terms with plus signs between them, each with a weight if wanted.

    Args:
        text: such as ``kl`` or ``ce+align_uniform+0.5*kl``.

    Returns:
        Weights and names, in the order of the text.

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
    """What objectives must know of a distillation's images and teacher.

    Attributes:
        count: number of images.
        trained: positions of the images that are trained on.
        classes: class of each image ``(count,)``, -1 where its label may not be used; None without
            labels.
        clusters: cluster of each image ``(count,)``; None if no term needs it.
        classifier: kernel and bias of the teacher's last layer; None if they are not known.
    """

    count: int
    trained: np.ndarray
    classes: np.ndarray | None = None
    clusters: np.ndarray | None = None
    classifier: tuple[np.ndarray, np.ndarray] | None = None


def build_objective(config: KDConfig, material: Material) -> Objective:
    """Builds the objective of a resolved config; a single term of weight 1 stays itself.

    Raises:
        UsageError: a queue or a number of negatives is larger than the images allow.
    """
    terms = tuple((weight, _build(name, config, material)) for weight, name in config.terms)
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Sum(terms)


def distil(config: KDConfig, loss: str) -> Distil:
    """Builds the term of a resolved config that compares logits by `loss`."""
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
        assert material.clusters is not None
        return ClusterLabels(material.clusters)
    if name == "align_uniform":
        return AlignUniform(config.features, projector=config.projector)
    if name == "srrl":
        if material.classifier is None:
            raise UsageError(
                "srrl needs the last layer of the teacher, which only a network that classifies "
                "has: take regression, or another teacher."
            )
        return SRRL(material.classifier)
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
    """Returns the length of a queue: as given, or `most`, but at most half of the images."""
    count = len(material.trained)
    check_queue(config, count)
    return config.queue or max(1, min(most, count // 2))


def check_queue(config: KDConfig, count: int) -> None:
    """Raises a `UsageError` for a queue that holds more images than `count`."""
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
        negatives=min(config.negatives, len(trained)),  # more would come twice on average
    )
