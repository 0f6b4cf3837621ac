"""Shows a support set: as a sentence, as images in 0..255, as a figure, as HTML."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

import numpy as np

from kipax import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kipax.support import SupportSet

__all__ = ["describe", "draw", "to_html", "to_uint8"]


def describe(support: SupportSet) -> str:
    """Describes a set and its accuracy in one sentence."""
    m = support.metadata
    height, width, channels = support.images.shape[1:]
    labels = "learned labels" if m.get("learned_labels") else "fixed labels"
    sentence = (
        f"{len(support)} images of {height}×{width}×{channels} ({len(support.class_names)} "
        f"classes) from {m['dataset']} by {m['method']} with the "
        f"{support.architecture.describe(support.kernel)}, {support.preprocessor.name} "
        f"preprocessing, {labels}"
    )
    if m.get("step") is not None:
        sentence += f", step {m['step']}"
    accuracy = m.get("test_accuracy")
    if accuracy is not None:
        sentence += f"; test accuracy {accuracy:.3f} ({m['protocol']})"
    return sentence + "."


def to_uint8(support: SupportSet) -> np.ndarray:
    """Undoes the preprocessing and stretches the training range to 0..255: ``(n, H, W, C)``."""
    if support.pictures is not None:
        return support.pictures.copy()
    raw = support.preprocessor.invert(support.images, support.statistics)
    low, high = support.preprocessor.low, support.preprocessor.high
    scaled = (raw - low) * (255.0 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def draw(support: SupportSet) -> Figure:
    """Draws the images, one row a class by largest label.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    classes = np.argmax(support.labels, axis=1)
    return plots.draw_images({"": to_uint8(support)}, classes, support.class_names)


def to_html(support: SupportSet) -> str:
    """Makes the HTML for a notebook: the sentence and, with matplotlib, the images."""
    sentence = f"<p>{html.escape(describe(support))}</p>"
    try:
        png = base64.b64encode(plots.to_png(draw(support))).decode()
    except ImportError:
        return sentence
    return f'{sentence}<img src="data:image/png;base64,{png}">'
