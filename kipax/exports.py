"""Exports distilled images for other tools: arrays, torch tensors, PNG files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.data.resize import import_pillow
from kipax.errors import FileError, UsageError, check_choice

__all__ = ["LAYOUTS", "to_arrays", "to_torch", "write_folder"]

LAYOUTS = ("NHWC", "NCHW")
_LONGEST_NAME = 100  # most letters of a folder's name


def to_arrays(images: np.ndarray, labels: np.ndarray, layout: str) -> dict[str, np.ndarray]:
    """Returns the images in the given layout, with hard and soft labels.

    Args:
        images: ``(n, H, W, C)``.
        labels: ``(n, classes)``.
        layout: ``NHWC`` or ``NCHW``.

    Returns:
        Copies: ``images``; ``labels``, the class of the largest entry, int64 ``(n,)``, which may
        miss a class where labels were learned; ``soft_labels``, the labels themselves.

    Raises:
        UsageError: another layout.
    """
    check_choice("layout", layout, LAYOUTS)
    order = (0, 3, 1, 2) if layout == "NCHW" else (0, 1, 2, 3)
    return {
        "images": images.transpose(order).copy(),
        "labels": np.argmax(labels, axis=1),
        "soft_labels": labels.copy(),
    }


def to_torch(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns `to_arrays` in the layout NCHW, as torch tensors that own their memory.

    Raises:
        ImportError: torch is not installed.
    """
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError("tensors need torch: pip install torch") from error
    return {k: torch.tensor(v) for k, v in to_arrays(images, labels, "NCHW").items()}


def write_folder(
    folder: Path | str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Writes one PNG per image, in one folder per class, and ``labels.csv`` with the soft labels.

    Args:
        folder: made if missing; must be empty, so that no image of another set stays in it.
        images: uint8 ``(n, H, W, 1 or 3)``.
        labels: ``(n, classes)``; an image lies in the folder of its largest label.
        class_names: names of the classes; characters that are not allowed in paths become ``_``.

    Raises:
        ImportError: Pillow is missing; the message says how to install it.
        UsageError: the images have neither 1 nor 3 channels.
        FileError: the folder is not empty, or could not be written.
    """
    if images.shape[-1] not in (1, 3):
        raise UsageError(f"pictures have 1 channel or 3; these images have {images.shape[-1]}.")
    make = import_pillow().Image.fromarray
    root = files.expand(folder)
    if root.is_dir() and any(root.iterdir()):
        raise FileError(f"pictures go to a folder of their own; {root} holds files: name another.")
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:_LONGEST_NAME] for name in class_names]
    safe = [f"{i:03d}_{name}" for i, name in enumerate(plain)]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file", "class", *class_names])
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        hard = int(np.argmax(label))
        file = root / safe[hard] / f"{i:05d}.png"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"could not make {file.parent}: {error.strerror or error}.") from error
        png = io.BytesIO()
        make(image[..., 0] if image.shape[-1] == 1 else image).save(png, "png")
        files.write_bytes(file, png.getvalue())
        name = file.relative_to(root).as_posix()
        writer.writerow([name, class_names[hard], *(f"{value:.6g}" for value in label)])
    files.write_bytes(root / "labels.csv", table.getvalue().encode())
