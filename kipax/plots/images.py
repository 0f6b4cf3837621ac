"""Draws images and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kipax.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_guesses",
    "draw_images",
    "draw_labelled_images",
    "draw_labels",
    "draw_sheet",
    "draw_sheets_and_bars",
]

_NAMED = 20  # more bars than these have no room for the names of their classes


def draw_images(
    panels: Mapping[str, np.ndarray], classes: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Draws image sets side by side, one row per class.

    Args:
        panels: uint8 images ``(n, H, W, C)`` by title, all of one length and order.
        classes: class of each image ``(n,)``.
        class_names: names of the classes.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    rows = [np.flatnonzero(classes == c) for c in range(len(class_names))]
    columns = max(1, max(len(row) for row in rows))
    cell = 0.6 if columns <= 2 else 0.45  # inches per image
    names = 0.3 + 0.07 * max(len(name) for name in class_names)
    width = names + max(0.7, cell * columns + 0.1) * len(panels)
    figure = new_figure(min(width, 60), min(cell * len(rows) + 0.4, 60))
    for position, (title, images) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), position + 1)
        canvas = _canvas(images, rows, columns)
        axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        height = images.shape[1] + 1
        ticks = [i * height + height / 2 for i in range(len(rows))] if position == 0 else []
        axes.set_yticks(ticks, class_names if ticks else [], fontsize=7, parse_math=False)
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(title, fontsize=9)
    return figure


def _canvas(images: np.ndarray, rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Returns one white sheet with a row of images for each class; grey, or RGB for 3 channels."""
    _, height, width, channels = images.shape
    shown = images if channels == 3 else images[..., 0]
    shape = (len(rows) * (height + 1) + 1, columns * (width + 1) + 1)
    canvas = np.full((*shape, 3) if channels == 3 else shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, index in enumerate(row):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            canvas[top : top + height, left : left + width] = shown[index]
    return canvas


def draw_labels(labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draws labels as a heat map: a row per image; blue is for, red against a class.

    Args:
        labels: ``(n, classes)``, centred.
        class_names: names of the classes.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    images, classes = labels.shape
    figure = new_figure(min(1.5 + 0.3 * classes, 60), min(1.2 + max(0.1 * images, 2.4), 60))
    axes = figure.add_subplot()
    largest = float(np.abs(labels).max())
    shown = axes.imshow(
        labels, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(
        range(classes), class_names, fontsize=7, rotation=45, ha="right", parse_math=False
    )
    axes.locator_params(axis="y", nbins=20, integer=True)
    axes.set_ylabel("image", fontsize=8)
    axes.tick_params(labelsize=7)
    figure.colorbar(shown, label="label")
    return figure


def draw_guesses(
    images: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Draws images, each with its five most likely classes.

    Args:
        images: uint8 ``(n, H, W, C)``.
        probabilities: ``(n, classes)``.
        class_names: names of the classes.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(2.1 * columns, 1.0 * rows)
    for place, (image, row) in enumerate(zip(images, probabilities, strict=True)):
        axes = figure.add_subplot(rows, 2 * columns, 2 * place + 1)
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        best = np.argsort(-row)[:5]
        words = figure.add_subplot(rows, 2 * columns, 2 * place + 2)
        words.set_axis_off()
        lines = [f"{100 * row[c]:.0f} % {class_names[c][:12]}" for c in best]
        words.text(0, 0.5, "\n".join(lines), fontsize=6, va="center", parse_math=False)
    return figure


def draw_sheets_and_bars(
    sheets: Mapping[str, np.ndarray], bars: Mapping[str, tuple[float, float | None]], label: str
) -> Figure:
    """Draws sheets of ten images side by side, and to their right a bar chart.

    Args:
        sheets: uint8 images ``(10, H, W, C)`` by title.
        bars: mean and standard deviation (None for none) by name, from top to bottom.
        label: what the bars show.
    """
    figure = new_figure(2.2 * len(sheets) + 4.6, 2.2)
    grid = figure.add_gridspec(1, len(sheets) + 1, width_ratios=[2.2] * len(sheets) + [4.6])
    rows = [np.arange(5), np.arange(5, 10)]
    for position, (title, images) in enumerate(sheets.items()):
        axes = figure.add_subplot(grid[position])
        axes.imshow(_canvas(images, rows, 5), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title.replace("$", r"\$"), fontsize=8)
        axes.set_axis_off()
    axes = figure.add_subplot(grid[len(sheets)])
    for place, (mean, deviation) in enumerate(bars.values()):
        axes.barh(-place, mean, xerr=deviation, color=f"C{place}", height=0.7, capsize=2)
        axes.text(0.01, -place, f"{100 * mean:.1f} %", va="center", fontsize=7, color="white")
    axes.set_yticks([-i for i in range(len(bars))], list(bars), fontsize=7)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(label, fontsize=8)
    return figure


def draw_sheet(images: np.ndarray, title: str) -> Figure:
    """Draws all images on one sheet, row after row; the sheet is about as wide as it is high.

    Args:
        images: uint8 ``(n, H, W, C)``.
        title: written above it.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    columns = min(len(images), 5 * max(1, round(len(images) ** 0.5 / 5)))
    rows = [np.arange(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    cell = max(0.3, min(0.7, 7 / columns))  # inches per image
    figure = new_figure(max(3.5, cell * columns), cell * len(rows) + 0.5)
    axes = figure.add_subplot()
    axes.imshow(
        _canvas(images, rows, columns), cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, parse_math=False)
    return figure


def draw_labelled_images(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]
) -> Figure:
    """Draws rows of images, with the label of each image as a bar chart below it.

    Args:
        panels: for each row, by its title, uint8 images ``(n, H, W, C)`` and their labels
            ``(n, classes)``; n is the same in all rows.
        class_names: names of the classes, from the left to the right bar; of more than twenty
            they are left out.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    count = max(len(images) for images, _ in panels.values())
    highest = 1.05 * max(float(np.abs(labels).max()) for _, labels in panels.values())
    figure = new_figure(1.0 * count + 0.6, 1.75 * len(panels) + 0.3)
    grid = figure.add_gridspec(2 * len(panels), count, height_ratios=[1.0, 0.7] * len(panels))
    for row, (title, (images, labels)) in enumerate(panels.items()):
        for column, (image, label) in enumerate(zip(images, labels, strict=True)):
            axes = figure.add_subplot(grid[2 * row, column])
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if column == 0:
                axes.set_ylabel(title, fontsize=8, parse_math=False)
            axes = figure.add_subplot(grid[2 * row + 1, column])
            axes.bar(range(len(label)), label, color=np.where(label > 0, "C0", "C3"))
            axes.axhline(0, color="0.5", lw=0.5)
            axes.set(ylim=(-highest, highest), xticks=[], yticks=[])
            if row == len(panels) - 1 and len(label) <= _NAMED:
                axes.set_xticks(
                    range(len(label)), class_names, fontsize=4, rotation=90, parse_math=False
                )
                axes.tick_params(length=0, pad=1)
    return figure
