"""Writes the film of a KIP run: its support images from checkpoint to checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kipax import files, plots
from kipax.errors import UsageError
from kipax.loading import load
from kipax.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_movie"]


def write_movie(workdir: Path | str) -> Path:
    """Writes ``movie.gif``, a run's support images at its checkpoints, to the run's folder.

    A frame's title is the step, and the test accuracy where the run has measured it there. The
    frames are the checkpoints alone, so a run that was stopped and resumed gives the same film.

    Args:
        workdir: the folder of a KIP run.

    Returns:
        The path of the film.

    Raises:
        UsageError: the folder holds fewer than two checkpoints.
        FileError: a checkpoint is damaged.
        ImportError: matplotlib or Pillow is missing.

    Cost: about a third of a second a checkpoint, one core.
    """
    folder = RunFolder(workdir)
    found = (folder.path / "checkpoints").glob("step_*.npz")
    paths = {int(path.stem.removeprefix("step_")): path for path in found}
    if len(paths) < 2:
        raise UsageError(
            f"a film needs the checkpoints of at least two steps; {folder.path} holds "
            f"{len(paths)}: name the folder of a KIP run with --steps=1 or more."
        )
    lines = folder.read_metrics()
    accuracies = {m["step"]: m["test_accuracy"] for m in lines if "test_accuracy" in m}

    def frames() -> Iterator[Figure]:
        for step in sorted(paths):
            known = f" · test accuracy {accuracies[step]:.3f}" if step in accuracies else ""
            images = load(paths[step]).to_uint8_images()
            yield plots.draw_sheet(images, f"step {step}{known}")

    film = folder.path / "movie.gif"
    files.write_bytes(film, plots.to_gif(frames()))
    return film
