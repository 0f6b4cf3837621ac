"""The film of a run: its frames, its titles, and what it refuses."""

import dataclasses
import io
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from kipax import KIPConfig, load, plots, run_kip
from kipax.commands import kip as command
from kipax.distill import Interrupted, write_movie
from kipax.errors import UsageError
from tests.stopping import StopAt

pytestmark = pytest.mark.pictures
SMALL = KIPConfig(architecture="fc1", support=10, steps=4, target_batch=60, eval_examples=20)


def _frames(film):
    with Image.open(film) as gif:
        found = []
        for number in range(gif.n_frames):
            gif.seek(number)
            found.append((np.asarray(gif.convert("RGB")), gif.info["duration"]))
        return found, gif.info["loop"]


def test_a_stopped_run_gives_the_film_of_a_whole_one(tmp_path, monkeypatch):
    titles = []
    draw = plots.draw_sheet

    def listen(images, title):
        titles.append(title)
        assert images.dtype == np.uint8
        return draw(images, title)

    monkeypatch.setattr(plots, "draw_sheet", listen)
    result = run_kip(dataclasses.replace(SMALL, eval_every=3), workdir=tmp_path / "whole")
    film = write_movie(tmp_path / "whole")
    assert film == tmp_path / "whole" / "movie.gif"
    accuracy = result.evaluation.test_accuracy
    assert titles[1:] == ["step 1", f"step 4 · test accuracy {accuracy:.3f}"]
    assert titles[0].startswith("step 0 · test accuracy 0.")
    frames, loop = _frames(film)
    assert loop == 0  # for ever
    assert [duration for _, duration in frames] == [800, 800, 2500]
    assert len({picture.shape for picture, _ in frames}) == 1
    with pytest.raises(Interrupted):
        run_kip(
            dataclasses.replace(SMALL, eval_every=3), workdir=tmp_path / "cut", reporter=StopAt(2)
        )
    run_kip(dataclasses.replace(SMALL, eval_every=3), workdir=tmp_path / "cut", resume=True)
    assert write_movie(tmp_path / "cut").read_bytes() == film.read_bytes()


def test_the_frames_are_the_checkpoints(tmp_path):
    run_kip(dataclasses.replace(SMALL, learning_rate=0.5), workdir=tmp_path)
    frames, _ = _frames(write_movie(tmp_path))
    for (shown, _), step in zip(frames, (0, 1, 4), strict=True):
        stored = load(tmp_path / "checkpoints" / f"step_{step:06d}.npz").to_uint8_images()
        figure = plots.draw_sheet(stored, "")
        expected = np.asarray(Image.open(io.BytesIO(plots.to_png(figure))).convert("RGB"))
        lower = len(shown) // 4  # below the title
        assert np.abs(shown[lower:].astype(int) - expected[lower:]).max() <= 8  # of a palette
    assert not np.array_equal(frames[0][0], frames[-1][0])


def test_a_film_needs_two_checkpoints(tmp_path):
    with pytest.raises(UsageError, match=r"at least two steps; .* holds 0: name the folder"):
        write_movie(tmp_path)
    run_kip(dataclasses.replace(SMALL, steps=0), workdir=tmp_path / "still")
    with pytest.raises(UsageError, match="holds 1"):
        write_movie(tmp_path / "still")
    with pytest.raises(UsageError, match="at least one frame"):
        plots.to_gif([])


def test_without_matplotlib_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(command.flags, "FLAGS", type("Flags", (), {"movie": True}))
    with pytest.raises(ImportError, match=r"pip install 'kipax\[plots\]'"):
        command._run(SMALL, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
