"""Constants of the trainings of teachers; each preset names its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kipax.probes.linear import LINEAR_RULE

__all__ = ["TEACHER_PRESETS"]


def small_teacher() -> dict[str, Any]:
    """Returns our own preset for two cores: Adam 2e-3, cosine, 1,500 steps of 128, crops."""
    return {
        "steps": 1500,
        "batch_size": 128,
        "learning_rate": 2e-3,
        "optimizer": "adam",
        "schedule": "cosine",
        "weight_decay": 1e-4,
        "augmentation": "crop",
    }


def single_image_teacher() -> dict[str, Any]:
    """Returns the preset of the WideResNet teachers of Asano & Saeed 2023.

    Source: arXiv:2112.00725, appendix C.4.2.

    SGD with Nesterov momentum 0.9, learning rate 0.1, a fifth after 30, 60 and 80 % of 80,000
    steps of 128 images, weight decay 5e-4, flips and crops (their cutout is left out).
    """
    return {
        "steps": 80_000,
        "batch_size": 128,
        "learning_rate": 0.1,
        "optimizer": "nesterov",
        "schedule": "steps",
        "weight_decay": 5e-4,
        "augmentation": "crop",
    }


def surrogate_teacher() -> dict[str, Any]:
    """Returns the preset of the teachers of Frank & Davis 2025.

    SGD 0.1, momentum 0.9, weight decay 1e-4, cosine.

    400 epochs of 50,000 images in batches of 256: 78,125 steps; RandAugment(2, 14), flips, crops.
    """
    return {
        "steps": 78_125,
        "batch_size": 256,
        "learning_rate": 0.1,
        "optimizer": "momentum",
        "schedule": "cosine",
        "weight_decay": 1e-4,
        "augmentation": "standard",
    }


def small_simclr_teacher() -> dict[str, Any]:
    """Returns our own preset of SimCLR for two cores.

    NT-Xent at temperature 0.5; Adam 2e-3, cosine, 500 steps of 128 images in two views.
    """
    return small_teacher() | {
        "steps": 500,
        "augmentation": "contrastive",
        "temperature": 0.5,
        "projector": "simclr",
    }


def simclr_teacher() -> dict[str, Any]:
    """Returns the preset of Chen et al. 2020, arXiv:2002.05709, for CIFAR-10.

    Source: the command for CIFAR-10 in the authors' README, and their code's linear scaling of the
    rate and warm-up.

    LARS 1.0 times 512 / 256, 10 of 1,000 epochs of 50,000 images of warm-up, then cosine, batches
    of 512: 97,657 steps; weight decay 1e-6, temperature 0.5. They train a ResNet-18.
    """
    return {
        "steps": 97_657,
        "batch_size": 512,
        "learning_rate": 2.0,
        "optimizer": "lars",
        "schedule": "warmup",
        "weight_decay": 1e-6,
        "augmentation": "contrastive",
        "temperature": 0.5,
        "projector": "simclr",
    }


def small_moco_teacher() -> dict[str, Any]:
    """Returns our own preset of MoCo v2 for two cores.

    Temperature 0.1, 512 keys, momentum 0.99; Adam 2e-3, cosine, 500 steps of 128
    images in two views.
    """
    return small_teacher() | {
        "steps": 500,
        "augmentation": "contrastive",
        "temperature": 0.1,
        "queue": 512,
        "averaging": 0.99,
        "projector": "mocov2",
    }


def moco_teacher() -> dict[str, Any]:
    """Returns the preset of MoCo's authors for CIFAR-10, with the projector of MoCo v2.

    Source: the notebook for CIFAR-10 that belongs to their code. Its projector is one linear layer,
    and its network normalises eight parts of a batch by themselves, unlike here.

    SGD 0.06, momentum 0.9, weight decay 5e-4, cosine; 200 epochs of 50,000 images in batches of
    512: 19,532 steps; temperature 0.1, 4,096 keys, momentum of the copy 0.99.
    """
    return {
        "steps": 19_532,
        "batch_size": 512,
        "learning_rate": 0.06,
        "optimizer": "momentum",
        "schedule": "cosine",
        "weight_decay": 5e-4,
        "augmentation": "contrastive",
        "temperature": 0.1,
        "queue": 4096,
        "averaging": 0.99,
        "projector": "mocov2",
    }


def linear_probe_teacher() -> dict[str, Any]:
    """Returns the rule of `kipax.probes.linear_probe`, which takes 40 epochs.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, and the authors' code.
    """
    return {
        "batch_size": LINEAR_RULE.batch_size,
        "learning_rate": LINEAR_RULE.learning_rate,
        "optimizer": "momentum",
        "schedule": "tenths",
        "weight_decay": LINEAR_RULE.weight_decay,
        "augmentation": "none",
    }


def fine_tune_teacher() -> dict[str, Any]:
    """Returns our own preset of fine-tuning: half as long as `small_teacher`.

    Adam 1e-3 for the head and a tenth of it for the backbone, the rates of Farhat & Chen 2023.
    """
    return small_teacher() | {"steps": 750, "learning_rate": 1e-3, "backbone_rate": 0.1}


TEACHER_PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    "small": small_teacher,
    "single_image": single_image_teacher,
    "surrogate": surrogate_teacher,
    "small_simclr": small_simclr_teacher,
    "simclr": simclr_teacher,
    "small_moco": small_moco_teacher,
    "moco": moco_teacher,
    "linear_probe": linear_probe_teacher,
    "fine_tune": fine_tune_teacher,
}
