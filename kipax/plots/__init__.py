"""Draws results as figures; computes nothing. Needs matplotlib, the extra ``plots``.

Figures are plain `matplotlib.figure.Figure` objects: no pyplot, no global state.
"""

from kipax.plots.figures import check_film, to_gif, to_png, write_pictures
from kipax.plots.images import (
    draw_guesses,
    draw_images,
    draw_labelled_images,
    draw_labels,
    draw_sheet,
    draw_sheets_and_bars,
)
from kipax.plots.lines import (
    Plane,
    draw_bars,
    draw_curve,
    draw_histograms,
    draw_lines,
    draw_pairs,
    draw_planes,
    draw_scaling,
)

__all__ = [
    "Plane",
    "check_film",
    "draw_bars",
    "draw_curve",
    "draw_guesses",
    "draw_histograms",
    "draw_images",
    "draw_labelled_images",
    "draw_labels",
    "draw_lines",
    "draw_pairs",
    "draw_planes",
    "draw_scaling",
    "draw_sheet",
    "draw_sheets_and_bars",
    "to_gif",
    "to_png",
    "write_pictures",
]
