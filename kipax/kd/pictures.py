"""Draws a distillation: images that the student saw, and the teacher's confidence."""

from __future__ import annotations

import numpy as np

from kipax import files, plots
from kipax.kd.stored import StoredImages
from kipax.networks import TrainedNetwork
from kipax.report import Reporter
from kipax.runs import RunFolder

__all__ = ["draw_seen"]

_SHOWN = 24


def draw_seen(
    folder: RunFolder,
    images: StoredImages,
    shown: np.ndarray,
    answers: np.ndarray,
    student: TrainedNetwork,
    reporter: Reporter,
) -> None:
    """Writes ``seen.png`` and ``confidence.png``; tells the reporter if it cannot.

    ``seen.png``: images of the source, each with the teacher's five most likely classes (Asano &
    Saeed 2023, figures 8 and 9). ``confidence.png``: histograms of the largest probability given
    by teacher and student (figure 3).

    Args:
        folder: of the run.
        images: of the source.
        shown: numbers of those that the teacher was asked about.
        answers: its logits of these.
        student: says of them what it says.
        reporter: hears what is missing.
    """
    raw = images.raw(shown)
    x = student.preprocessor.apply(raw)
    says = {
        "teacher": _softmax(answers),
        "student": _softmax(np.asarray(student.outputs(x).logits)),
    }
    low, high = student.pixels.low, student.pixels.high
    levels = np.clip((raw - low) * (255.0 / (high - low)), 0, 255)
    try:
        few = np.linspace(0, len(raw) - 1, min(_SHOWN, len(raw))).astype(int)
        pictures = {
            "seen.png": plots.draw_guesses(
                np.rint(levels[few]).astype(np.uint8), says["teacher"][few], student.class_names
            ),
            "confidence.png": plots.draw_histograms(
                {name: p.max(axis=1) for name, p in says.items()}, "largest probability"
            ),
        }
        for name, figure in pictures.items():
            files.write_bytes(folder.path / name, plots.to_png(figure))
    except (ImportError, ValueError, TypeError) as error:  # two channels are no picture
        reporter.say(f"not all pictures are there: {error}")


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
