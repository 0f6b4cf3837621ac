"""The sets of an evaluation: a distilled set, its checkpoints, and its baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files, ridge
from kipax.config import import_object
from kipax.data import Dataset, balanced_batch, load_dataset, step_key
from kipax.data.known import KNOWN
from kipax.data.sampling import Purpose
from kipax.data.testing import check_test_data
from kipax.data.tfds import is_registered
from kipax.errors import FileError, UsageError
from kipax.kernels.descriptions import PREFIX
from kipax.loading import load
from kipax.report import Progress, Reporter
from kipax.runs import GRID, RunFolder
from kipax.support import SupportSet

__all__ = [
    "Subject",
    "as_subjects",
    "check_data",
    "find_support",
    "full_data_set",
    "load_checkpoints",
    "load_support",
    "load_test_data",
    "name_beside_baselines",
    "random_set",
    "solve_labels",
]

_FULL_STEPS = {  # updates on the whole training set: Nguyen et al. 2021, appendix A
    ("none", "mse"): 300_000,
    ("none", "xent"): 30_000,
}
_FULL_STEPS_AUGMENTED = 500_000


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A row of the table.

    Attributes:
        name: name of the row.
        alternatives: sets by name, among which validation chooses: the checkpoints, otherwise a
            single one; each is one or several draws, and network i is trained on draw i.
        augmentation: augmentation in place of the protocol's; None for the protocol's.
        steps: number of updates by loss in place of the protocol's; None for the protocol's.
    """

    name: str
    alternatives: dict[str, Sequence[SupportSet]]
    augmentation: str | None = None
    steps: Callable[[str], int] | None = None


def find_support(path: Path | str) -> Path:
    """Returns the file of a support set: itself, or ``support.npz`` in a run's folder.

    Raises:
        UsageError: the folder has no ``support.npz``.
    """
    path = files.expand(path)
    if not path.is_dir():
        return path
    if (path / "support.npz").exists():
        return path / "support.npz"
    takes = (
        "give the folder of a finished kip or label_solve run, a set's file, or a name of "
        "kipax.available()"
    )
    if (path / "network.npz").exists():
        raise UsageError(
            f"{path} holds no support.npz but a network, which `kipax probe {path}` tells about: "
            f"{takes}."
        )
    raise UsageError(f"{path} holds no support.npz: {takes}.")


def load_support(path: Path, *, data_dir: str | None, kernel_fn: str | None) -> SupportSet:
    """Loads a set's file for a command.

    Args:
        path: the file.
        data_dir: where prepared TensorFlow Datasets lie.
        kernel_fn: MODULE:FUNCTION, the set's kernel if that is a function of the user's.

    Raises:
        UsageError, FileError: as `kipax.load`; or nothing has the name that `kernel_fn` gives.
    """
    function = None
    if kernel_fn is not None:
        function = import_object(kernel_fn.removeprefix(PREFIX), "kernel")
    return load(path, data_dir=data_dir, kernel_fn=function)


def name_beside_baselines(support: SupportSet) -> str:
    """Returns a set's method, with other words for Label Solve, which is a baseline's name."""
    own = str(support.metadata["method"])
    return "this set, by Label Solve" if own == "Label Solve" else own


def as_subjects(sets: Mapping[str, SupportSet]) -> list[Subject]:
    """Returns a row for each set."""
    return [Subject(name, {"": [one]}) for name, one in sets.items()]


def load_checkpoints(path: Path | None, support: SupportSet | None = None) -> dict[str, SupportSet]:
    """Returns the checkpoints of the transfer grid that the run of a support set has kept.

    Args:
        path: the file of the set, in the folder of its run.
        support: the set, where its kernel is a function of the user's, which no file holds.

    Raises:
        UsageError: none lie beside the file, or there is no file (a set in memory).
    """
    if path is None:
        raise UsageError("checkpoints lie in a run's folder; got a set in memory.")
    folder = RunFolder(path.parent)
    found = {step: folder.checkpoint_path(step) for step in GRID}
    sets = {
        f"step {step}": load(file, kernel_fn=None if support is None else support.function)
        for step, file in found.items()
        if file.exists()
    }
    if not sets:
        raise UsageError(
            f"checkpoints needs the folder of a run with its checkpoints; {path.parent} has "
            "none of the steps 0, 1, 4, 12, 37, ..."
        )
    return sets


