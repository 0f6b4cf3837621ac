"""Diagnoses a source by a teacher's answers before any training (Frank & Davis 2025)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.special import softmax

__all__ = ["Diagnosis", "diagnose", "relative_entropy"]

# Our reading of few trials. Below 0.35: noise on 28 x 28 and 16 x 16 pixels (0.31, 0.27) taught a
# third of the teacher's accuracy, a photo of stars (0.18) half of it. From 0.65: dense photos,
# leaves and formulae (0.68 to 0.92) taught nine tenths. Between them either happened: a noise
# picture (0.40) taught half, and with formulae (0.42) a student came within 2 points of a kernel's
# 79 %. A high value is no promise: a deep teacher of Fashion-MNIST taught only a third to half of
# its accuracy at 0.69 to 0.74.
_DOUBTFUL, _LIKELY = 0.35, 0.65


def relative_entropy(classes: np.ndarray, num_classes: int) -> float:
    """Returns the entropy of a histogram of classes relative to an even one, from 0 to 1.

    Args:
        classes: classes of the images ``(n,)``.
        num_classes: number of classes.

    Example:
        >>> relative_entropy(np.array([0, 1, 0, 1]), 2)
        1.0

    Source: Frank & Davis 2025, table 3.
    """
    if num_classes < 2:
        return 0.0
    shares = np.bincount(classes, minlength=num_classes) / len(classes)
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)) / math.log(num_classes)) + 0.0


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """How a teacher classifies the images of a source.

    Attributes:
        relative_entropy: relative entropy of the classes that it predicts.
        confidence: mean of its largest probability.
        classes_seen: number of classes that it predicts at least once.
        num_classes: number of its classes.
        verdict: ``likely``, ``doubtful`` or ``unlikely`` to teach a student.
    """

    relative_entropy: float
    confidence: float
    classes_seen: int
    num_classes: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, JSON-ready."""
        return dataclasses.asdict(self)

    def describe(self) -> str:
        """Describes the diagnosis in a sentence."""
        return (
            f"the teacher sees {self.classes_seen} of {self.num_classes} classes (relative entropy "
            f"{self.relative_entropy:.2f}, mean confidence {self.confidence:.2f}): a student is "
            f"{self.verdict} to learn them from these images"
        )


def diagnose(logits: np.ndarray) -> Diagnosis:
    """Diagnoses a source from a teacher's logits ``(n, classes)`` of its images."""
    num_classes = logits.shape[1]
    classes = np.argmax(logits, axis=1)
    entropy = relative_entropy(classes, num_classes)
    verdict = "likely" if entropy >= _LIKELY else "doubtful"
    return Diagnosis(
        round(entropy, 4),
        round(float(np.mean(softmax(logits, axis=1).max(axis=1))), 4),
        len(np.unique(classes)),
        num_classes,
        verdict if entropy >= _DOUBTFUL else "unlikely",
    )
