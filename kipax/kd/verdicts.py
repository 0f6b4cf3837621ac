"""Judges claims about test accuracies, and correlates accuracy with relative entropy."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import spearmanr

from kipax.kd.grid import CellResult
from kipax.verdicts import HOLDS, NOISE, REFUTED, judge

__all__ = ["judge_equal", "judge_gap", "judge_order", "rank_correlation"]


def _variance(result: CellResult) -> float:
    """Returns the squared standard error of a cell's accuracy.

    ``p (1 - p) / n + s^2 / k``: p the mean accuracy on n test images, s its standard deviation over
    k seeds (0 for one seed, which says nothing about other seeds).
    """
    p, spread = result.accuracy, result.deviation or 0.0
    return p * (1 - p) / result.test_examples + spread**2 / len(result.accuracies)


def judge_order(lower: CellResult, higher: CellResult) -> str:
    """Judges the claim that one accuracy is below another.

    Args:
        lower: the cell that is claimed to be worse.
        higher: the cell that is claimed to be better.

    Returns:
        ``holds`` or ``does not hold`` where they differ by two standard errors, else
        ``within noise``.
    """
    return judge(higher.accuracy - lower.accuracy, _variance(lower) + _variance(higher))


def judge_equal(one: CellResult, other: CellResult) -> str:
    """Judges the claim that two accuracies are about the same: within two standard errors.

    Returns:
        ``holds`` or ``does not hold``.
    """
    return HOLDS if judge_order(one, other) == NOISE else REFUTED


def judge_gap(wide: tuple[CellResult, CellResult], narrow: tuple[CellResult, CellResult]) -> str:
    """Judges the claim that a difference is smaller than another one.

    Args:
        wide: the worse and the better cell that are claimed to differ more.
        narrow: the worse and the better cell that are claimed to differ less.
    """
    gaps = [better.accuracy - worse.accuracy for worse, better in (wide, narrow)]
    return judge(gaps[0] - gaps[1], sum(_variance(cell) for cell in (*wide, *narrow)))


def rank_correlation(results: Sequence[CellResult]) -> float | None:
    """Returns Spearman's correlation of relative entropy and accuracy.

    Returns:
        The correlation, from -1 to 1; None for fewer than four different entropies, or equal
        accuracies.

    Source: Frank & Davis 2025, table 3, where the entropies alone stand.
    """
    entropies = [float(r.relative_entropies.mean()) for r in results]
    accuracies = [r.accuracy for r in results]
    if len(set(entropies)) < 4 or len(set(accuracies)) < 2:
        return None
    return round(float(spearmanr(entropies, accuracies).statistic), 3)
