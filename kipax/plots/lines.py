"""Draws numbers: curves, lines, bars, histograms and planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kipax.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Plane",
    "draw_bars",
    "draw_curve",
    "draw_histograms",
    "draw_lines",
    "draw_pairs",
    "draw_planes",
    "draw_scaling",
]

_ACCURACIES = ("validation_accuracy", "test_accuracy")


def draw_curve(
    metrics: Sequence[Mapping[str, float]],
    title: str,
    *,
    accuracies: Sequence[str] = _ACCURACIES,
    of: str = "kernel ridge regression",
) -> Figure:
    """Draws training loss and accuracies over steps.

    Args:
        metrics: one mapping per step, with ``step``, ``train_loss`` and, where evaluated, some of
            `accuracies`.
        title: title of the figure.
        accuracies: names in `metrics` of values from 0 to 1.
        of: the network or set that has these accuracies.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(6, 3.6)
    from matplotlib import ticker

    loss_axes = figure.add_subplot()
    accuracy_axes = loss_axes.twinx()
    steps = [m["step"] for m in metrics if "train_loss" in m]
    losses = [m["train_loss"] for m in metrics if "train_loss" in m]
    lines = loss_axes.plot(steps, losses, color="0.6", label="training loss")
    positive = min(losses) > 0  # a sum of objectives may fall below 0
    scale = "log" if positive else "linear"
    loss_axes.set(xlabel="step", ylabel="training loss", yscale=scale)
    loss_axes.set_title(title, parse_math=False)  # a data set's name may contain a $
    if positive and max(losses) < 10 * min(losses):
        # Powers of ten alone would leave the axis without numbers.
        locator = ticker.LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), numticks=20)
        loss_axes.yaxis.set_major_locator(locator)
        loss_axes.yaxis.set_major_formatter("{x:g}")
        loss_axes.yaxis.set_minor_locator(ticker.NullLocator())
    loss_axes.locator_params(axis="x", integer=True)
    for key, colour in zip(accuracies, ("C1", "C0", "C2"), strict=False):
        points = [(m["step"], m[key]) for m in metrics if key in m]
        if points:
            label = key.replace("_", " ")
            lines += accuracy_axes.plot(
                *zip(*points, strict=True), f"{colour}o-", ms=3, label=label
            )
    accuracy_axes.set(ylabel=f"accuracy ({of})", ylim=(0, 1.02))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8)
    return figure


