"""Draws a distillation: images that the student saw, and the teacher's confidence."""

from __future__ import annotations

import numpy as np

from kipax import files, plots
from kipax.kd.stored import StoredImages
from kipax.kd.teachers import Teacher
from kipax.networks import TrainedNetwork
from kipax.report import Reporter
from kipax.runs import RunFolder

__all__ = ["draw_seen"]

_SHOWN, _ASKED = 24, 1000


def draw_seen(
    folder: RunFolder,
    images: StoredImages,
    teacher: Teacher,
    student: TrainedNetwork,
    reporter: Reporter,
) -> None:
    """Writes ``seen.png`` and ``confidence.png``; tells the reporter if it cannot.

    ``seen.png``: images of the source, each with the teacher's five most likely classes (Asano &
    Saeed 2023, figures 8 and 9). ``confidence.png``: histograms of the largest probability given
    by teacher and student (figure 3).

    Args:
        folder: folder of the run.
        images: images of the source.
        teacher: the teacher, which classifies them.
        student: the student, which classifies them.
        reporter: is told what is missing.
    """
    some = np.linspace(0, len(images) - 1, min(_ASKED, len(images))).astype(int)
    raw = images.raw(some)
    x = teacher.preprocessor.apply(raw)
    says = {
        "teacher": _softmax(np.asarray(teacher.logits(raw, x))),
        "student": _softmax(np.asarray(student.outputs(x).logits)),
    }
    space = teacher.space
    levels = np.clip((raw - space.low) * (255.0 / (space.high - space.low)), 0, 255)
    try:
        shown = np.linspace(0, len(some) - 1, min(_SHOWN, len(some))).astype(int)
        pictures = {
            "seen.png": plots.draw_guesses(
                np.rint(levels[shown]).astype(np.uint8), says["teacher"][shown], teacher.class_names
            ),
            "confidence.png": plots.draw_histograms(
                {name: p.max(axis=1) for name, p in says.items()}, "largest probability"
            ),
        }
        for name, figure in pictures.items():
            files.write_bytes(folder.path / name, plots.to_png(figure))
    except (ImportError, ValueError) as error:
        reporter.say(f"not all pictures are there: {error}")


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
