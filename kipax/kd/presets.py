"""Optimisers and schedules by name, and presets of distillations with their sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kipax.kd.embedding_presets import EMBEDDING_PRESETS
from kipax.probes.linear import tenths
from kipax.training import Descent

__all__ = ["OPTIMIZERS", "PRESETS", "SCHEDULES", "make_descent", "with_slow_backbone"]

OPTIMIZERS = ("adam", "momentum", "nesterov", "lars")
SCHEDULES = ("constant", "cosine", "steps", "late_steps", "warmup", "tenths", "early_tenths")


@functools.cache
def _direction(optimizer: str, weight_decay: float) -> optax.GradientTransformation:
    """Returns one object for equal arguments, so that it is compiled once."""
    decay = optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity()
    if optimizer == "adam":  # decay apart from the moments: AdamW
        return optax.chain(optax.scale_by_adam(), decay)
    if optimizer == "lars":
        scaled = optax.chain(decay, optax.scale_by_trust_ratio(trust_coefficient=0.001))
        return optax.chain(optax.masked(scaled, _kernels), optax.trace(decay=0.9))
    return optax.chain(decay, optax.trace(decay=0.9, nesterov=optimizer == "nesterov"))


def _kernels(params: Any) -> Any:
    """Marks the parameters that LARS scales: all but biases and those of a normalisation."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def make_descent(optimizer: str, schedule: str, *, steps: int, weight_decay: float) -> Descent:
    """Makes optimiser and schedule from their names.

    Args:
        optimizer: ``adam`` (with weight decay: AdamW), ``momentum`` or ``nesterov`` (0.9), or
            ``lars`` (momentum 0.9, trust coefficient 0.001, You et al. 2017, arXiv:1708.03888;
            biases and normalisations are neither scaled nor decayed).
        schedule: ``constant``, ``cosine`` to 0, ``steps``: a fifth after 30, 60 and 80 % of the
            steps, ``late_steps``: a fifth after 90/130 and 120/130, ``tenths``: a tenth after
            15/40 and 30/40, ``early_tenths``: a tenth after 40 and 80 %, or ``warmup``: linear
            from 0 over a hundredth, then cosine to 0.
        steps: number of updates.
        weight_decay: factor of the weights that are added to the gradient (adam: to the update).
    """

    def fifths(*shares: float) -> optax.Schedule:
        return optax.piecewise_constant_schedule(1.0, {round(s * steps): 0.2 for s in shares})

    schedules: dict[str, optax.Schedule] = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, steps),
        "steps": fifths(0.3, 0.6, 0.8),
        "late_steps": fifths(90 / 130, 120 / 130),
        "early_tenths": optax.piecewise_constant_schedule(
            1.0, {round(0.4 * steps): 0.1, round(0.8 * steps): 0.1}
        ),
        "warmup": optax.warmup_cosine_decay_schedule(0.0, 1.0, steps // 100, steps),
        "tenths": tenths(steps),
    }
    return Descent(_direction(optimizer, weight_decay), schedules[schedule], steps)


@functools.cache
def with_slow_backbone(
    direction: optax.GradientTransformation, head: tuple[str, ...], share: float
) -> optax.GradientTransformation:
    """Returns a direction that scales down the updates of all layers but a network's head.

    Equal arguments give the same object, so that it is compiled once.

    Args:
        direction: the direction of the head.
        head: keys of the head in the parameters; see `kipax.students.classifier_path`.
        share: the rate of all other parameters as a share of the head's.
    """

    def backbone(tree: Any) -> Any:
        def outside(path: tuple[Any, ...], _: Any) -> bool:
            keys = tuple(entry.key for entry in path)
            return keys[: len(head) + 1] != ("params", *head)

        return jax.tree_util.tree_map_with_path(outside, tree)

    return optax.chain(direction, optax.masked(optax.scale(share), backbone))


def small() -> dict[str, Any]:
    """Returns our own preset for two cores.

    6,000 images, 1,200 steps of 128, Adam 2e-3, KL at temperature 8, CutMix.
    """
    return {
        "images": 6000,
        "steps": 1200,
        "batch_size": 128,
        "learning_rate": 2e-3,
        "optimizer": "adam",
        "schedule": "cosine",
        "weight_decay": 0.0,
        "loss": "kl",
        "temperature": 8.0,
        "scale": 64.0,
        "augmentation": "none",
        "mix": "cutmix",
        "mix_alpha": 1.0,
        "mix_per_example": True,
        "cached": False,
    }


def bridge() -> dict[str, Any]:
    """Returns our own preset for a distilled set as the teacher.

    20,000 images, about each of which the teacher is asked once; square distance.

    1,500 steps of 128, Adam 2e-3 with cosine; no augmentation and no mixing, so that the kernel
    is computed once. The square distance of ten times the scores did best in a first trial.
    """
    return small() | {
        "images": 20_000,
        "steps": 1500,
        "loss": "l2",
        "temperature": 1.0,
        "scale": 1.0,
        "mix": "none",
        "cached": True,
    }


def single_image() -> dict[str, Any]:
    """Returns the preset of Asano & Saeed 2023, arXiv:2112.00725, small-scale distillation.

    50,000 patches; Adam 1e-3, constant; 1,000 epochs in batches of 512: 97,657 steps; KL at
    temperature 8 without tau^2; flips, crops padded by an eighth, CutMix Beta(0.25, 0.25), one
    share for a batch. Sources: the paper and the authors' code.
    """
    return {
        "images": 50_000,
        "steps": 97_657,
        "batch_size": 512,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "schedule": "constant",
        "weight_decay": 0.0,
        "loss": "kl",
        "temperature": 8.0,
        "scale": 1.0,
        "augmentation": "crop",
        "mix": "cutmix",
        "mix_alpha": 0.25,
        "mix_per_example": False,
        "cached": False,
    }


def surrogate() -> dict[str, Any]:
    """Returns the preset of Frank & Davis 2025 for general data.

    KL at temperature tau = 2, times tau^2 (their code); MixUp with a share for each image.

    50,000 images; SGD 0.1, momentum 0.9, weight decay 1e-4, cosine; 400 epochs in batches of 256:
    78,125 steps; RandAugment(2, 14), flips and crops. The paper takes tau 20 for synthetic and for
    fine-grained data: ``--temperature=20 --scale=400``.
    """
    return {
        "images": 50_000,
        "steps": 78_125,
        "batch_size": 256,
        "learning_rate": 0.1,
        "optimizer": "momentum",
        "schedule": "cosine",
        "weight_decay": 1e-4,
        "loss": "kl",
        "temperature": 2.0,
        "scale": 4.0,
        "augmentation": "standard",
        "mix": "mixup",
        "mix_alpha": 1.0,
        "mix_per_example": True,
        "cached": False,
    }


def _complete(preset: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return {"student": "convnet1", "anchor_mode": "2q", "averaging": 0.999} | preset()


_KD_PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    "small": small,
    "bridge": bridge,
    "single_image": single_image,
    "surrogate": surrogate,
    **EMBEDDING_PRESETS,
}
# Every preset names a student, and says how anchors are compared if the user's loss has them.
PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    name: functools.partial(_complete, preset) for name, preset in _KD_PRESETS.items()
}
