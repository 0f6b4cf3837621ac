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


@pytest.mark.parametrize("images", [1, 7, 100, 500])
def test_a_sheet_holds_every_image(images):
    x = np.full((images, 4, 4, 3), 10, np.uint8)
    figure = plots.draw_sheet(x, "$step_1")
    sheet = figure.axes[0].images[0].get_array()
    assert np.sum(np.all(sheet == 10, axis=-1)) == images * 16
    assert sheet.shape[1] / sheet.shape[0] < 6
    assert plots.to_png(figure).startswith(b"\x89PNG")


def test_labelled_images_have_a_bar_for_each_class():
    x, y = np.zeros((3, 4, 4, 1), np.uint8), np.array([[0.9, -0.1], [-0.1, 0.9], [0.5, 0.5]])
    figure = plots.draw_labelled_images({"a": (x, y), "$b_": (x, 2 * y)}, ["$0", "1_"])
    bars = [axes for axes in figure.axes if axes.patches]
    assert [bar.get_height() for bar in bars[3].patches] == [1.8, -0.2]
    assert len({axes.get_ylim() for axes in bars}) == 1  # one scale
    assert [label.get_text() for label in bars[-1].get_xticklabels()] == ["$0", "1_"]
    many = plots.draw_labelled_images({"a": (x, np.ones((3, 100)))}, ["c"] * 100)
    assert not many.axes[-1].get_xticklabels()  # they would cover each other


def test_pairs_lie_about_a_diagonal():
    figure = plots.draw_pairs({"20 %": ([0.1, 0.2], [0.3, -0.1], [0.5, 1.0])}, ("a", "b"))
    axes = figure.axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[0.1, 0.3], [0.2, -0.1]]
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_ylim()[0] < -0.1 < 0.3 < axes.get_ylim()[1]
