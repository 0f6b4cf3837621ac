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
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kd.teachers import NetworkTeacher, Teacher, kernel_teacher
from kipax.loading import load
from kipax.networks import NETWORK_FILE, load_network
from kipax.report import Reporter

__all__ = ["check_test_data", "open_teacher", "open_test_data", "own_data"]

_PYTHON = "python:"
_TEACHERS_HAVE = (
    "space",
    "class_names",
    "preprocessor",
    "dataset",
    "training_hash",
    "pixels",
    "facts",
    "logits",
    "describe",
)


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
    made = found() if callable(found) and not hasattr(found, "logits") else found
    for needed in _TEACHERS_HAVE:
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
    name: str | None,
    teacher: Teacher,
    *,
    data_dir: str | None,
    image_size: int | None = None,
    reporter: Reporter,
) -> Dataset | None:
    """Opens the data that a student is tested on; None without any.

    Args:
        name: what the user said; None for the teacher's own, "none" for none.
        teacher: must fit it.
        data_dir: where TensorFlow Datasets lie.
        image_size: side in pixels that pictures of differing sizes get.
        reporter: hears why there are none.

    Raises:
        UsageError: the data do not fit the teacher.
    """
    if name == "none" or (name is None and not teacher.dataset):
        return None
    try:
        data = load_dataset(name or teacher.dataset, data_dir=data_dir, image_size=image_size)
    except (KipaxError, ImportError) as error:
        if name is not None:
            raise
        reporter.say(f"no test accuracy, unless --dataset says where the data lie: {error}")
        return None
    check_test_data(data, teacher)
    return data


def check_test_data(data: Dataset, teacher: Teacher) -> None:
    """Raises a `UsageError` for test data of other images, classes or units than the teacher's."""
    classes = len(teacher.class_names)
    if data.image_shape != teacher.space.shape or data.num_classes != classes:
        raise UsageError(
            f"the teacher takes images {teacher.space.shape} of {classes} classes; {data.name} has "
            f"{data.image_shape} and {data.num_classes}: name fitting data with --dataset."
        )
    names, own = data.class_names, teacher.class_names
    if names != own and set(names) == set(own):
        raise UsageError(
            f"the classes of {data.name} are the teacher's in another order, {', '.join(names)} "
            f"instead of {', '.join(own)}: give them in the teacher's."
        )
    if data.training_hash == teacher.training_hash:
        return  # its own data, whatever their test part is like
    what = f"the test images of {data.name}"
    words = teacher.pixels.mismatch(data.x_test, what, "the teacher's training images")
    if words is not None:
        raise UsageError(f"{words}: give images in the same units.")


def own_data(
    teacher: Teacher, given: Dataset | None, load: Callable[[], Dataset | None]
) -> Callable[[], Dataset]:
    """A function that gives the teacher's training images when a source asks for them.

    Args:
        teacher: whose.
        given: the test data, which may be the teacher's own set.
        load: loads the set of the teacher's name.

    Raises (when called):
        UsageError: they are not here.
    """

    def data() -> Dataset:
        known = teacher.training_hash
        for found in (lambda: given, load):
            one = found()
            if one is not None and (not known or one.training_hash == known):
                return one
        raise UsageError(
            "the source data needs the images that the teacher was trained on, which are not here: "
            "say where they lie with --dataset, or name another source, such as photo or shaders."
        )

    return data
