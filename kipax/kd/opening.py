"""Opens the teacher that a command line names, and the data to test on."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kipax import files, shipped
from kipax.data import Dataset, load_dataset
from kipax.data.testing import check_test_data
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kd.teachers import NetworkTeacher, Teacher, kernel_teacher
from kipax.loading import load
from kipax.networks import NETWORK_FILE, load_network
from kipax.report import Reporter

__all__ = ["check_fits", "find_own_data", "open_teacher", "open_test_data"]

_PYTHON = "python:"


def open_teacher(text: str, *, data_dir: str | None, reporter: Reporter) -> Teacher:
    """Opens the teacher that a text names.

    Args:
        text: a network's file or run, a distilled set's file, run or shipped name, or
            ``python:MODULE:NAME``, a `Teacher` or a function that returns one.
        data_dir: folder of TensorFlow Datasets.
        reporter: is told how a distilled set's scores became logits.

    Raises:
        UsageError: there is no such teacher, or the Python object is not a `Teacher`.
        FileError: a file is damaged.
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
    return kernel_teacher(support, _validation_data(support.metadata, data_dir, reporter))


def _is_network(path: Path) -> bool:
    if not path.is_file():
        return False
    facts = files.read_npz(path, optional=["metadata"]).get("metadata")
    return facts is not None and '"kind": "network"' in str(facts)


def _of_python(text: str) -> Teacher:
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"a teacher of Python is python:MODULE:NAME; got python:{text}.")
    here = os.getcwd()
    sys.path.insert(0, here)  # a module of the user's lies in the current folder
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"python:{text} names no teacher: {error}.") from error
    finally:
        sys.path.remove(here)
    made = found() if callable(found) else found
    if not isinstance(made, Teacher):
        raise UsageError(
            f"python:{text} must be or return a kipax.kd.Teacher, such as a FunctionTeacher; got a "
            f"{type(made).__name__}."
        )
    return made


def _validation_data(facts: Any, data_dir: str | None, reporter: Reporter) -> Dataset | None:
    """Returns a distilled set's own data with held-out images; None if they are not available."""
    try:
        data = load_dataset(str(facts["dataset"]), data_dir=data_dir)
        return data.hold_out(min(500, len(data.x_train) // 10))
    except (KipaxError, ImportError) as error:
        reporter.say(f"the set's scores are multiplied by 10, chosen on no data: {error}")
        return None


def open_test_data(
    name: str | None,
    teacher: Teacher,
    *,
    data_dir: str | None,
    image_size: int | None = None,
    reporter: Reporter,
) -> Dataset | None:
    """Loads the data that a student is tested on.

    Args:
        name: the name that the user gave; None for the teacher's own data, "none" for none.
        teacher: the student's teacher, which the data must fit.
        data_dir: folder of TensorFlow Datasets.
        image_size: side in pixels of pictures of differing sizes.
        reporter: is told why the teacher's own data are not available.

    Returns:
        The data; None if there are none.

    Raises:
        UsageError: the data do not fit the teacher.
    """
    own = teacher.domain.dataset
    if name == "none" or (name is None and not own):
        return None
    try:
        data = load_dataset(name or own, data_dir=data_dir, image_size=image_size)
    except (KipaxError, ImportError) as error:
        if name is not None:
            raise
        reporter.say(f"no test accuracy, unless --dataset says where the data lie: {error}")
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