def draw_histograms(values: Mapping[str, np.ndarray], label: str) -> Figure:
    """Histograms of shares from 0 to 1 in one plot.

    Args:
        values: the values by name.
        label: what the values are.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(5, 3)
    axes = figure.add_subplot()
    for name, numbers in values.items():
        axes.hist(numbers, bins=25, range=(0, 1), histtype="step", label=name)
    axes.set(xlabel=label, ylabel="images")
    axes.legend(fontsize=8)
    return figure


class Plane(NamedTuple):
    """Points in a plane, and the regions of the plane that a classifier assigns to its classes.

    Attributes:
        title: written above it.
        points: ``(n, 2)``.
        classes: of the points ``(n,)``.
        regions: classes of a grid ``(rows, columns)``; rows are the second coordinate, rising.
        extent: left, right, bottom and top of the grid.
    """

    title: str
    points: np.ndarray
    classes: np.ndarray
    regions: np.ndarray
    extent: tuple[float, float, float, float]


def draw_planes(planes: Sequence[Plane], rows: int) -> Figure:
    """Draws planes in a grid, row by row.

    Args:
        planes: the planes.
        rows: number of rows; it divides the number of planes.
    """
    columns = len(planes) // rows
    figure = new_figure(2.4 * columns, 2.5 * rows)
    look: dict[str, Any] = {"cmap": "tab10", "vmin": -0.5, "vmax": 9.5}
    for position, plane in enumerate(planes, 1):
        left, right, bottom, top = plane.extent
        axes = figure.add_subplot(rows, columns, position)
        axes.imshow(
            plane.regions, origin="lower", extent=plane.extent, aspect="auto", alpha=0.35, **look
        )
        axes.scatter(plane.points[:, 0], plane.points[:, 1], c=plane.classes, s=1.5, **look)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_title(plane.title.replace("$", r"\$"), fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def draw_scaling(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str
) -> Figure:
    """Draws seconds against each varied quantity, in one panel each, both axes logarithmic.

    Args:
        curves: values and seconds by the name of the varied quantity.
        title: title above all panels.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(2.2 * len(curves), 2.4)
    lowest, highest = ([f(s) for _, s in curves.values()] for f in (min, max))
    for position, (name, (values, seconds)) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), position + 1)
        axes.loglog(values, seconds, marker="o", markersize=3)
        axes.set_ylim(0.5 * min(lowest), 2 * max(highest))
        axes.set_xticks(values, [f"{v:g}" for v in values], fontsize=6, rotation=45)
        axes.minorticks_off()
        axes.set_xlabel(name, fontsize=8)
        axes.set_ylabel("seconds" if position == 0 else "", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    return figure


def draw_lines(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float] | None]]],
    ticks: Sequence[str],
    label: str,
) -> Figure:
    """Draws lines over evenly spaced places, in one panel for each quantity.

    Args:
        panels: by the name of the quantity, by the name of the line: a value for each place, and
            its standard deviations (None for none).
        ticks: names of the places, from left to right.
        label: what the places are.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(3.6 * len(panels), 3)
    places = np.arange(len(ticks))
    for position, (quantity, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), position)
        for number, (name, (values, deviations)) in enumerate(lines.items()):
            shift = 0.06 * number if deviations is not None else 0.0  # error bars side by side
            style = "--" if number else "-"  # one line shows below another
            axes.errorbar(
                places + shift,
                values,
                deviations,
                ls=style,
                marker="o",
                ms=4,
                capsize=2,
                label=name,
            )
        look: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(ticks) > 8 else {}
        axes.set_xticks(places, ticks, fontsize=7, **look)
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        axes.set_xlim(-0.4, len(ticks) - 0.6)
        axes.set_xlabel(label, fontsize=8)
        axes.set_ylabel(quantity, fontsize=8)
        axes.tick_params(axis="y", labelsize=7)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def draw_bars(
    groups: Mapping[str, Sequence[float]],
    ticks: Sequence[str],
    labels: tuple[str, str],
    *,
    wholes: Mapping[str, float] | None = None,
) -> Figure:
    """Draws bars side by side at each place.

    Args:
        groups: by name, a value for each place.
        ticks: names of the places, from left to right.
        labels: what the places and what the values are.
        wholes: by name, a value that is drawn as a dashed line, the whole of a group's parts.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(max(4.5, 0.9 * len(ticks)), 3)
    axes = figure.add_subplot()
    width = 0.8 / len(groups)
    for number, (name, values) in enumerate(groups.items()):
        places = np.arange(len(ticks)) + (number - (len(groups) - 1) / 2) * width
        axes.bar(places, values, width, color=f"C{number}", label=name)
        if wholes is not None:
            axes.axhline(wholes[name], color=f"C{number}", ls="--", lw=1, label=f"{name}, whole")
    axes.set_xticks(np.arange(len(ticks)), ticks, fontsize=7)
    axes.set_xlabel(labels[0], fontsize=8)
    axes.set_ylabel(labels[1], fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


def draw_pairs(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
) -> Figure:
    """Draws a scatter plot of pairs of shares, with the diagonal on which both are equal.

    Args:
        groups: for each colour, by its name, three sequences: the first shares, the second shares,
            and numbers from 0 to 1 that set the sizes of the circles.
        labels: what the first shares (the horizontal axis) and the second shares are.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    figure = new_figure(4.6, 4)
    axes = figure.add_subplot()
    for number, (name, (first, second, sizes)) in enumerate(groups.items()):
        areas = 20 + 120 * np.asarray(sizes)
        axes.scatter(first, second, areas, color=f"C{number}", alpha=0.6, lw=0, label=name)
    everything = [v for first, second, _ in groups.values() for v in (*first, *second)]
    low, high = min(0.0, *everything) - 0.03, max(everything) + 0.05
    axes.plot((low, high), (low, high), color="0.6", lw=1, ls="--")
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_xlabel(labels[0], fontsize=8)
    axes.set_ylabel(labels[1], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, markerscale=0.6)
    return figure
