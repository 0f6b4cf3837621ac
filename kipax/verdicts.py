"""Decides whether a measured difference supports a claim, contradicts it or is within noise."""

from __future__ import annotations

import math

__all__ = ["HOLDS", "NOISE", "REFUTED", "judge"]

HOLDS, REFUTED, NOISE = "holds", "does not hold", "within noise"


def judge(difference: float, variance: float) -> str:
    """Returns the verdict on the claim that a quantity, such as a difference, is positive.

    Args:
        difference: the quantity as it was measured.
        variance: the square of its standard error.

    Returns:
        ``holds`` or ``does not hold`` beyond two standard errors, else ``within noise``.

    Example:
        >>> judge(0.03, 0.01**2), judge(-0.01, 0.01**2)
        ('holds', 'within noise')
    """
    if abs(difference) <= 2 * math.sqrt(variance):
        return NOISE
    return HOLDS if difference > 0 else REFUTED
