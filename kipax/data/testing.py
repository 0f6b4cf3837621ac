"""Checks whether a data set can test a model that was trained on another one."""

from __future__ import annotations

from collections.abc import Sequence

from kipax.data.classes import check_same_classes
from kipax.data.datasets import Dataset
from kipax.errors import UsageError
from kipax.pixels import PixelFacts

__all__ = ["check_test_data", "check_units"]


def check_test_data(
    dataset: Dataset,
    what: str,
    *,
    class_names: Sequence[str],
    pixels: PixelFacts,
    training_hash: str | None,
    images_hash: str | None,
    origin: str,
) -> None:
    """Raises a `UsageError` for classes or pixels that contradict those of a trained model.

    Class names and numbers must not contradict each other, and pixels must be in the units of the
    training images.

    Args:
        dataset: the data set to test on, of the model's image shape and number of classes.
        what: the name of the model, for the messages, such as "the support set".
        class_names: the model's class names, in order.
        pixels: the pixels of its training images.
        training_hash: `Dataset.training_hash` of its training data; None or empty if unknown.
        images_hash: `Dataset.images_hash` of its training data; None or empty if unknown.
        origin: what the training images were to it, such as "distilled from".
    """
    check_same_classes(class_names, dataset.class_names, what, dataset.name)
    if training_hash and training_hash == dataset.training_hash:
        return  # its own data: no further check of the test part
    if training_hash and images_hash and images_hash == dataset.images_hash:
        raise UsageError(
            f"{dataset.name} holds the images that {what} was {origin} with other classes: number "
            "its classes as they were then, see its class_names."
        )
    check_units(dataset, pixels)


def check_units(dataset: Dataset, pixels: PixelFacts) -> None:
    """Raises a `UsageError` for test images that are not in the units of a model's pixels.

    Args:
        dataset: the data set to test on.
        pixels: the pixels of the model's training images.
    """
    words = pixels.mismatch(dataset.x_test, f"the test images of {dataset.name}")
    if words is not None:
        raise UsageError(f"{words}: give images in the same units.")
