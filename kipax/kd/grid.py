"""`run_cells`: runs a table of distillations from one teacher, and keeps finished ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.config import changeable, check_arguments
from kipax.data import Dataset
from kipax.errors import UsageError, check_choice
from kipax.kd.checks import idle_settings
from kipax.kd.config import KDConfig
from kipax.kd.distilling import Distillation
from kipax.kd.opening import open_teacher_and_data
from kipax.kd.teachers import Teacher
from kipax.ledger import Ledger, array_hash, key_of
from kipax.networks import TrainedNetwork
from kipax.probes import ProbeConfig, probe
from kipax.report import SAME_COMMAND, Progress, Reporter, limit_time

__all__ = ["MEASURES", "Cell", "CellResult", "run_cells"]

_PROBES = ("knn", "linear", "cluster_alignment")  # of the students' features
MEASURES = ("test_accuracy", *_PROBES)

_OF_IMAGES = ("images", "pool", "imbalance", "boundary", "seed")  # fields that decide them
# Fields that all cells of a table share: its teacher, test data and time limit; and its seeds.
_OF_TABLE = {
    "teacher",
    "dataset",
    "data_dir",
    "image_size",
    "max_seconds",
    "eval_examples",
    "seed",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One distillation of a table.

    Attributes:
        name: its name in the table.
        changes: the fields of the table's config that have other values here, and these values.
        measure: what its accuracies are, one of `MEASURES`: the student's test accuracy, or a
            probe of its features.
    """

    name: str
    changes: Mapping[str, Any]
    measure: str = "test_accuracy"


@dataclasses.dataclass(frozen=True)
class CellResult:
    """The results of a cell, one for each seed.

    Attributes:
        name: its name in the table.
        accuracies: the cell's measure of the students at their chosen steps, from 0 to 1
            ``(seeds,)``.
        last: test accuracies after the last steps ``(seeds,)``; NaN for a probe.
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
        """The mean of the cell's measure: test accuracy, unless the cell says another."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the test accuracy over seeds; None for one seed."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Returns accuracies, agreement, entropy and number of test images as JSON-ready values.

        A value that a cell does not have is None, since JSON has no NaN.
        """
        return {
            "accuracy": round(self.accuracy, 4),
            "deviation": None if self.deviation is None else round(self.deviation, 4),
            "accuracies": self.accuracies.tolist(),
            "last": [_known(value) for value in self.last.tolist()],
            "agreement": _known(round(float(np.mean(self.agreements)), 4)),
            "relative_entropy": _known(round(float(np.mean(self.relative_entropies)), 4)),
            "test_examples": self.test_examples,
        }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


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
    """Runs the distillation of every cell with every seed, except those that are finished.

    The first seed of every cell comes first. Images and answers are drawn once for all cells that
    show the teacher the same images. Finished distillations are lines of ``results.jsonl`` in the
    folder, which tables may share; an interrupted one is continued.

    Args:
        config: the settings that all cells share.
        cells: the cells.
        seeds: seeds of every cell.
        workdir: folder of the ledger and of the runs.
        teacher: the teacher of all cells; None opens ``config.teacher``.
        dataset: the data to test on; None takes those of the config or of the teacher.
        reporter: is told sentences and progress.

    Returns:
        The results, in the cells' order.

    Raises:
        UsageError: there are no cells, seeds or test data, or a cell's name or settings are wrong.
    """
    check_arguments(KDConfig, config, resume=True)
    _check_cells(cells, seeds)
    reporter = limit_time(reporter or Reporter(), config.max_seconds, remedy=SAME_COMMAND)
    config = dataclasses.replace(config, max_seconds=None)  # the limit of the whole table
    teacher, data = _open(config, teacher, dataset, reporter)
    folder = files.expand(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    ledger, count = Ledger(folder / "results.jsonl"), len(data.x_test)
    tested = [array_hash(data.x_test, data.y_test), min(count, config.eval_examples or count)]
    found: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in cells}
    for number, (seed, cell) in enumerate(itertools.product(seeds, cells), 1):
        chosen = dataclasses.replace(config, seed=seed, **cell.changes)
        run = Distillation.open(
            chosen, teacher=teacher, dataset=data, reporter=_ProgressAlone(reporter)
        )
        reporter.say(f"{cell.name}, seed {seed}: {run.describe()}")
        found[cell.name].append(_finished(ledger, run, folder, _tests(cell, run, tested)))
        reporter.progress(Progress(number, len(seeds) * len(cells), unit="distillation"))
    return [_collect(cell, found[cell.name]) for cell in cells]


def _open(
    config: KDConfig, teacher: Teacher | None, dataset: Dataset | None, reporter: Reporter
) -> tuple[Teacher, Dataset]:
    """Returns the teacher and the data to test on, opened where they are not given."""
    teacher, data = open_teacher_and_data(
        config, teacher=teacher, dataset=dataset, reporter=reporter
    )
    if data is None:
        raise UsageError("a table needs images to test on: name them with --dataset.")
    return teacher, data


def _check_cells(cells: Sequence[Cell], seeds: Sequence[int]) -> None:
    """Raises a `UsageError` for cells that a table cannot have."""
    if not cells or not seeds:
        raise UsageError(f"a table has cells and seeds; got {len(cells)} and {len(seeds)}.")
    names = [cell.name for cell in cells]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"cells of a table have different names; got {twice[0]!r} twice.")
    free = {f.name for f in dataclasses.fields(KDConfig)} - _OF_TABLE
    for cell in cells:
        check_choice("measure", cell.measure, MEASURES)
        if wrong := sorted(set(cell.changes) - free):
            raise UsageError(
                f"a cell changes what its distillation alone has; {cell.name!r} changes {wrong[0]}."
            )


class _ProgressAlone(Reporter):
    """Passes progress on to a reporter, so that its time limit holds, and drops sentences."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def progress(self, progress: Progress) -> None:
        self._reporter.progress(progress)


