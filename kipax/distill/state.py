"""`DistillState`: what a KIP run carries from step to step, and its first value."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax import ridge
from kipax.data import Dataset, Preprocessor, balanced_batch, step_key
from kipax.data.sampling import Purpose, check_support_size
from kipax.distill.config import RunConfig

__all__ = ["DistillState", "initial_images", "make_optimizer", "make_state"]


@dataclasses.dataclass(frozen=True, eq=False)
class DistillState:
    """The state of a KIP run before a step.

    Attributes:
        step: number of updates so far.
        images: support images, float32 ``(s, H, W, C)``, in the preprocessed space.
        labels: support labels, float32 ``(s, classes)``.
        opt_state: the state of the optax optimiser.
        log_temperature: logarithm of the temperature of the loss, float32; None for losses
            without one.
    """

    step: int
    images: jax.Array
    labels: jax.Array
    opt_state: optax.OptState
    log_temperature: jax.Array | None = None

    @property
    def parameters(self) -> tuple[jax.Array, ...]:
        """The arrays that the optimiser updates: images, labels, and a loss's `log_temperature`."""
        return self.images, self.labels, *self._logarithm

    @property
    def temperature(self) -> float | None:
        """The temperature of the loss; None for losses without one."""
        return None if self.log_temperature is None else float(np.exp(self.log_temperature))

    @property
    def _logarithm(self) -> tuple[jax.Array, ...]:
        return () if self.log_temperature is None else (self.log_temperature,)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the state as plain arrays for a file; `restore` reads them."""
        leaves = jax.tree.leaves(self.opt_state)
        arrays = {f"opt_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        if self.log_temperature is not None:
            arrays["log_temperature"] = np.asarray(self.log_temperature)
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        return arrays | {"images": images, "labels": labels, "step": np.asarray(self.step)}

    def restore(self, arrays: dict[str, np.ndarray]) -> DistillState:
        """Returns the state that `to_arrays` wrote; `self` gives the structure of the optimiser."""
        leaves, structure = jax.tree.flatten(self.opt_state)
        stored = [jnp.asarray(arrays[f"opt_{i}"]) for i in range(len(leaves))]
        return DistillState(
            int(arrays["step"]),
            jnp.asarray(arrays["images"]),
            jnp.asarray(arrays["labels"]),
            jax.tree.unflatten(structure, stored),
            *(jnp.asarray(arrays["log_temperature"]) for _ in self._logarithm),
        )


def make_optimizer(
    learning_rate: float,
    *,
    label_rate: float | None = None,
    temperature_rate: float | None = None,
    final: float | None = None,
    steps: int = 1,
) -> optax.GradientTransformation:
    """Returns Adam for `DistillState.parameters`, with optax's defaults as in the paper.

    Args:
        learning_rate: the rate of every step; that of the first step where `final` is given.
        label_rate: the rate of the labels in place of `learning_rate` (not in the paper); where
            `final` is given all rates go down by the same factor.
        temperature_rate: the rate of the temperature's logarithm; None if there is none.
        final: the last rate, which is reached along half a cosine (not in the paper).
        steps: number of steps of the whole run.

    Source: Nguyen et al. 2021, appendix A.
    """
    if final is None:
        adam = optax.adam(learning_rate)
    else:
        schedule = optax.cosine_decay_schedule(learning_rate, max(steps, 1), final / learning_rate)
        adam = optax.adam(schedule)
    if label_rate is None and temperature_rate is None:
        return adam
    # Adam's update is proportional to the rate, so that scaling it gives each part its own rate.
    rates = [learning_rate, learning_rate if label_rate is None else label_rate]
    rates += [] if temperature_rate is None else [temperature_rate]
    ratios = [rate / learning_rate for rate in rates]
    return optax.chain(
        adam, optax.stateless(lambda u, _: tuple(r * x for r, x in zip(ratios, u, strict=True)))
    )


def initial_images(
    config: RunConfig, dataset: Dataset, preprocessor: Preprocessor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns class-balanced first images, sorted by class, their statistics and their classes.

    The images are preprocessed float32: real training images, or, with ``init="noise"``, uniform
    noise between the smallest and largest preprocessed pixel, which is drawn as a picture with the
    statistics of the real images it replaces.

    Raises:
        UsageError: `support` is not a multiple of the classes, or a class has too few images.
    """
    check_support_size(config.support, dataset.y_train)
    key = step_key(config.seed, Purpose.INIT)
    chosen = balanced_batch(key, dataset.y_train, config.support)
    chosen = chosen[np.argsort(dataset.y_train[chosen], kind="stable")]
    raw = dataset.x_train[chosen]
    images, statistics = preprocessor.apply(raw), preprocessor.statistics(raw)
    if getattr(config, "init", "real") == "noise":
        sample = preprocessor.apply(dataset.x_train[:10_000])
        noise_key = jax.random.fold_in(key, 1)
        images = np.asarray(
            jax.random.uniform(
                noise_key, images.shape, minval=float(sample.min()), maxval=float(sample.max())
            )
        )
    return images, statistics, dataset.y_train[chosen]


def make_state(
    images: np.ndarray,
    classes: np.ndarray,
    num_classes: int,
    optimizer: optax.GradientTransformation,
    *,
    temperature: float | None = None,
) -> DistillState:
    """Returns the state at step 0: `images`, centred one-hot labels, a new optimiser state."""
    x = jnp.asarray(images, jnp.float32)
    y = jnp.asarray(ridge.one_hot(classes, num_classes), jnp.float32)
    logarithm = None if temperature is None else jnp.asarray(np.log(temperature), jnp.float32)
    first = DistillState(0, x, y, (), logarithm)
    return dataclasses.replace(first, opt_state=optimizer.init(first.parameters))