def load_test_data(support: SupportSet, name: str | None, **where: Any) -> Dataset:
    """Returns the data set that a support set is tested on.

    Args:
        support: the support set, whose metadata names its data set.
        name: name as for `load_dataset`; None for the data set in the metadata, which must then
            be the one that the support set was distilled from.
        where: `data_dir` and `image_size` of `load_dataset`.

    Raises:
        UsageError: the metadata's name does not say where the data lie, or other data lie there;
            see also `check_data`.
    """
    if name is not None:
        dataset = load_dataset(name, **where)
        check_data(support, dataset)
        return dataset
    name = str(support.metadata["dataset"])
    remedy = "give --dataset=npz:PATH or --dataset=folder:PATH"
    if name not in KNOWN and not is_registered(name):
        raise UsageError(f"the file calls its data set {name!r} but not where it lies: {remedy}.")
    dataset = load_dataset(name, **where)
    if support.metadata.get("training_hash") not in (None, dataset.training_hash):
        raise UsageError(
            f"the support set was distilled from other images than those of the data set {name} "
            f"(their hashes differ), from a file of that name maybe: {remedy}, or "
            f"--dataset={name} if that is meant."
        )
    check_data(support, dataset)
    return dataset


def check_data(support: SupportSet, dataset: Dataset) -> None:
    """Raises a `UsageError` unless a support set can be tested on a data set.

    Image shape and classes must fit, class names and numbers must not contradict each other, and
    pixels must be in the units that the preprocessing was fitted to.
    """
    support.check_fits(dataset)
    check_test_data(
        dataset,
        "the support set",
        class_names=support.class_names,
        pixels=support.pixels,
        training_hash=support.metadata.get("training_hash"),
        images_hash=support.metadata.get("images_hash"),
        origin="distilled from",
    )


def random_set(support: SupportSet, dataset: Dataset, *, draw: int) -> SupportSet:
    """Returns equally many random real images, class-balanced, with fixed labels."""
    key = step_key(draw, Purpose.INIT)
    chosen = balanced_batch(key, dataset.y_train, len(support))
    return _real_set(support, dataset, chosen, f"random real images, draw {draw}")


def full_data_set(support: SupportSet, dataset: Dataset) -> SupportSet:
    """Returns all training images, preprocessed like the support set's."""
    return _real_set(support, dataset, np.arange(len(dataset.x_train)), "all training images")


def full_data_steps(augmentation: str) -> Callable[[str], int]:
    """Returns a function from the loss to the number of updates on the whole training set."""
    return lambda loss: _FULL_STEPS.get((augmentation, loss), _FULL_STEPS_AUGMENTED)


def _real_set(support: SupportSet, dataset: Dataset, chosen: np.ndarray, what: str) -> SupportSet:
    labels = ridge.one_hot(dataset.y_train[chosen], dataset.num_classes)
    facts = {"method": what, "learned_labels": False, "step": None, "test_accuracy": None}
    return SupportSet(
        support.preprocess(dataset.x_train[chosen]),
        labels,
        support.preprocessor,
        dict(support.metadata) | facts,
        function=support.function,
    )


def solve_labels(support: SupportSet, dataset: Dataset, reporter: Reporter) -> SupportSet:
    """Returns a set with Label Solve's labels over all training images, by its kernel and ridge.

    Cost: one pass of the kernel over the training images.

    Source: Nguyen et al. 2021, equation 2.
    """
    x, y = dataset.x_train, ridge.one_hot(dataset.y_train, dataset.num_classes)
    gram, cross = np.zeros((len(support), len(support))), np.zeros((len(support), y.shape[1]))
    for rows, block in support.kernel_blocks(x, raw=True):
        k_ts = block.astype(np.float64)
        gram += k_ts.T @ k_ts
        cross += k_ts.T @ y[rows]
        reporter.progress(Progress(rows.stop, len(x), unit="target"))
    k_ss = np.asarray(support.kernel_fn()(support.images))
    labels = ridge.label_solve(k_ss, gram, cross, ridge=support.ridge)
    return as_solved(support, labels)


def as_solved(support: SupportSet, labels: np.ndarray) -> SupportSet:
    """Returns a set with Label Solve's labels; raises a `FileError` if they do not fit."""
    if labels.shape != support.labels.shape:
        raise FileError("the file of finished points is damaged: solved labels do not fit.")
    facts = {"method": "Label Solve", "learned_labels": True}
    return dataclasses.replace(support, labels=labels, metadata=dict(support.metadata) | facts)
