"""`run_cells`: a table of distillations from one teacher, on a ledger of finished ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.config import changeable, check_arguments
from kipax.data import Dataset
from kipax.errors import UsageError
from kipax.kd.config import KDConfig
from kipax.kd.distilling import Distillation
from kipax.kd.opening import open_teacher, open_test_data
from kipax.kd.teachers import Teacher
from kipax.ledger import Ledger, array_hash, key_of
from kipax.report import SAME_COMMAND, Progress, Reporter, limit_time

__all__ = ["Cell", "CellResult", "run_cells"]

_OF_IMAGES = ("images", "pool", "imbalance", "boundary", "seed")  # fields that decide them


@dataclasses.dataclass(frozen=True)
class Cell:
    """A distillation of a table, by what sets it apart.

    Attributes:
        name: its name in the table.
        changes: fields of the table's config and their values here.
    """

    name: str
    changes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class CellResult:
    """The results of a cell, one for each seed.

    Attributes:
        name: its name in the table.
        accuracies: test accuracies of the chosen steps, as fractions ``(seeds,)``.
        last: test accuracies after the last steps ``(seeds,)``.
        agreements: agreements with the teacher on held-out images of the source ``(seeds,)``.
        relative_entropies: relative entropies of the teacher's classes ``(seeds,)``.
        test_examples: number of test images.
    """

    name: str
    accuracies: np.ndarray
    last: np.ndarray
    agreements: np.ndarray
    relative_entropies: np.ndarray
    test_examples: int

    @property
    def accuracy(self) -> float:
        """The mean test accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the test accuracy over seeds; None for one seed."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Returns the numbers, JSON-ready."""
        return {
            "accuracy": round(self.accuracy, 4),
            "deviation": None if self.deviation is None else round(self.deviation, 4),
            "accuracies": self.accuracies.tolist(),
            "last": self.last.tolist(),
            "agreement": round(float(np.mean(self.agreements)), 4),
            "relative_entropy": round(float(np.mean(self.relative_entropies)), 4),
            "test_examples": self.test_examples,
        }


def run_cells(
    config: KDConfig,
    cells: Sequence[Cell],
    *,
    seeds: Sequence[int],
    workdir: Path | str,
    teacher: Teacher | None = None,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> list[CellResult]:
    """Distils every cell with every seed; a finished distillation is not run again.

    The first seed of every cell comes before the second of any, so that an interrupted table is
    as wide as possible. Images and answers are drawn once for all cells that show the teacher the
    same images. Finished distillations are lines of ``results.jsonl`` in the folder, and
    the one that was interrupted is continued; cells of different tables share it.

    Args:
        config: the settings that all cells share.
        cells: the cells.
        seeds: seeds of every cell.
        workdir: folder of the ledger and of the runs.
        teacher: the teacher of all cells; None opens ``config.teacher``.
        dataset: the data to test on; None takes those of the config or of the teacher.
        reporter: is told sentences and progress.

    Returns:
        The results in the order of the cells.

    Raises:
        UsageError: there are no test data, or a cell's settings are wrong.
    """
    check_arguments(KDConfig, config, resume=True)
    reporter = limit_time(reporter or Reporter(), config.max_seconds, remedy=SAME_COMMAND)
    config = dataclasses.replace(config, max_seconds=None)  # the limit of the whole table
    where: dict[str, Any] = {"data_dir": config.data_dir, "reporter": reporter}
    teacher = teacher or open_teacher(config.teacher, **where)
    data = dataset or open_test_data(config.dataset, teacher, image_size=config.image_size, **where)
    if data is None:
        raise UsageError("a table needs images to test on: name them with --dataset.")
    folder = files.expand(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "results.jsonl")
    found: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in cells}
    done, total = 0, len(seeds) * len(cells)
    for seed in seeds:
        for cell in cells:
            chosen = dataclasses.replace(config, seed=seed, **cell.changes)
            run = Distillation.open(
                chosen, teacher=teacher, dataset=data, reporter=_Quiet(reporter)
            )
            reporter.say(f"{cell.name}, seed {seed}: {run.describe()}")
            found[cell.name].append(_finished(ledger, run, data, folder))
            done += 1
            reporter.progress(Progress(done, total, unit="distillation"))
    return [_collect(name, records) for name, records in found.items()]


class _Quiet(Reporter):
    """Passes progress on, so that a time limit holds, and no sentences."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def progress(self, progress: Progress) -> None:
        self._reporter.progress(progress)


def _finished(ledger: Ledger, run: Distillation, data: Dataset, folder: Path) -> dict[str, Any]:
    """Returns the ledger's record of a distillation; without one, runs it."""
    identity, free = run.identity, changeable(run.config)
    tested = min(len(data.x_test), run.config.eval_examples or len(data.x_test))
    facts = {
        "config": {k: v for k, v in identity.config.items() if k not in free},
        "hashes": dict(identity.hashes),
        "tested_on": [array_hash(data.x_test, data.y_test), tested],
    }

    def train() -> dict[str, Any]:
        source = "".join(c if c.isalnum() or c in "-_." else "-" for c in run.config.source)
        images = key_of(
            {"hashes": facts["hashes"], "images": run.config.images, "seed": run.config.seed}
        )
        summary = run.train(
            folder / f"{source[-60:]}-{key_of(facts)}",
            resume=True,
            drawn=folder / f"drawn-{source[-60:]}-{images}",
        ).summary()
        return {k: v for k, v in summary.items() if k != "workdir"} | {"test_examples": tested}

    return ledger.remember(facts, train)


def _collect(name: str, records: Sequence[Mapping[str, Any]]) -> CellResult:
    def column(key: str) -> np.ndarray:
        return np.array([np.nan if r[key] is None else r[key] for r in records], float)

    return CellResult(
        name,
        column("test_accuracy"),
        column("test_accuracy_last"),
        column("agreement"),
        column("relative_entropy"),
        int(records[0]["test_examples"]),
    )
