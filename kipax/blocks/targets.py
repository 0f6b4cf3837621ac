"""The training images of a data set as target blocks: raw pixels and a preprocessor, by index."""

from __future__ import annotations

import numpy as np

from kipax import ridge
from kipax.blocks.executor import TargetRows
from kipax.data import Dataset, Preprocessor
from kipax.data.augmentation import augment, check_augmentable

__all__ = ["DatasetTargets"]


class DatasetTargets:
    """A `kipax.blocks.TargetSource` that augments and preprocesses whatever is asked for.

    The raw images stay as they are, so that each step can augment them anew.

    Args:
        dataset: its training images are the targets.
        preprocessor: fitted on them.
        augment_fraction: the probability that an image of a step is augmented, where the rows
            carry an augmentation seed.

    Raises:
        UsageError: images that cannot be augmented although they should be.
    """

    def __init__(
        self, dataset: Dataset, preprocessor: Preprocessor, *, augment_fraction: float = 0.0
    ):
        if augment_fraction > 0:
            check_augmentable(dataset.x_train)
        self.num_classes = dataset.num_classes
        self._dataset, self._preprocessor = dataset, preprocessor
        self._fraction = augment_fraction

    def images(self, rows: TargetRows) -> np.ndarray:
        """Preprocessed images ``(n, H, W, C)`` float32."""
        x = self._dataset.x_train[rows.indices]
        if rows.augmentation_seed is not None and self._fraction > 0:
            seed, step = rows.augmentation_seed, rows.step
            x = augment(x, rows.indices, seed=seed, step=step, fraction=self._fraction)
        return self._preprocessor.apply(x)

    def labels(self, rows: TargetRows) -> np.ndarray:
        """Centred one-hot labels ``(n, classes)`` float64."""
        return ridge.one_hot(self._dataset.y_train[rows.indices], self.num_classes)
