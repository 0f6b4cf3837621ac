"""Augmentation: of raw images before they are preprocessed, and of preprocessed batches.

Functions of one image take a key and a raw image ``(H, W, C)``, float32 from 0 to 255; `jax.vmap`
applies them to a batch.
"""

from kipax.augment.batches import AUGMENTATIONS, Strengths, augment_batch, augment_pair
from kipax.augment.colour import color_jitter, greyscale, invert, solarize
from kipax.augment.geometry import elastic, flip, random_crop, random_resized_crop, rotation, warp
from kipax.augment.mixing import cutmix, mixup
from kipax.augment.occlusion import cutout, random_erasing
from kipax.augment.policies import auto_augment, jitter, rand_augment
from kipax.augment.targets import augment, augment_there, check_augmentable

__all__ = [
    "AUGMENTATIONS",
    "Strengths",
    "augment",
    "augment_batch",
    "augment_pair",
    "augment_there",
    "auto_augment",
    "check_augmentable",
    "color_jitter",
    "cutmix",
    "cutout",
    "elastic",
    "flip",
    "greyscale",
    "invert",
    "jitter",
    "mixup",
    "rand_augment",
    "random_crop",
    "random_erasing",
    "random_resized_crop",
    "rotation",
    "solarize",
    "warp",
]
