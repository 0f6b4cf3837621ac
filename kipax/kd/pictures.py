"""Draws a distillation: images that the student saw, and the teacher's confidence."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from kipax import files, plots
from kipax.kd.sources.base import ImageSpace
from kipax.kd.stored import StoredImages, whole_levels
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
    space: ImageSpace,
    reporter: Reporter,
) -> None:
    """Writes ``seen.png`` and ``confidence.png``; tells the reporter if it cannot.

    ``seen.png``: images of the source, each with the teacher's five most likely classes (Asano &
    Saeed 2023, figures 8 and 9). ``confidence.png``: histograms of the largest probability given
    by teacher and student (figure 3).

    Args:
        folder: folder of the run.
        images: the images of the source.
        shown: numbers of the images that the teacher was asked about.
        answers: the teacher's logits of these.
        student: the trained student.
        space: the images that the teacher takes.
        reporter: is told which pictures are missing.
    """
    raw = images.raw(shown)
    outputs = student.outputs(student.preprocessor.apply(raw))
    says = {
        "teacher": softmax(answers, axis=1),
        "student": softmax(np.asarray(outputs.logits), axis=1),
    }
    try:
        few = np.linspace(0, len(raw) - 1, min(_SHOWN, len(raw))).astype(int)
        pictures = {
            "seen.png": plots.draw_guesses(
                whole_levels(raw[few], space), says["teacher"][few], student.class_names
            ),
            "confidence.png": plots.draw_histograms(
                {name: p.max(axis=1) for name, p in says.items()}, "largest probability"
            ),
        }
        for name, figure in pictures.items():
            files.write_bytes(folder.path / name, plots.to_png(figure))
    except (ImportError, ValueError, TypeError) as error:  # two channels are no picture
        reporter.say(f"not all pictures are there: {error}")
