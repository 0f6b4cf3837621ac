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

__all__ = ["TERMS", "Material", "Term", "build_objective", "distil", "parse_loss"]


class Term(NamedTuple):
    """What a term of a loss needs of the teacher and the images, and what it trains.

    Attributes:
        words: what it is, for the help.
        logits: whether it compares the teacher's logits.
        embeddings: whether it compares the teacher's embeddings.
        labels: whether it needs the labels of images.
        classifies: whether it trains the student's logits.
    """

    words: str
    logits: bool = False
    embeddings: bool = False
    labels: bool = False
    classifies: bool = False


def _of_logits(words: str) -> Term:
    return Term(words, logits=True, classifies=True)


def _of_embeddings(words: str) -> Term:
    return Term(words, embeddings=True)


TERMS: dict[str, Term] = {
    "kl": _of_logits("relative entropy of the softmaxes"),
    "l1": _of_logits("mean absolute difference of the logits"),
    "l2": _of_logits("mean square difference of the logits"),
    "hard": _of_logits("cross-entropy with the teacher's class"),
    "ce": Term("cross-entropy with the labels", labels=True, classifies=True),
    "align_uniform": _of_embeddings("alignment and uniformity of projected embeddings"),
    "crd": _of_embeddings("contrast with a memory of all images"),
    "queued_crd": _of_embeddings("contrast with a queue of images"),
    "srrl": _of_embeddings("the teacher's embedding by a connector"),
    "anchors": _of_embeddings("similarities to anchors, as a ranking"),
    "similarities": _of_embeddings("similarities to anchors themselves"),
    "clusters": _of_embeddings("the cluster of the teacher's embedding"),
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
        classes: class of each image ``(count,)``, -1 where it has no label; None without labels.
        clusters: cluster of each image ``(count,)``; None if no term needs it.
        classifier: kernel and bias of the teacher's last layer; None if they are not known.
    """

    count: int
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
        return SRRL(material.classifier)
    return {"ce": KnownLabels, "regression": Regression, "regression_bn": RegressionBN}[name]()


def _anchors(config: KDConfig, material: Material, *, softmax: bool) -> Anchors:
    return Anchors(
        mode=given(config.anchor_mode),
        tau=config.anchor_temperature,
        queue=_queue(config, material, 128_000),
        momentum=given(config.momentum),
        softmax=softmax,
    )


def _queue(config: KDConfig, material: Material, most: int) -> int:
    """Returns the length of a queue: as given, or `most`, but at most half of the images."""
    size = config.queue or max(1, min(most, material.count // 2))
    if size > material.count:
        raise UsageError(
            f"a queue holds images once: at most {material.count:,} here; got {size:,}: take a "
            "smaller --queue or more --images."
        )
    return size


def _contrast(name: str, config: KDConfig, material: Material) -> Objective:
    common = config.features, config.contrast_temperature, config.projector
    if name == "queued_crd":
        return QueuedCRD(*common, queue=_queue(config, material, 16_384))
    known = material.classes is not None and bool(np.all(material.classes >= 0))
    classes = material.classes if known else None
    negatives = min(config.negatives, material.count)  # more would come twice on average
    return CRD(*common, images=material.count, classes=classes, negatives=negatives)
