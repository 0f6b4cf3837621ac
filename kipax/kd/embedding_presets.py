"""Constants of distillations by embeddings: Farhat & Chen 2023 (DAPT), CompRess, baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["EMBEDDING_PRESETS"]


def dapt() -> dict[str, Any]:
    """Returns the preset of DAPT (Farhat & Chen 2023): labels, embeddings and logits.

    Cross-entropy, alignment and uniformity, and KL at temperature 4 times 16, each of weight 1;
    AdamW 1e-3, weight decay 0.01, constant; 250 epochs in batches of 64; crops and flips.
    Temperature and tau^2 are those of the authors' code.
    """
    return {
        "images": 50_000,
        "epochs": 250,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "schedule": "constant",
        "weight_decay": 0.01,
        "loss": "ce+align_uniform+kl",
        "temperature": 4.0,
        "scale": 16.0,
        "augmentation": "crop",
        "mix": "none",
        "mix_alpha": 1.0,
        "mix_per_example": False,
        "cached": False,
    }


def scratch() -> dict[str, Any]:
    """Returns `dapt` without the teacher: cross-entropy alone, DAPT's "S-FR"."""
    return dapt() | {"loss": "ce"}


def hinton() -> dict[str, Any]:
    """Returns `dapt` without embeddings: labels and logits, as Hinton et al. 2015; its "KD"."""
    return dapt() | {"loss": "ce+kl"}


def crd() -> dict[str, Any]:
    """Returns `dapt` with CRD in the place of alignment and uniformity; its "CRD++"."""
    return dapt() | {"loss": "ce+crd+kl"}


def srrl() -> dict[str, Any]:
    """Returns `dapt` with SRRL in the place of embeddings and logits; its "SRRL"."""
    return dapt() | {"loss": "ce+srrl"}


def compress() -> dict[str, Any]:
    """Returns the preset of CompRess (Koohpayegani et al. 2020, arXiv:2010.14713), ``2q``.

    No labels: a ranking of at most 128,000 anchors at temperature 0.04, momentum 0.999; SGD 0.01,
    momentum 0.9, weight decay 1e-4, a fifth of the rate after 90 and 120 of 130 epochs in batches
    of 256; crops and flips (the paper's are crops of a random size). Of fewer images the queue
    holds half. The student is ours: a small network with global pooling, as all of the paper's.
    """
    return {
        "student": "wrn10-1",
        "images": 50_000,
        "epochs": 130,
        "batch_size": 256,
        "learning_rate": 0.01,
        "optimizer": "momentum",
        "schedule": "late_steps",
        "weight_decay": 1e-4,
        "loss": "anchors",
        "temperature": 4.0,
        "scale": 16.0,
        "augmentation": "crop",
        "mix": "none",
        "mix_alpha": 1.0,
        "mix_per_example": False,
        "cached": False,
        "anchor_mode": "2q",
        "averaging": 0.999,
    }


def compress_1q() -> dict[str, Any]:
    """Returns `compress` with one queue, the teacher's, and a linear map for the student."""
    return compress() | {"anchor_mode": "1q"}


def clusters() -> dict[str, Any]:
    """Returns CompRess's baseline "CC": clusters of the teacher's embeddings as classes.

    SGD 0.1, Nesterov, cosine, 100 epochs; the teacher is asked about images as they are.
    """
    return compress() | {
        "epochs": 100,
        "learning_rate": 0.1,
        "optimizer": "nesterov",
        "schedule": "cosine",
        "loss": "clusters",
        "cached": True,
    }


def regression() -> dict[str, Any]:
    """Returns CompRess's baseline "Reg": the embedding by a linear map.

    Adam 1e-3, a tenth after 40 and 80 of 100 epochs; the weight decay 1e-4 is AdamW's here, which
    the authors' optimiser adds to the gradient.
    """
    return compress() | {
        "epochs": 100,
        "schedule": "early_tenths",
        "loss": "regression",
        "optimizer": "adam",
        "learning_rate": 1e-3,
    }


def regression_bn() -> dict[str, Any]:
    """Returns CompRess's baseline "Reg-BN": standardised embeddings; as `regression`, SGD 0.1."""
    more = {"loss": "regression_bn", "optimizer": "momentum", "learning_rate": 0.1}
    return regression() | more


EMBEDDING_PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    "dapt": dapt,
    "scratch": scratch,
    "hinton": hinton,
    "crd": crd,
    "srrl": srrl,
    "compress": compress,
    "compress_1q": compress_1q,
    "clusters": clusters,
    "regression": regression,
    "regression_bn": regression_bn,
}
