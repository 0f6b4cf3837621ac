"""Image classification sets from TensorFlow Datasets, without TensorFlow where possible.

A set stored as array_record or parquet is read by tensorflow-datasets alone (the extra
``data``); one stored as tfrecord, and the preparation of most sets, needs TensorFlow as well
(the extra ``tfds``), which is kept off the GPU.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kipax.data.content import split_by_content
from kipax.data.known import KNOWN
from kipax.data.resize import Picture, fit_pictures, import_pillow
from kipax.errors import FileError, UsageError

__all__ = ["is_installed", "is_registered", "read_tfds"]

# Any answer from any of these hosts, where the sets lie, means that there is a network.
_HOSTS = ("https://storage.googleapis.com", "https://www.cs.toronto.edu", "https://github.com")
_SECONDS_TO_ANSWER = 3.0
_TEST_SPLITS = ("test", "validation")


def read_tfds(
    name: str, *, data_dir: Path | str | None = None, image_size: int | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """Reads a set, preparing it first where there is a network.

    Args:
        name: as in the catalogue of TensorFlow Datasets.
        data_dir: the folder of prepared sets; None for TFDS's own (``TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``).
        image_size: for sets of pictures of differing sizes, see `fit_pictures`.

    Returns:
        ``x_train y_train x_test y_test label_names`` in stored order, and what was done to the
        pictures. A set without a test or validation part is split by content.

    Raises:
        ImportError: tensorflow-datasets, or TensorFlow where needed, is missing; names the
            extra.
        UsageError: the name is unknown, or the set does not hold labelled images.
        FileError: it is not in `data_dir` and there is no network, or it cannot be prepared.
    """
    with _quiet():
        builder = _make_builder(name, data_dir)
        keys = _image_and_label(name, builder)
        if not builder.is_prepared():
            builder = _prepare(name, builder)
        splits = builder.info.splits
        test = next((s for s in _TEST_SPLITS if s in splits), None)
        parts = ["train"] + ([test] if test else [])
        read = [_read_split(name, builder, part, keys) for part in parts]
        pictures = [picture for part in read for picture in part[0]]
        x, note = _stack(pictures, image_size)
        y = np.concatenate([part[1] for part in read])
    names = _class_names(name, builder.info.features[keys[1]])
    if test is None:
        arrays = split_by_content(x, y, names)
    else:
        n = len(read[0][1])
        arrays = {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}
    return arrays | {"label_names": np.array(names)}, note


def is_installed() -> bool:
    """Returns whether tensorflow-datasets is installed."""
    try:
        _import_tfds()
    except ImportError:
        return False
    return True


def is_registered(name: str) -> bool:
    """Returns whether tensorflow-datasets knows ``NAME``, ``NAME/CONFIG`` or ``NAME:VERSION``."""
    if not is_installed():
        return False
    with _quiet():
        known = _import_tfds().list_builders(with_community_datasets=False)
    return re.split("[/:]", name)[0] in known


def _import_tfds() -> ModuleType:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "data sets by name need tensorflow-datasets: pip install 'kipax[data]' (digits and "
            "npz:PATH need nothing)."
        ) from error
    return tfds


def _import_tensorflow(why: str) -> ModuleType:
    """Imports TensorFlow and makes it leave the accelerators to JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(f"{why} needs TensorFlow: pip install 'kipax[tfds]'") from error
    with contextlib.suppress(RuntimeError):  # its runtime has already started
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_visible_devices([], "TPU")
    return tf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the warnings of TFDS about folders that do not exist yet."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _make_builder(name: str, data_dir: Path | str | None) -> Any:
    tfds = _import_tfds()
    try:
        return tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
    except tfds.core.DatasetNotFoundError:
        raise UsageError(f"TensorFlow Datasets knows no data set {name!r}.") from None
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs TensorFlow: pip install 'kipax[tfds]'") from error
    except (ValueError, AttributeError, OSError) as error:
        raise FileError(f"could not open the data set {name}: {_first_line(error)}") from error


def _image_and_label(name: str, builder: Any) -> tuple[str, str]:
    """Returns the keys of the image and of its class."""
    tfds = _import_tfds()
    features, keys = builder.info.features, builder.info.supervised_keys
    ok = isinstance(keys, tuple) and len(keys) == 2 and hasattr(features, "keys")
    if ok:
        image, label = (features[k] for k in keys)
        of_images = isinstance(image, tfds.features.Image) or (
            isinstance(image, tfds.features.Tensor) and len(image.shape) == 3
        )
        if of_images and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise UsageError(f"{name} is no image classification set: it must pair an image and a class.")


def _prepare(name: str, builder: Any) -> Any:
    """Downloads and stores a set in a format read without TensorFlow; returns its builder."""
    folder = Path(builder.data_path).parents[1 if builder.builder_config is None else 2]
    if not _has_network():
        raise FileError(
            f"{name} is not in {folder} and there is no network: put the prepared TFDS folder "
            f"there or name its parent as data_dir, or use dataset=npz:PATH or folder:PATH."
        )
    _import_tensorflow(f"preparing {name}")
    tfds = _import_tfds()
    try:
        tfds.builder(name, data_dir=str(folder), file_format="array_record").download_and_prepare()
    except Exception as error:  # a download and the sets' scripts may raise any kind
        raise FileError(f"could not prepare {name} in {folder}: {_first_line(error)}") from error
    return _make_builder(name, folder)  # a new one, which reads what was stored


def _has_network() -> bool:
    for host in _HOSTS:
        try:
            request = urllib.request.Request(host, method="HEAD")
            urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            continue
        return True
    return False


def _read_split(
    name: str, builder: Any, split: str, keys: tuple[str, str]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the images and classes of one part, in stored order."""
    tfds = _import_tfds()
    try:
        if builder.info.file_format in (
            tfds.core.FileFormat.ARRAY_RECORD,
            tfds.core.FileFormat.PARQUET,
        ):
            source: Any = builder.as_data_source(split=split)
            examples: Any = (source[i] for i in range(len(source)))
        else:
            stored = builder.info.file_format.value
            _import_tensorflow(f"{name}, stored as {stored} in {builder.data_path},")
            examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        pairs = [(np.asarray(e[keys[0]]), int(e[keys[1]])) for e in examples]
    except (OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise FileError(f"could not read {builder.data_path}: {_first_line(error)}") from error
    return [image for image, _ in pairs], np.array([label for _, label in pairs], np.int64)


def _stack(images: list[np.ndarray], image_size: int | None) -> tuple[np.ndarray, str]:
    shapes = {image.shape for image in images}
    if len(shapes) == 1 and image_size in (None, next(iter(shapes))[0]):
        return np.stack(images), ""
    make = import_pillow().Image.fromarray
    pictures = [make(i[..., 0] if i.shape[-1] == 1 else i) for i in images]
    return fit_pictures(
        [Picture.of(p, functools.partial(_itself, p)) for p in pictures], image_size
    )


def _itself(picture: Any) -> Any:
    return picture


def _class_names(name: str, label: Any) -> list[str]:
    if name in KNOWN:  # in the catalogue some have numbers for names
        return list(KNOWN[name].class_names)
    return list(label.names)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{text[0] if text else type(error).__name__}"
