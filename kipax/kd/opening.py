"""Opens the teacher that a command line names, and the data to test on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kipax import files, shipped
from kipax.data import Dataset, load_dataset
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kd.teachers import NetworkTeacher, Teacher, kernel_teacher
from kipax.loading import load
from kipax.networks import NETWORK_FILE, load_network
from kipax.report import Reporter

__all__ = ["open_teacher", "open_test_data"]

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
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"python:{text} names no teacher: {error}.") from error
    made = found() if callable(found) and not hasattr(found, "logits") else found
    for needed in ("space", "class_names", "preprocessor", "facts", "logits", "describe"):
        if not hasattr(made, needed):
            raise UsageError(
                f"python:{text} must be or give a kipax.kd.Teacher, such as a FunctionTeacher; "
                f"got a {type(made).__name__} without {needed}."
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
    name: str | None, teacher: Teacher, *, data_dir: str | None, reporter: Reporter
) -> Dataset | None:
    """Opens the data that a student is tested on; None without any.

    Args:
        name: name of the data; None for the teacher's own, "none" for no test.
        teacher: the teacher, whose images and classes the data must have.
        data_dir: folder of TensorFlow Datasets.
        reporter: is told why there are no data.

    Raises:
        UsageError: the data do not fit the teacher.
    """
    if name == "none" or (name is None and not teacher.dataset):
        return None
    try:
        data = load_dataset(name or teacher.dataset, data_dir=data_dir)
    except (KipaxError, ImportError) as error:
        if name is not None:
            raise
        reporter.say(f"no test accuracy: {error}")
        return None
    classes = len(teacher.class_names)
    if data.image_shape != teacher.space.shape or data.num_classes != classes:
        raise UsageError(
            f"the teacher takes images {teacher.space.shape} of {classes} classes; {data.name} has "
            f"{data.image_shape} and {data.num_classes}: name fitting data with --dataset."
        )
    return data


def lazily(make: Callable[[], Dataset | None]) -> Callable[[], Dataset]:
    """Returns a function that makes the data when a source asks for them.

    Raises (when called):
        UsageError: there are no such data.
    """

    def data() -> Dataset:
        found = make()
        if found is None:
            raise UsageError(
                "the source data needs the teacher's own images, which are not here: name another "
                "source, such as photo or shaders."
            )
        return found

    return data
