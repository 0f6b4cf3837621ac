"""Stores a teacher's answers in little space: in half precision, or the largest logits alone."""

from __future__ import annotations

import numpy as np

from kipax.errors import UsageError
from kipax.students import Outputs

__all__ = ["KEPT", "decode", "encode"]

KEPT = ("full", "half", "top_k")


def encode(outputs: Outputs, kept: str, top_k: int) -> np.ndarray:
    """Packs a teacher's outputs into one array with a row for each image.

    * ``full``: float32, logits and embeddings side by side;
    * ``half``: the same in float16;
    * ``top_k``: uint16, the k largest logits in float16, their classes, embeddings in float16.

    Args:
        outputs: logits ``(n, classes)`` and embeddings ``(n, d)``.
        kept: one of `KEPT`.
        top_k: k.

    Raises:
        UsageError: a number is too large for half precision, or there are more than 65,536 classes.
    """
    logits = np.asarray(outputs.logits, np.float32)
    embeddings = np.asarray(outputs.penultimate, np.float32)
    if kept == "full":
        return np.concatenate([logits, embeddings], axis=1)
    if kept == "half":
        return _half(np.concatenate([logits, embeddings], axis=1))
    if logits.shape[1] > np.iinfo(np.uint16).max + 1:
        raise UsageError(f"answers top_k are of at most 65,536 classes; got {logits.shape[1]:,}.")
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    values = _half(np.take_along_axis(logits, best, axis=1))
    parts = [values.view(np.uint16), best.astype(np.uint16), _half(embeddings).view(np.uint16)]
    return np.concatenate(parts, axis=1)


def decode(rows: np.ndarray, kept: str, top_k: int, classes: int) -> Outputs:
    """Unpacks the rows of `encode` into outputs; logits that were not kept are -inf.

    Args:
        rows: the rows.
        kept: one of `KEPT`.
        top_k: k.
        classes: number of classes.
    """
    if kept != "top_k":
        whole = np.asarray(rows, np.float32)
        return Outputs(whole[:, :classes], whole[:, classes:], {})
    count = min(top_k, classes)
    values, best, embeddings = np.split(rows, [count, 2 * count], axis=1)
    logits = np.full((len(rows), classes), -np.inf, np.float32)
    np.put_along_axis(logits, best.astype(int), _single(values), axis=1)
    return Outputs(logits, _single(embeddings), {})


def _half(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(x, np.float16)
    if not np.all(np.isfinite(half)):
        raise UsageError(
            "answers in half precision are at most 65,504; got "
            f"{np.abs(x).max():.3g}: take --answers=full."
        )
    return half


def _single(bits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bits).view(np.float16).astype(np.float32)
