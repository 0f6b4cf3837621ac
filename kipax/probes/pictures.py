"""Draws clusters of features: test images of each cluster, and the accuracy of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kipax import plots
from kipax.data import Dataset
from kipax.probes.clusters import Alignment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_clusters"]

_SHOWN = 12  # images of a cluster


def draw_clusters(
    alignment: Alignment, dataset: Dataset, raw: np.ndarray, classes: np.ndarray
) -> dict[str, Figure]:
    """Draws the clusters of test images.

    ``clusters.png``: the first test images of each cluster, whether right or not, beside the class
    that names the cluster. ``cluster_accuracy.png``: the share of each class's test images that lie
    in the cluster of its name, sorted.

    Args:
        alignment: the clusters.
        dataset: the data; gives class names and the range of pixels.
        raw: the test images ``(m, H, W, C)``.
        classes: their classes ``(m,)``.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, figures A1 and A2.
    """
    order = np.argsort(alignment.names)
    rows = [np.flatnonzero(alignment.clusters == c)[:_SHOWN] for c in order]
    chosen = np.concatenate(rows)
    low, high = dataset.pixels.low, dataset.pixels.high
    shares = (np.asarray(raw[chosen], np.float64) - low) / max(high - low, 1e-12)
    pictures = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    names = [dataset.class_names[c] for c in alignment.names[order]]
    of_row = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    right = alignment.names[alignment.clusters] == classes
    found = {
        name: float(np.mean(right[classes == c])) if np.any(classes == c) else 0.0
        for c, name in enumerate(dataset.class_names)
    }
    ranked = sorted(found, key=lambda name: -found[name])
    return {
        "clusters.png": plots.draw_images({"": pictures}, of_row, names),
        "cluster_accuracy.png": plots.draw_bars(
            {"test images": [found[name] for name in ranked]},
            ranked,
            ("class", "share in its cluster"),
        ),
    }
