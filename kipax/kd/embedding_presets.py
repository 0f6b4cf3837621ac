"""Constants of DAPT (Farhat & Chen 2023), of CompRess, and of the baselines of both papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["EMBEDDING_PRESETS"]


def _common() -> dict[str, Any]:
    """Returns what all presets share: crops and flips, no mixing, a teacher that sees each view."""
    return {
        "images": 50_000,
        "temperature": 4.0,
        "scale": 16.0,
        "augmentation": "crop",
        "mix": "none",
        "mix_alpha": 1.0,
        "mix_per_example": False,
        "cached": False,
    }


def dapt() -> dict[str, Any]:
    """Returns the preset of DAPT (Farhat & Chen 2023): labels, embeddings and logits.

    Cross-entropy, alignment and uniformity, and KL at temperature 4 times 16, each of weight 1;
    AdamW 1e-3, weight decay 0.01, constant; 250 epochs in batches of 64; crops and flips.
    Temperature and tau^2 are those of the authors' code.
    """
    return _common() | {
        "epochs": 250,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "schedule": "constant",
        "weight_decay": 0.01,
        "loss": "ce+align_uniform+kl",
    }


def scratch() -> dict[str, Any]:
    """Returns the preset of DAPT's baseline "S-FR": labels alone, without a teacher."""
    return dapt() | {"loss": "ce"}


def hinton() -> dict[str, Any]:
    """Returns the preset of DAPT's baseline "KD" (Hinton et al. 2015): no embeddings."""
    return dapt() | {"loss": "ce+kl"}


def crd() -> dict[str, Any]:
    """Returns the preset of DAPT's baseline "CRD++": CRD instead of alignment and uniformity."""
    return dapt() | {"loss": "ce+crd+kl"}


def srrl() -> dict[str, Any]:
    """Returns the preset of DAPT's baseline "SRRL": SRRL beside the labels, and no other term."""
    return dapt() | {"loss": "ce+srrl"}


def compress() -> dict[str, Any]:
    """Returns the preset of CompRess (Koohpayegani et al. 2020, arXiv:2010.14713), ``2q``.

    No labels: a ranking of at most 128,000 anchors at temperature 0.04, momentum 0.999; SGD 0.01,
    momentum 0.9, weight decay 1e-4, a fifth of the rate after 90 and 120 of 130 epochs in batches
    of 256; crops and flips (the paper's are crops of a random size). Of fewer images the queue
    holds half. The student is ours: a small network with global pooling, as all of the paper's.
    """
    return _common() | {
        "student": "wrn10-1",
        "epochs": 130,
        "batch_size": 256,
        "learning_rate": 0.01,
        "optimizer": "momentum",
        "schedule": "late_steps",
        "weight_decay": 1e-4,
        "loss": "anchors",
        "anchor_mode": "2q",
        "averaging": 0.999,
    }


def compress_1q() -> dict[str, Any]:
    """Returns the preset of CompRess with the teacher's queue alone, ``1q``; see `compress`."""
    return compress() | {"anchor_mode": "1q"}


def clusters() -> dict[str, Any]:
    """Returns the preset of CompRess's baseline "CC": clusters of the teacher's embeddings.

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
    """Returns the preset of CompRess's baseline "Reg": a linear map predicts the embedding.

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
    """Returns the preset of CompRess's baseline "Reg-BN": `regression` standardised, SGD 0.1."""
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
