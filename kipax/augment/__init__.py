"""Augmentation: of raw pixels before they are preprocessed, and of preprocessed batches."""

from kipax.augment.batches import AUGMENTATIONS, Strengths, augment_batch, augment_pair
from kipax.augment.targets import augment, augment_there, check_augmentable

__all__ = [
    "AUGMENTATIONS",
    "Strengths",
    "augment",
    "augment_batch",
    "augment_pair",
    "augment_there",
    "check_augmentable",
]
