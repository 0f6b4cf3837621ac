"""Makes empty figures, and turns drawn figures into files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kipax import files
from kipax.data.resize import import_pillow
from kipax.errors import UsageError
from kipax.report import Reporter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_film", "new_figure", "to_gif", "to_png", "write_pictures"]

_MISSING = "figures need matplotlib: pip install 'kipax[plots]'"


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure; width and height are in inches.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file's bytes, without a date inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def check_film() -> None:
    """Checks that matplotlib and Pillow, which `to_gif` needs, are installed.

    Raises:
        ImportError: one is missing; the message says what to install.
    """
    new_figure(1, 1)
    import_pillow()


def to_gif(figures: Iterable[Figure], *, seconds: float = 0.8, last: float = 2.5) -> bytes:
    """Returns an animated GIF, as bytes, whose frames are the given figures; it repeats for ever.

    Args:
        figures: the frames in order, all of one size. Each is drawn before the next is asked for,
            and only its pixels are kept.
        seconds: how long a frame is shown.
        last: how long the last one is shown.

    Raises:
        ImportError: Pillow is missing.
        UsageError: there is no frame.
    """
    image = import_pillow().Image
    frames = [image.open(io.BytesIO(to_png(figure))).convert("RGB") for figure in figures]
    if not frames:
        raise UsageError("a film needs at least one frame; got none.")
    durations = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * last)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return buffer.getvalue()


def write_pictures(
    folder: Path, pictures: Mapping[str, Callable[[], Figure]], reporter: Reporter
) -> list[str]:
    """Draws pictures and writes them to a folder; no file is ever half written.

    Args:
        folder: an existing folder.
        pictures: functions that draw, by the name of the file, ``*.png``.
        reporter: is told if matplotlib is missing; the numbers are worth having without it.

    Returns:
        The names of the written files.
    """
    try:
        for name, draw in pictures.items():
            files.write_bytes(folder / name, to_png(draw()))
    except ImportError as error:
        reporter.say(f"the pictures are missing: {error}")
        return []
    return list(pictures)
