"""`SupportSet`: distilled images, their labels and everything needed to use them; one file.

The file is a plain npz without pickles: ``images``, ``labels``, ``preprocessor_*`` arrays and
``metadata``, one JSON string. It holds no wall-clock time, so that equal runs give equal
bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kipax import files, plots, ridge
from kipax.architectures import Architecture
from kipax.data.preprocessing import Preprocessor, from_arrays, hash_arrays
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kernels import KernelFn, make_kernel_fn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMAT_VERSION", "SupportSet", "load"]

FORMAT_VERSION = 1
_REQUIRED = ("images", "labels", "metadata")
_PREFIX = "preprocessor_"
_LARGE_PREPROCESSOR_BYTES = 1_000_000
_SCORE_PAIRS = 20_000  # kernel entries computed at once by `scores`


@dataclasses.dataclass(frozen=True, eq=False)
class SupportSet:
    """A distilled set.

    Attributes:
        images: float32 ``(n, H, W, C)`` in the preprocessed space; kernels and students take
            them as they are, `to_uint8_images` shows them.
        labels: float32 ``(n, classes)``; centred one-hot where they were not learned.
        preprocessor: treats new images as the training images were.
        metadata: JSON-ready facts: dataset, class_names, architecture, kernel, ridge, method,
            learned_labels, step, seed, accuracies with their protocol, kipax_version.

    Raises:
        UsageError: images, labels or class names do not fit together.
    """

    images: np.ndarray
    labels: np.ndarray
    preprocessor: Preprocessor
    metadata: Mapping[str, Any]

    def __post_init__(self) -> None:
        for field in ("images", "labels"):
            value = np.asarray(getattr(self, field))
            if value.dtype.kind != "f" or not np.all(np.isfinite(value)):
                raise UsageError(f"{field} of a support set must be finite floating-point numbers.")
            object.__setattr__(self, field, value.astype(np.float32))
        if self.images.ndim != 4 or self.labels.ndim != 2 or len(self.images) != len(self.labels):
            raise UsageError(
                "a support set has images (n, height, width, channels) and labels (n, classes); "
                f"got {self.images.shape} and {self.labels.shape}."
            )
        if self.labels.shape[1] != len(self.class_names):
            raise UsageError(
                f"labels have {self.labels.shape[1]} classes but there are "
                f"{len(self.class_names)} class names."
            )

    # -- facts ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return tuple(self.metadata["class_names"])

    @property
    def architecture(self) -> Architecture:
        """The network whose kernel it was distilled with."""
        return Architecture.from_dict(self.metadata["architecture"])

    def kernel_fn(self) -> KernelFn:
        """The kernel that it was distilled with."""
        return make_kernel_fn(self.architecture, kind=self.metadata["kernel"])

    # -- use -----------------------------------------------------------------------------

    def preprocess(self, x: np.ndarray) -> np.ndarray:
        """Raw images ``(n, H, W[, C])``, pixel units as in the training set, to kernel inputs.

        Raises:
            UsageError: the images have another size or number of channels.
        """
        x = np.asarray(x)
        if x.ndim == 3:
            x = x[..., None]
        if x.shape[1:] != self.images.shape[1:]:
            raise UsageError(
                f"images must have the shape (n, {', '.join(map(str, self.images.shape[1:]))}); "
                f"got {x.shape}."
            )
        return self.preprocessor.apply(x)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Kernel ridge regression's scores of raw images: ``k_ts k_reg^-1 labels``.

        Args:
            x: raw images ``(n, H, W[, C])``.

        Returns:
            float64 ``(n, classes)``; the largest entry of a row is the prediction.

        Cost: n times len(self) kernel entries, a block at a time.
        """
        targets, kernel_fn = self.preprocess(x), self.kernel_fn()
        alpha, rows = self._alpha, max(1, _SCORE_PAIRS // len(self))
        scores = np.zeros((len(targets), self.labels.shape[1]))
        for start in range(0, len(targets), rows):
            part = targets[start : start + rows]
            padding = [(0, min(rows, len(targets)) - len(part))] + [(0, 0)] * 3
            k_ts = np.asarray(kernel_fn(np.pad(part, padding, mode="edge"), self.images))
            scores[start : start + rows] = ridge.predict(k_ts[: len(part)], alpha)
        return scores

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes ``(n,)`` of raw images; see `scores`."""
        return np.argmax(self.scores(x), axis=1)

    @functools.cached_property
    def _alpha(self) -> np.ndarray:
        k_ss = np.asarray(self.kernel_fn()(self.images))
        return ridge.solve(k_ss, self.labels, ridge=self.metadata["ridge"]).alpha

    def to_uint8_images(self) -> np.ndarray:
        """Pictures ``(n, H, W, C)`` uint8: preprocessing undone, training range to 0..255."""
        raw = self.preprocessor.invert(self.images)
        low, high = self.preprocessor.low, self.preprocessor.high
        scaled = (raw - low) * (255.0 / max(high - low, 1e-12))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

    # -- words and pictures --------------------------------------------------------------

    def __str__(self) -> str:
        m = self.metadata
        height, width, channels = self.images.shape[1:]
        labels = "learned labels" if m.get("learned_labels") else "fixed labels"
        sentence = (
            f"{len(self)} images of {height}×{width}×{channels} ({len(self.class_names)} classes) "
            f"from {m['dataset']} by {m['method']} with the {m['kernel'].upper()} of "
            f"{self.architecture.name}, {self.preprocessor.name} preprocessing, {labels}"
        )
        if m.get("step") is not None:
            sentence += f", step {m['step']}"
        accuracy = m.get("test_accuracy")
        if accuracy is not None:
            sentence += f"; test accuracy {accuracy:.3f} ({m['protocol']})"
        return sentence + "."

    __repr__ = __str__

    def plot(self) -> Figure:
        """The images, one row a class by largest label: a `matplotlib.figure.Figure`.

        Raises:
            ImportError: matplotlib is missing; the message names the extra.
        """
        classes = np.argmax(self.labels, axis=1)
        return plots.draw_images({"": self.to_uint8_images()}, classes, self.class_names)

    def _repr_html_(self) -> str:
        """What a notebook shows: the sentence and, with matplotlib, the images."""
        sentence = f"<p>{html.escape(str(self))}</p>"
        try:
            png = base64.b64encode(plots.to_png(self.plot())).decode()
        except ImportError:
            return sentence
        return f'{sentence}<img src="data:image/png;base64,{png}">'

    # -- files ---------------------------------------------------------------------------

    def save(self, path: Path | str, *, preprocessor_dir: Path | str | None = None) -> None:
        """Writes one npz, atomically.

        Args:
            path: where to.
            preprocessor_dir: if given, a preprocessor of more than 1 MB is written there once,
                under its hash, and the file refers to it: for checkpoints, whose folder is
                this one or below it.

        Raises:
            FileError: it could not be written; an older file stays as it was.
        """
        arrays, metadata = self.preprocessor.to_arrays(), dict(self.metadata)
        metadata |= {"format_version": FORMAT_VERSION, "preprocessing": self.preprocessor.name}
        size = sum(a.nbytes for a in arrays.values())
        if preprocessor_dir is not None and size > _LARGE_PREPROCESSOR_BYTES:
            digest = hash_arrays(arrays)
            store = Path(preprocessor_dir) / _store_name(digest)
            if not store.exists():
                files.write_npz(store, arrays)
            arrays, metadata["preprocessor_hash"] = {}, digest
        content = {"images": self.images, "labels": self.labels}
        content |= {_PREFIX + name: a for name, a in arrays.items()}
        content["metadata"] = np.array(json.dumps(metadata, sort_keys=True))
        files.write_npz(path, content)


def _store_name(digest: str) -> str:
    return f"preprocessor-{digest[:16]}.npz"


def load(path: Path | str) -> SupportSet:
    """Reads a support set that kipax wrote: ``kipax.load("runs/.../support.npz")``.

    Raises:
        FileError: the file is missing, damaged, truncated, foreign, or from a newer kipax.

    Example:
        >>> kipax.load("missing.npz")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        kipax.errors.FileError: could not read missing.npz: No such file or directory.
    """
    path = Path(path)
    arrays = files.read_npz(path)
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise FileError(
            f"{path} is no support set: it lacks {', '.join(missing)}; it holds "
            f"{', '.join(arrays) or 'nothing'}."
        )
    try:
        metadata = json.loads(str(arrays["metadata"][()]))
        version = metadata.pop("format_version")
        if version != FORMAT_VERSION:
            raise FileError(
                f"{path} has format version {version}; this kipax reads {FORMAT_VERSION}: "
                "upgrade kipax."
            )
        digest = metadata.pop("preprocessor_hash", None)
        stored = _read_store(path, digest) if digest else _preprocessor_arrays(arrays)
        preprocessor = from_arrays(metadata.pop("preprocessing"), stored)
        support = SupportSet(arrays["images"], arrays["labels"], preprocessor, metadata)
        str(support)  # touches every field of the metadata that the set itself needs
        return support
    except FileError:
        raise
    except KeyError as error:
        raise FileError(f"{path} is damaged: its metadata lacks {error}.") from error
    except (KipaxError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is damaged: {error}") from error


def _preprocessor_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(_PREFIX): v for k, v in arrays.items() if k.startswith(_PREFIX)}


def _read_store(path: Path, digest: str) -> dict[str, np.ndarray]:
    """The preprocessor of a checkpoint, from its folder or the one above."""
    name = _store_name(digest)
    for folder in (path.parent, path.parent.parent):
        if (folder / name).exists():
            arrays = files.read_npz(folder / name)
            if hash_arrays(arrays) != digest:
                raise FileError(f"{folder / name} is damaged: its hash is another.")
            return arrays
    raise FileError(
        f"{path} needs {name} beside it or one folder up, where the run stored its preprocessor."
    )
