"""`SupportSet`: distilled images, their labels and everything needed to use them; one file.

The file's format is that of `kipax.support_file`.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kipax import exports, files, plots, ridge, shipped, support_file
from kipax.architectures import Architecture
from kipax.data import Dataset, Preprocessor
from kipax.data.preprocessing import check_pixels
from kipax.errors import FileError, KipaxError, UsageError
from kipax.kernels import KernelFn, make_kernel_fn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SupportSet", "load"]

_SCORE_PAIRS = 20_000  # kernel entries computed at once by `kernel_blocks`


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
        statistics: what the preprocessing forgot of each image, float32 ``(n, k)``; None takes
            a typical image's where a picture is drawn.
        pictures: uint8 ``(n, H, W, C)`` in files that keep their whitening as a recipe, so
            that they can be drawn without it.
        backend: what computes its kernels, see `kipax.make_kernel_fn`; not kept in files.

    Raises:
        UsageError: images, labels or class names do not fit together.
    """

    images: np.ndarray
    labels: np.ndarray
    preprocessor: Preprocessor
    metadata: Mapping[str, Any]
    statistics: np.ndarray | None = None
    pictures: np.ndarray | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        for field in ("images", "labels"):
            value = np.asarray(getattr(self, field))
            with np.errstate(over="ignore"):
                single = value.astype(np.float32) if value.dtype.kind == "f" else None
            if single is None or not np.all(np.isfinite(single)):
                raise UsageError(f"{field} of a support set must be finite floating-point numbers.")
            object.__setattr__(self, field, single)
        if not len(self.images):
            raise UsageError("a support set has at least one image.")
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
        if self.statistics is not None and len(self.statistics) != len(self.images):
            raise UsageError(
                f"there are statistics of {len(self.statistics)} images for {len(self.images)}."
            )
        if self.pictures is not None and self.pictures.shape != self.images.shape:
            raise UsageError(
                f"pictures have the shape {self.pictures.shape}, images {self.images.shape}."
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
        kind = self.metadata["kernel"]
        return make_kernel_fn(self.architecture, kind=kind, backend=self.backend)

    # -- use -----------------------------------------------------------------------------

    def preprocess(self, x: np.ndarray) -> np.ndarray:
        """Raw images ``(n, H, W[, C])``, pixel units as in the training set, to kernel inputs.

        Warns where they look scaled otherwise than the training images.

        Raises:
            UsageError: the images have another size or number of channels, or hold what is no
                finite number.
        """
        x = np.asarray(x)
        if x.ndim == 3:
            x = x[..., None]
        if x.shape[1:] != self.images.shape[1:]:
            raise UsageError(
                f"images must have the shape (n, {', '.join(map(str, self.images.shape[1:]))}); "
                f"got {x.shape}."
            )
        check_pixels(x, "the images")
        if len(x):
            self._warn_of_units(x)
        return self.preprocessor.apply(x)

    def _warn_of_units(self, x: np.ndarray) -> None:
        """Pixels far beyond the training images' range, scaled to 0..1, or standardised."""
        low, high = self.preprocessor.low, self.preprocessor.high
        lowest, highest, beyond = float(x.min()), float(x.max()), 3 * (high - low)
        small = x.dtype.kind == "f" and low == 0 < high / 10
        scaled = small and lowest >= 0 and 0 < highest <= 1
        standardised = small and lowest < 0 and highest < high / 5
        if scaled or standardised or lowest < low - beyond or highest > high + beyond:
            warnings.warn(
                f"pixels of these images run from {lowest:g} to {highest:g}, those of the training "
                f"images from {low:g} to {high:g}: give images in the same units.",
                stacklevel=3,
            )

    def check_fits(self, dataset: Dataset) -> None:
        """Raises a `UsageError` unless a data set has this set's image shape and classes."""
        shape, classes = self.images.shape[1:], len(self.class_names)
        if dataset.image_shape != shape or dataset.num_classes != classes:
            raise UsageError(
                f"this support set takes images {shape} of {classes} classes; {dataset.name} has "
                f"{dataset.image_shape} and {dataset.num_classes}."
            )

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Kernel ridge regression's scores of raw images: ``k_ts k_reg^-1 labels``.

        Args:
            x: raw images ``(n, H, W[, C])``.

        Returns:
            float64 ``(n, classes)``; the largest entry of a row is the prediction.

        Cost: n times len(self) kernel entries, a block at a time.
        """
        return self.scores_of_preprocessed(self.preprocess(x))

    def scores_of_preprocessed(self, targets: np.ndarray) -> np.ndarray:
        """`scores` of images that went through `preprocess` already."""
        blocks = [ridge.predict(k_ts, self._alpha) for _, k_ts in self.kernel_blocks(targets)]
        return np.concatenate([np.zeros((0, self.labels.shape[1])), *blocks])

    def kernel_blocks(
        self, x: np.ndarray, *, raw: bool = False
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """``k_ts`` of many images against this set, some rows at a time.

        Args:
            x: preprocessed images ``(n, H, W, C)``.
            raw: x goes through `preprocess` first, likewise some rows at a time.

        Yields:
            A slice of x and its float32 ``(rows, len(self))``; the last may be shorter.
        """
        kernel_fn = self.kernel_fn()
        rows = min(len(x), max(1, _SCORE_PAIRS // len(self)))
        for start in range(0, len(x), rows or 1):
            part = x[start : start + rows]
            if raw:
                part = self.preprocess(part)
            # One shape for all, which compiles once.
            whole = np.pad(part, [(0, rows - len(part))] + [(0, 0)] * 3, mode="edge")
            k_ts = np.asarray(kernel_fn(whole, self.images))
            yield slice(start, start + len(part)), k_ts[: len(part)]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes ``(n,)`` of raw images; see `scores`."""
        return np.argmax(self.scores(x), axis=1)

    @functools.cached_property
    def _alpha(self) -> np.ndarray:
        k_ss = np.asarray(self.kernel_fn()(self.images))
        return ridge.solve(k_ss, self.labels, ridge=self.metadata["ridge"]).alpha

    def to_uint8_images(self) -> np.ndarray:
        """Pictures ``(n, H, W, C)`` uint8: preprocessing undone, training range to 0..255.

        Not what `predict` takes where the training pixels had another range (digits: 0..16).
        """
        if self.pictures is not None:
            return self.pictures.copy()
        raw = self.preprocessor.invert(self.images, self.statistics)
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

    # -- for other tools -----------------------------------------------------------------

    def to_arrays(self, layout: str = "NHWC", *, preprocessed: bool = True) -> dict:
        """``images``, ``labels`` (classes) and ``soft_labels``, to train a network of your own.

        Args:
            layout: ``NHWC`` or ``NCHW``.
            preprocessed: True for float32 images as `preprocess` makes them, which a network
                that is trained on these is given; False for uint8 pictures, stretched to 0..255.

        See `kipax.exports.to_arrays`.
        """
        images = self.images if preprocessed else self.to_uint8_images()
        return exports.to_arrays(images, self.labels, layout)

    def to_torch(self, *, preprocessed: bool = True) -> dict:
        """`to_arrays` in the layout NCHW, as torch tensors.

        Raises:
            ImportError: torch is not installed.
        """
        images = self.images if preprocessed else self.to_uint8_images()
        return exports.to_torch(images, self.labels)

    def save_png(self, path: Path | str) -> None:
        """Writes `plot` as one PNG. Needs matplotlib."""
        files.write_bytes(path, plots.to_png(self.plot()))

    def save_folder(self, folder: Path | str) -> None:
        """Writes a PNG an image, a folder a class, and ``labels.csv``, to a new folder.

        Needs Pillow.
        """
        exports.write_folder(folder, self.to_uint8_images(), self.labels, self.class_names)

    # -- files ---------------------------------------------------------------------------

    def save(
        self,
        path: Path | str,
        *,
        embed_preprocessor: bool = True,
        preprocessor_dir: Path | str | None = None,
    ) -> None:
        """Writes one npz, atomically.

        Args:
            path: where to.
            embed_preprocessor: False keeps a whitening of more than 1 MB as a recipe (data
                set, settings, probes): the file stays small, and whoever loads it fits the
                whitening again, or takes it from the cache, when it is first needed.
            preprocessor_dir: if given, a preprocessor of more than 1 MB is written there once,
                under its hash, and the file refers to it: for checkpoints, whose folder is
                this one or below it.

        Raises:
            FileError: it could not be written; an older file stays as it was.
            UsageError: the metadata does not say how to fit the whitening again.
        """
        pictures = None if embed_preprocessor else self.to_uint8_images()
        content = support_file.Content(
            self.images, self.labels, self.preprocessor, self.metadata, self.statistics, pictures
        )
        support_file.write(
            path,
            content,
            embed_preprocessor=embed_preprocessor,
            preprocessor_dir=preprocessor_dir,
        )


def load(
    path: Path | str, *, dataset: Dataset | str | None = None, data_dir: Path | str | None = None
) -> SupportSet:
    """Reads a support set that kipax wrote: ``kipax.load("runs/.../support.npz")``.

    Args:
        path: the file, a run's folder, or the name of a set that comes with kipax
            (`kipax.available`).
        dataset: the data set it was distilled from, or how `load_dataset` finds it here; of
            use only where the file keeps its whitening as a recipe.
        data_dir: where TensorFlow Datasets lie, likewise.

    Raises:
        FileError: the file is missing, damaged, truncated, foreign, or from a newer kipax.

    Example:
        >>> kipax.load("missing.npz")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        kipax.errors.FileError: could not read missing.npz: No such file or directory.
    """
    path = _resolve(path)
    try:
        content = support_file.read(path, dataset=dataset, data_dir=data_dir)
        support = SupportSet(**vars(content))
        _check_use(support)
        return support
    except FileError:
        raise
    except KeyError as error:
        raise FileError(f"{path} is damaged: its metadata lacks {error}.") from error
    except (KipaxError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {error}") from error


def _resolve(path: Path | str) -> Path:
    """A file as it is; a bare name is that of a shipped set."""
    file = Path(os.path.expanduser(path))
    if (file / "support.npz").is_file():
        return file / "support.npz"
    if file.is_file() or file.suffix or len(file.parts) > 1:
        return file
    found = shipped.find(path)
    if found is None:
        names = ", ".join(shipped.available()) or "none"
        raise FileError(
            f"there is no file {path} and no shipped set of that name; there are: {names}."
        )
    return found


def _check_use(support: SupportSet) -> None:
    """Touches every field of the metadata that the set itself needs."""
    str(support)
    support.kernel_fn()
    ridge_scale = support.metadata["ridge"]
    if isinstance(ridge_scale, bool) or not isinstance(ridge_scale, (int, float)):
        raise ValueError(f"its ridge is no number but {ridge_scale!r}.")
    if not 0 < ridge_scale < float("inf"):
        raise ValueError(f"its ridge is {ridge_scale}.")
