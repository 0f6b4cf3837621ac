"""The training images of a data set as targets: raw pixels and a preprocessor, by index."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kipax import ridge
from kipax.augment import augment, check_augmentable
from kipax.blocks.executor import TargetRows
from kipax.data import Dataset, Preprocessor, from_arrays, load_dataset
from kipax.data.content import image_hashes
from kipax.errors import UsageError

__all__ = ["DatasetTargets", "TargetRecipe", "hash_targets"]


class DatasetTargets:
    """A `kipax.blocks.TargetSource` that augments and preprocesses images on request.

    The raw images stay as they are, so that each step can augment them anew.

    Args:
        dataset: its training images are the targets.
        preprocessor: the preprocessor fitted on them.
        augment_fraction: the probability that an image of a step is augmented, where the rows
            carry an augmentation seed.

    Raises:
        UsageError: augmentation is asked for and the images cannot be augmented.
    """

    def __init__(
        self, dataset: Dataset, preprocessor: Preprocessor, *, augment_fraction: float = 0.0
    ):
        if augment_fraction > 0:
            check_augmentable(dataset.x_train)
        self.num_classes = dataset.num_classes
        self.dataset = dataset
        self.preprocessor = preprocessor
        self.augment_fraction = augment_fraction

    def images(self, rows: TargetRows) -> np.ndarray:
        """Returns the preprocessed images ``(n, H, W, C)`` float32."""
        x = self.dataset.x_train[rows.indices]
        if self.augments(rows):
            seed, step = rows.augmentation_seed, rows.step
            assert seed is not None
            x = augment(x, rows.indices, seed=seed, step=step, fraction=self.augment_fraction)
        return self.preprocessor.apply(x)

    def augments(self, rows: TargetRows) -> bool:
        """Returns whether some of these rows may be augmented."""
        return rows.augmentation_seed is not None and self.augment_fraction > 0

    def labels(self, rows: TargetRows) -> np.ndarray:
        """Returns the centred one-hot labels ``(n, classes)`` float64."""
        return ridge.one_hot(self.dataset.y_train[rows.indices], self.num_classes)


def hash_targets(dataset: Dataset) -> str:
    """Returns the sha256 of the targets in their order, to which batches and cursors refer."""
    digest = hashlib.sha256(image_hashes(dataset.x_train).tobytes())
    digest.update(np.ascontiguousarray(dataset.y_train).tobytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class TargetRecipe:
    """How a worker loads a run's targets itself, and a hash that proves they are the same.

    Attributes:
        dataset, data_dir, image_size, validation_examples: see `kipax.data.load_dataset`.
        targets_hash: `hash_targets` of the loaded targets.
        augment_fraction: see `DatasetTargets`.
        preprocessing: name of the preprocessor.
        arrays: arrays of the fitted preprocessor, sent so that no worker fits its own.
    """

    dataset: str
    data_dir: str | None
    image_size: int | None
    validation_examples: int
    targets_hash: str
    augment_fraction: float
    preprocessing: str
    arrays: Mapping[str, np.ndarray]

    def facts(self) -> dict[str, Any]:
        """Returns every field except the arrays, JSON-ready."""
        return {k: v for k, v in vars(self).items() if k != "arrays"}

    def load(self, *, dataset: str | None = None, data_dir: str | None = None) -> DatasetTargets:
        """Loads the data set here and checks that it is that of the run.

        Args:
            dataset: its name on this machine; None for the name on the server.
            data_dir: its folder on this machine; None for the folder on the server.

        Raises:
            UsageError: it is another data set, or its images are in another order.
            FileError: it cannot be read.
        """
        data = load_dataset(
            dataset or self.dataset,
            validation_examples=self.validation_examples,
            data_dir=data_dir or self.data_dir,
            image_size=self.image_size,
        )
        found = hash_targets(data)
        if found != self.targets_hash:
            raise UsageError(
                f"the training images of {data.name} here are not the server's (hash "
                f"{found[:12]}, there {self.targets_hash[:12]}): copy the server's data set, or "
                "name the copy on this machine as dataset."
            )
        preprocessor = from_arrays(self.preprocessing, self.arrays)
        return DatasetTargets(data, preprocessor, augment_fraction=self.augment_fraction)
