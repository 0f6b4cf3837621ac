"""Figures: what can be read off their axes."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kipax import plots

pytestmark = pytest.mark.pictures


def _shown(axis, low, high):
    """The numbers written along an axis."""
    plots.to_png(axis.figure)  # places the ticks
    return [
        tick.label1.get_text()
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]


def test_a_loss_within_a_decade_has_numbers():
    metrics = [{"step": i, "train_loss": 0.03 * 0.4**i, "test_accuracy": 1.0} for i in range(2)]
    figure = plots.draw_curve(metrics, "$a_$b_")
    axes, accuracy = figure.axes
    assert len(_shown(axes.yaxis, 0.012, 0.03)) >= 4
    assert _shown(axes.xaxis, 0, 1) == ["0", "1"]
    assert accuracy.get_ylim()[1] > 1


@pytest.mark.parametrize("images", [3, 10, 100])
def test_labels_number_whole_images(images):
    figure = plots.draw_labels(np.eye(images, 10), [f"${i}_" for i in range(10)])
    shown = _shown(figure.axes[0].yaxis, 0, images - 1)
    assert shown[0] == "0"
    assert all(number.isdecimal() for number in shown)
    assert len(shown) >= min(images, 9)
