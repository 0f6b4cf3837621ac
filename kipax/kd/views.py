"""Changes raw images for student and teacher: augmented, mixed and preprocessed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment import (
    color_jitter,
    cutmix,
    elastic,
    flip,
    greyscale,
    mixup,
    rand_augment,
    random_crop,
    random_erasing,
    random_resized_crop,
)
from kipax.augment.colour import brightness, contrast
from kipax.data import Preprocessor
from kipax.data.on_device import device_preprocessing
from kipax.errors import UsageError, check_choice
from kipax.kd.sources.base import ImageSpace
from kipax.training import Batch

__all__ = ["LEVELS", "MIXES", "ViewedBatches", "Views", "labelled"]

LEVELS = ("none", "crop", "standard", "high", "extreme", "contrastive")
MIXES = ("none", "mixup", "cutmix")
_ELASTIC_SIDE = 224  # the pixels that the strength of the paper's elastic changes is for


@dataclasses.dataclass(frozen=True)
class Views:
    """How images are changed before student and teacher see them.

    * ``none``: no change;
    * ``crop``: padded by an eighth and cropped at random, and mirrored (Asano & Saeed 2023);
    * ``standard``: RandAugment(2, 14), and ``crop``;
    * ``high``: RandAugment(4, 14), half of the images elastic (alpha 50, sigma 5 at 224 pixels,
      scaled to the side), a tenth inverted, and ``crop``;
    * ``extreme``: as ``high``, but RandAugment(8, 30), and random erasing;
    * ``contrastive``: a box of 8 to 100 % of the area, resized and mirrored; with probability 0.8
      brightness, contrast, saturation and hue change by up to 0.4, 0.4, 0.4 and 0.1 (of one
      channel brightness and contrast), with 0.2 colours turn grey. No blur: SimCLR's for small
      images (Chen et al. 2020, arXiv:2002.05709, appendix B.9).

    The other levels are those of Frank & Davis 2025. Operations on colours get pixels clipped to
    the range.

    Attributes:
        level: one of `LEVELS`.
        mirror: whether images may be mirrored.
        mix: ``none``, ``mixup`` or ``cutmix``, of the images alone; see `kipax.augment`.
        alpha: parameter of Beta(alpha, alpha), from which shares are drawn.
        per_example: True for a share for each image, False for one for the batch.

    Raises:
        UsageError: an unknown name, or an alpha that is not positive.
    """

    level: str = "none"
    mirror: bool = True
    mix: str = "none"
    alpha: float = 1.0
    per_example: bool = False

    def __post_init__(self) -> None:
        check_choice("augmentation", self.level, LEVELS)
        check_choice("mix", self.mix, MIXES)
        if not self.alpha > 0:
            raise UsageError(f"mix_alpha must be positive; got {self.alpha}.")

    @property
    def changes(self) -> bool:
        """Whether images are changed at all."""
        return self.level != "none" or self.mix != "none"


def _contrastive(views: Views, key: jax.Array, x: jax.Array) -> jax.Array:
    """Returns one image after the level ``contrastive``, with whole values from 0 to 255."""
    of_box, of_flip, of_use, of_jitter, of_grey = jax.random.split(key, 5)
    x = random_resized_crop(of_box, x, (x.shape[0], x.shape[1]))
    x = jnp.where(views.mirror & jax.random.bernoulli(of_flip), flip(x), x)
    x = jnp.clip(jnp.round(x), 0.0, 255.0)
    colours = x[..., :3]
    if colours.shape[-1] == 1:
        jittered = _jitter_grey(of_jitter, colours)
        return jnp.where(jax.random.bernoulli(of_use, 0.8), jittered, x)
    jittered = color_jitter(of_jitter, colours, brightness=0.4, contrast=0.4, saturation=0.4)
    colours = jnp.where(jax.random.bernoulli(of_use, 0.8), jittered, colours)
    colours = jnp.where(jax.random.bernoulli(of_grey, 0.2), greyscale(colours), colours)
    return jnp.concatenate([colours, x[..., 3:]], axis=-1)


def _jitter_grey(key: jax.Array, x: jax.Array) -> jax.Array:
    """Changes brightness and contrast of an image ``(H, W, 1)`` in a random order."""
    of_order, of_amounts = jax.random.split(key)
    light, spread = jax.random.uniform(of_amounts, (2,), minval=0.6, maxval=1.4)
    return jnp.where(
        jax.random.bernoulli(of_order),
        contrast(brightness(x, light), spread),
        brightness(contrast(x, spread), light),
    )


def _change(views: Views, fill: float, key: jax.Array, x: jax.Array) -> jax.Array:
    """Returns one image after the changes of a level, with values from 0 to 255.

    They are whole but for the levels crop and contrastive; crop leaves pixels beyond the range.
    """
    if views.level == "contrastive":
        return _contrastive(views, key, x)
    of_policy, of_extra, of_use, of_invert, of_crop, of_erasing = jax.random.split(key, 6)
    number, strength = {"standard": (2, 14), "high": (4, 14), "extreme": (8, 30)}.get(
        views.level, (0, 0)
    )
    if number:
        # The policy takes colours from 0 to 255: no fourth channel, no pixels beyond the range.
        colours = jnp.clip(jnp.round(x[..., :3]), 0.0, 255.0)
        colours = rand_augment(of_policy, colours, number=number, level=strength, fill=fill)
        x = jnp.concatenate([colours, x[..., 3:]], axis=-1)
    if views.level in ("high", "extreme"):
        scale = x.shape[0] / _ELASTIC_SIDE
        moved = elastic(of_extra, x, alpha=50 * scale, sigma=5 * scale, fill=fill)
        x = jnp.where(jax.random.bernoulli(of_use), moved, x)
        x = jnp.where(jax.random.bernoulli(of_invert, 0.1), 255.0 - x, x)
    if views.level == "extreme":
        x = random_erasing(of_erasing, x, fill=fill)
    of_place, of_flip = jax.random.split(of_crop)
    x = random_crop(of_place, x, fill=fill)
    return jnp.where(views.mirror & jax.random.bernoulli(of_flip), flip(x), x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _view(views: Views, space: ImageSpace, key: jax.Array, raw: jax.Array) -> jax.Array:
    """Returns raw images ``(n, H, W, C)`` after all changes, in the same units."""
    of_change, of_mix = jax.random.split(key)
    if views.level != "none":
        middle = sum(space.mean) / len(space.mean) if space.mean else (space.low + space.high) / 2
        change = functools.partial(_change, views, float(round(space.to_levels(middle))))
        each = jax.random.split(of_change, len(raw)), space.to_levels(raw)
        # `vmap` computes every operation of the policy for every image. `map` computes the drawn
        # ones alone: on CPUs that takes a third of the time, and the bits are the same.
        if views.level != "crop" and jax.default_backend() == "cpu":
            changed = jax.lax.map(lambda one: change(*one), each)
        else:
            changed = jax.vmap(change)(*each)
        raw = space.from_levels(changed)
    if views.mix != "none":
        mix = mixup if views.mix == "mixup" else cutmix
        raw, _ = mix(of_mix, raw, alpha=views.alpha, per_example=views.per_example)
    return raw


class ViewedBatches:
    """Batches of raw images: `x` holds them preprocessed, `x_teacher` raw.

    Args:
        raw: ``raw(index)`` returns images in the teacher's units, float32 ``(n, H, W, C)``.
        epochs: ``epochs(step)`` returns the indices of a step.
        space: the images that the teacher takes.
        preprocessor: makes the student's inputs.
        views: how images are changed.
        seed: seed of the changes.
        count: number of views of each image, changed independently; all first views come before
            all second ones.
    """

    def __init__(
        self,
        raw: Callable[[np.ndarray], np.ndarray],
        epochs: Callable[[int], np.ndarray],
        *,
        space: ImageSpace,
        preprocessor: Preprocessor,
        views: Views,
        seed: int,
        count: int = 1,
    ):
        if views.level in LEVELS[2:] and space.shape[-1] not in (1, 3, 4):
            raise UsageError(
                f"augmentation {views.level} takes images of 1, 3 or 4 channels; got "
                f"{space.shape[-1]}: take none or crop."
            )
        self._raw, self._space, self._preprocessor = raw, space, preprocessor
        self._views, self._epochs, self._count = views, epochs, count
        self._key = jax.random.fold_in(jax.random.key(seed), 4)
        self._on_device = device_preprocessing(preprocessor)

    def __call__(self, step: int) -> Batch:
        """Returns the batch of a step; steps count from 0."""
        index = self._epochs(step)
        raw = jnp.asarray(self._raw(index))
        raw = jnp.concatenate([raw] * self._count) if self._count > 1 else raw
        if self._views.changes:
            raw = _view(self._views, self._space, jax.random.fold_in(self._key, step), raw)
        return Batch(self._preprocess(raw), index=index, x_teacher=raw)

    def _preprocess(self, raw: jax.Array) -> jax.Array:
        if self._on_device is None:
            return jnp.asarray(self._preprocessor.apply(np.asarray(raw)))
        constants, function = self._on_device
        return _apply(function, constants, raw)


_apply = jax.jit(lambda function, constants, raw: function(constants, raw), static_argnums=0)


def labelled(seen: Callable[[int], Batch], labels: np.ndarray) -> Callable[[int], Batch]:
    """Returns batches with the labels of their images.

    Args:
        seen: ``seen(step)`` returns batches with an `index`.
        labels: labels ``(n, classes)`` of all images.
    """

    def batches(step: int) -> Batch:
        batch = seen(step)
        return batch._replace(y=labels[batch.index])

    return batches
