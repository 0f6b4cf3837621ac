"""Opens the teacher that a command line names, and the data to test on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files, shipped
from kipax.config import import_object
from kipax.data import Dataset, load_dataset
from kipax.data.testing import check_test_data
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kd.config import KDConfig
from kipax.kd.teachers import NetworkTeacher, Teacher, kernel_teacher
from kipax.loading import load
from kipax.networks import NETWORK_FILE, load_network
from kipax.report import Reporter

__all__ = [
    "check_fits",
    "check_preprocessing",
    "find_own_data",
    "load_own_data",
    "open_teacher",
    "open_teacher_and_data",
]

_PYTHON = "python:"


def open_teacher_and_data(
    config: KDConfig,
    *,
    teacher: Teacher | None = None,
    dataset: Dataset | None = None,
    reporter: Reporter,
) -> tuple[Teacher, Dataset | None]:
    """Opens the teacher and the data to test on that a config names.

    Args:
        config: the config.
        teacher: the teacher, if it is open already.
        dataset: the data, if they are loaded already.
        reporter: is told why the teacher's own data are not available.

    Returns:
        The teacher, and the data: those of ``config.dataset``, else the teacher's own; None if
        there are none.

    Raises:
        UsageError: there is no such teacher, or the data do not fit it.
        FileError: a file is damaged, or a distilled set's whitening cannot be fitted here.
    """
    if dataset is None and config.dataset not in (None, "none"):
        dataset = load_dataset(
            str(config.dataset), data_dir=config.data_dir, image_size=config.image_size
        )
    if teacher is None:
        teacher = open_teacher(config.teacher, dataset=dataset, data_dir=config.data_dir)
    if dataset is not None:
        check_fits(dataset, teacher)
    elif config.dataset is None:
        dataset = load_own_data(teacher, config, reporter)
    return teacher, dataset


def open_teacher(
    text: str, *, dataset: Dataset | None = None, data_dir: str | None = None
) -> Teacher:
    """Opens the teacher that a text names.

    Args:
        text: a network's file or run, a distilled set's file, run or shipped name, or
            ``python:MODULE:NAME``, a `Teacher` or a function that returns one.
        dataset: data that may be a distilled set's own; a whitening that it keeps as a recipe is
            then fitted on them.
        data_dir: folder of TensorFlow Datasets, where the whitening's data are looked up otherwise.

    Raises:
        UsageError: there is no such teacher, or the Python object is not a `Teacher`.
        FileError: a file is damaged, or a whitening's data are not here.
    """
    if text.startswith(_PYTHON):
        return _of_python(text.removeprefix(_PYTHON))
    path = files.expand(text)
    if (path / NETWORK_FILE).is_file() or _is_network(path):
        return NetworkTeacher(load_network(path))
    if not path.exists() and shipped.find(text) is None:
        names = ", ".join(shipped.available())
        raise FileError(
            f"there is no teacher {text}: train one with kipax teacher, or name a file, a run, or "
            f"a distilled set that comes with kipax ({names})."
        )
    support = load(text, data_dir=data_dir)
    if dataset is not None:
        support = support.fitted_on(dataset)
    return kernel_teacher(support)


def _is_network(path: Path) -> bool:
    if not path.is_file():
        return False
    facts = files.read_npz(path, optional=["metadata"]).get("metadata")
    return facts is not None and '"kind": "network"' in str(facts)


def _of_python(text: str) -> Teacher:
    found = import_object(text, "teacher")
    made = found
    if callable(found) and not isinstance(found, Teacher):
        if not _takes_nothing(found):
            raise UsageError(
                f"python:{text} must be a kipax.kd.Teacher, or a function without arguments that "
                "returns one; this function has arguments: wrap it in a kipax.kd.FunctionTeacher."
            )
        made = found()
    if not isinstance(made, Teacher):
        raise UsageError(
            f"python:{text} must be or return a kipax.kd.Teacher, such as a FunctionTeacher; got a "
            f"{type(made).__name__}."
        )
    return made


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Returns whether a function takes no arguments; True if Python does not know its signature."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def load_own_data(teacher: Teacher, config: KDConfig, reporter: Reporter) -> Dataset | None:
    """Returns the data that a teacher was trained on; None if it names none or they are not here.

    Args:
        teacher: the teacher.
        config: says where data lie.
        reporter: is told why they are not here.

    Raises:
        UsageError: the data of that name do not fit the teacher.
    """
    own = teacher.domain.dataset
    if not own:
        return None
    try:
        data = load_dataset(own, data_dir=config.data_dir, image_size=config.image_size)
    except (KipaxError, ImportError) as error:
        reporter.say(f"no test accuracy, unless --dataset says where the data lie: {error}")
        return None
    known = teacher.domain.training_hash
    if known and data.training_hash != known:
        reporter.say(
            f"no test accuracy, unless --dataset says where the data lie: {own} has other images "
            "here than the data set of this name that the teacher was trained on"
        )
        return None
    check_fits(data, teacher)
    return data


def check_fits(data: Dataset, teacher: Teacher) -> None:
    """Raises a `UsageError` for data of other images, classes or units than a teacher's."""
    domain = teacher.domain
    shape, classes = domain.space.shape, len(domain.class_names)
    if data.image_shape != shape or data.num_classes != classes:
        raise UsageError(
            f"the teacher takes images {shape} of {classes} classes; {data.name} has "
            f"{data.image_shape} and {data.num_classes}: name fitting data with --dataset."
        )
    check_test_data(
        data,
        "the teacher",
        class_names=domain.class_names,
        pixels=domain.pixels,
        training_hash=domain.training_hash,
        images_hash=domain.images_hash,
        origin="trained on",
    )


def check_preprocessing(teacher: Teacher) -> None:
    """Tries the preprocessing on one blank image, so that missing data are reported early.

    Raises:
        FileError: the data that the whitening is fitted on are not here.
    """
    domain = teacher.domain
    blank = np.full((1, *domain.space.shape), domain.space.low, np.float32)
    try:
        domain.preprocessor.apply(blank)
    except FileError as error:
        raise FileError(f"{error} A command line says so with --dataset=npz:PATH.") from error


def find_own_data(
    teacher: Teacher, given: Dataset | None, load: Callable[[], Dataset | None]
) -> Dataset:
    """Returns the data that a teacher was trained on.

    Args:
        teacher: the teacher.
        given: the test data, which may be the teacher's own.
        load: loads the data of the name that the teacher knows; called if `given` are others.

    Raises:
        UsageError: neither are the teacher's own data.
    """
    known = teacher.domain.training_hash
    for find in (lambda: given, load):
        data = find()
        if data is not None and (not known or data.training_hash == known):
            return data
    raise UsageError(
        "the source data needs the images that the teacher was trained on, which are not here: "
        "say where they lie with --dataset, or name another source, such as photo or shaders."
    )
