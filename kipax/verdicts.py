"""Says what measured differences mean for a claim."""

from __future__ import annotations

import math

__all__ = ["HOLDS", "NOISE", "REFUTED", "judge"]

HOLDS, REFUTED, NOISE = "holds", "does not hold", "within noise"


def judge(difference: float, variance: float) -> str:
    """Judges the claim that a difference is positive.

    Args:
        difference: the measured difference.
        variance: its squared standard error.

    Returns:
        ``holds`` or ``does not hold`` beyond two standard errors, else ``within noise``.

    Example:
        >>> judge(0.03, 0.01**2), judge(-0.01, 0.01**2)
        ('holds', 'within noise')
    """
    if abs(difference) <= 2 * math.sqrt(variance):
        return NOISE
    return HOLDS if difference > 0 else REFUTED