def _effective(config: KDConfig) -> dict[str, Any]:
    """Returns the settings that decide a result: those that the loss uses and that are no default.

    Settings of terms that the loss does not have are left out, so that records are still found
    when kipax gets new settings.
    """
    unused = set(changeable(config)) | idle_settings(config)
    return {
        field.name: value
        for field in dataclasses.fields(config)
        if field.name not in unused and (value := getattr(config, field.name)) != field.default
    }


def _finished(
    ledger: Ledger, run: Distillation, folder: Path, tests: dict[str, Any]
) -> dict[str, Any]:
    """Returns the ledger's record of a distillation; runs the distillation if there is none.

    Args:
        ledger: the finished distillations.
        run: the distillation.
        folder: the table's folder.
        tests: ``tested_on``, hash of the test images and the number of them that are used, and
            ``probes``, if the student's features are probed too.
    """
    identity = run.identity
    facts = {
        "config": _effective(run.config),
        "hashes": dict(identity.hashes),
    }
    source = files.plain_name(run.config.source)[-60:]
    images = {k: identity.config[k] for k in _OF_IMAGES} | facts["hashes"]

    def train() -> dict[str, Any]:
        result = run.train(
            folder / f"{source}-{key_of(facts)}",
            resume=True,
            drawn=folder / f"drawn-{source}-{key_of(images)}",
        )
        summary = result.summary()
        del summary["workdir"]
        if "probes" in tests:
            summary |= {"probes": _probe(result.network, run)}
        return summary | {"test_examples": tests["tested_on"][1]}

    return ledger.remember(facts | tests, train)


def _tests(cell: Cell, run: Distillation, tested_on: list[Any]) -> dict[str, Any]:
    """Returns the facts about the test of a cell's student; see `_finished`.

    Raises:
        UsageError: the student does not classify, and the cell asks for its test accuracy.
    """
    if cell.measure not in _PROBES and not run.config.needs.classifies:
        raise UsageError(
            f"the loss {run.config.loss} trains no classes, so that {cell.name!r} has no test "
            f"accuracy: measure {' or '.join(_PROBES)}."
        )
    probes = {"probes": list(_PROBES)} if cell.measure in _PROBES else {}
    return {"tested_on": tested_on} | probes


def _probe(network: TrainedNetwork, run: Distillation) -> dict[str, float]:
    """Runs the probes of a table on a student's features."""
    assert run.data is not None
    config = ProbeConfig(probes=",".join(_PROBES), eval_examples=run.config.eval_examples)
    found = probe(network, run.data, config)
    return {name: found[name] for name in _PROBES} | {"knn": found["knn"]["accuracy"]}


def _collect(cell: Cell, records: Sequence[Mapping[str, Any]]) -> CellResult:
    def column(key: str) -> np.ndarray:
        return np.array([np.nan if r[key] is None else r[key] for r in records], float)

    measure, of_probe = cell.measure, cell.measure in _PROBES
    return CellResult(
        cell.name,
        np.array([r["probes"][measure] for r in records]) if of_probe else column(measure),
        column("test_accuracy_last"),
        column("agreement"),
        column("relative_entropy"),
        int(records[0]["test_examples"]),
    )
