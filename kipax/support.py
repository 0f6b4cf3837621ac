"""`SupportSet`: distilled images, their labels and everything needed to use them; one file.

The file's format is that of `kipax.support_file`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kipax import exports, files, plots, rendering, ridge, support_checks, support_file
from kipax.data import Dataset, Preprocessor
from kipax.data.raw import preprocess_raw
from kipax.data.recipe import Deferred
from kipax.errors import UsageError
from kipax.files import hash_arrays
from kipax.kernels import Description, KernelFn, KernelSpec, descriptions
from kipax.pixels import PixelFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SupportSet"]

_SCORE_PAIRS = 20_000  # kernel entries that `kernel_blocks` computes at once


@dataclasses.dataclass(frozen=True, eq=False)
class SupportSet:
    """A distilled set, with read-only arrays: `with_labels` or `dataclasses.replace` change a copy.

    A copy with other images has no `pictures`, which show the old ones.

    Attributes:
        images: float32 ``(n, H, W, C)`` in the preprocessed space; kernels and students take
            them unchanged, `to_uint8_images` makes pictures of them.
        labels: float32 ``(n, classes)``; centred one-hot where they were not learned.
        preprocessor: treats new images like the training images.
        metadata: JSON-ready facts: dataset, class_names, architecture, kernel, ridge, method,
            learned_labels, step, seed, accuracies with their protocol, kipax_version, and
            ``pixels``, the training images' `PixelFacts`.
        statistics: values of each image that the preprocessing dropped, float32 ``(n, k)``; with
            None pictures are drawn with those of a typical image.
        pictures: uint8 ``(n, H, W, C)`` in files that keep their whitening as a recipe, so
            that the images can be drawn without the whitening.
        backend: the backend of its kernels, see `kipax.make_kernel_fn`; not kept in files.
        function: the kernel, where the metadata name a function of the user's (an architecture
            ``python:NAME``); not kept in files.
        pictured: hash of the images that `pictures` show; it is computed if left empty.

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
    function: Callable[..., Any] | None = None
    pictured: str = ""

    def __post_init__(self) -> None:
        for field in ("images", "labels", "statistics"):
            given = getattr(self, field)
            if given is not None:
                object.__setattr__(self, field, support_checks.as_finite_single(given, field))
        if self.pictures is not None:
            shown = hash_arrays({"images": self.images})
            if self.pictured and self.pictured != shown:  # a copy with other images
                object.__setattr__(self, "pictures", None)
            object.__setattr__(self, "pictured", shown)
        support_checks.check_parts(self)
        self._lock()

    def _lock(self) -> None:
        """Makes the arrays read-only, since results computed from them are cached."""
        if self.pictures is not None:
            object.__setattr__(self, "pictures", np.array(self.pictures))
        for array in (self.images, self.labels, self.statistics, self.pictures):
            if array is not None:
                array.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock()  # copies and unpickled arrays are writeable

    # -- facts ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return tuple(self.metadata["class_names"])

    @property
    def architecture(self) -> Description:
        """The description of what it was distilled with: of a network, or of another kernel.

        See `kipax.kernels.descriptions`.
        """
        return descriptions.from_dict(self.metadata["architecture"], function=self.function)

    @property
    def kernel(self) -> str:
        """The name of the kernel it was distilled with; for a network "ntk" or "nngp"."""
        return self.metadata["kernel"]

    @property
    def ridge(self) -> float:
        """The relative ridge of its regression, see `kipax.ridge.solve`."""
        return self.metadata["ridge"]

    @property
    def pixels(self) -> PixelFacts:
        """The facts of the training images' pixels; for older sets only the range."""
        stored = self.metadata.get("pixels")
        if stored is None:
            return PixelFacts("", self.preprocessor.low, self.preprocessor.high)
        return PixelFacts.from_metadata(stored)

    def with_labels(self, labels: np.ndarray) -> SupportSet:
        """Returns the same images with other labels ``(n, classes)``; raises as `SupportSet`."""
        return dataclasses.replace(self, labels=labels)

    def fitted_on(self, dataset: Dataset) -> SupportSet:
        """Returns the set with its whitening fitted on `dataset`, if those are its training data.

        Of other data, and of a preprocessor that the file holds itself, the set is returned as it
        is. The fit is made when it is first needed.

        Args:
            dataset: data that may be those which the set was distilled from.
        """
        if not isinstance(self.preprocessor, Deferred):
            return self
        recipe = self.preprocessor.recipe
        found = recipe.find_in(dataset)
        if found is None:
            return self
        return dataclasses.replace(self, preprocessor=Deferred(recipe, dataset=found))

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel that the set was distilled with, and the backend that computes it."""
        return KernelSpec(self.architecture, self.kernel, self.backend)

    def kernel_fn(self) -> KernelFn:
        """Returns the kernel that it was distilled with.

        Raises:
            UsageError: it is a function of the user's that was not given.
        """
        return self.kernel_spec.make()

    # -- use -----------------------------------------------------------------------------

    def preprocess(self, x: np.ndarray) -> np.ndarray:
        """Turns raw images ``(n, H, W[, C])``, in training pixel units, into kernel inputs.

        Warns where they cannot be on the training images' scale, see `PixelFacts.mismatch`.

        Raises:
            UsageError: the images have another size, layout or number of channels, or are
                not finite numbers.
        """
        return preprocess_raw(
            x,
            image_shape=self.images.shape[1:],
            pixels=self.pixels,
            preprocessor=self.preprocessor,
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
        """Returns the kernel ridge regression scores ``k_ts k_reg^-1 labels`` of raw images.

        Args:
            x: raw images ``(n, H, W[, C])``.

        Returns:
            float64 ``(n, classes)``; the largest entry of a row is the prediction.

        Cost: n times len(self) kernel entries, a block at a time.
        """
        return self.scores_of_preprocessed(self.preprocess(x))

    def scores_of_preprocessed(self, targets: np.ndarray) -> np.ndarray:
        """Returns `scores` of images that are already preprocessed."""
        blocks = [ridge.predict(k_ts, self._alpha) for _, k_ts in self.kernel_blocks(targets)]
        return np.concatenate([np.zeros((0, self.labels.shape[1])), *blocks])

    def kernel_blocks(
        self, x: np.ndarray, *, raw: bool = False
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields ``k_ts`` of many images against this set, some rows at a time.

        Args:
            x: preprocessed images ``(n, H, W, C)``.
            raw: whether x is raw; then `preprocess` is applied, some rows at a time.

        Yields:
            A slice of x and its ``k_ts``, float32 ``(rows, len(self))``; the last may be shorter.
        """
        kernel_fn = self.kernel_fn()
        rows = min(len(x), max(1, _SCORE_PAIRS // len(self)))
        for start in range(0, len(x), rows or 1):
            part = x[start : start + rows]
            if raw:
                part = self.preprocess(part)
            # All blocks have one shape, so that one program is compiled.
            whole = np.pad(part, [(0, rows - len(part))] + [(0, 0)] * 3, mode="edge")
            k_ts = np.asarray(kernel_fn(whole, self.images))
            yield slice(start, start + len(part)), k_ts[: len(part)]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the classes ``(n,)`` of raw images; see `scores`."""
        return np.argmax(self.scores(x), axis=1)

    @property
    def _alpha(self) -> np.ndarray:
        """The weights alpha of kernel ridge regression; cached for each kernel and ridge."""
        facts = json.dumps([self.architecture.to_dict(), self.kernel, float(self.ridge)])
        if facts not in self._solved:
            k_ss = np.asarray(self.kernel_fn()(self.images))
            self._solved[facts] = ridge.solve(k_ss, self.labels, ridge=self.ridge).alpha
        return self._solved[facts]

    @functools.cached_property
    def _solved(self) -> dict[str, np.ndarray]:
        return {}

    def to_uint8_images(self) -> np.ndarray:
        """Returns uint8 pictures ``(n, H, W, C)``: preprocessing undone, training range to 0..255.

        They are no inputs of `predict` where training pixels had another range (digits: 0..16).
        """
        return rendering.to_uint8(self)

    # -- words and pictures --------------------------------------------------------------

    def __str__(self) -> str:
        return rendering.describe(self)

    __repr__ = __str__

    def plot(self) -> Figure:
        """Returns a `matplotlib.figure.Figure` of the images, a row per class by top label.

        Raises:
            ImportError: matplotlib is missing; the message names the extra.
        """
        return rendering.draw(self)

    def _repr_html_(self) -> str:
        """Returns the HTML for a notebook: the sentence and, with matplotlib, the images."""
        return rendering.to_html(self)

    # -- for other tools -----------------------------------------------------------------

    def to_arrays(self, layout: str = "NHWC", *, preprocessed: bool = True) -> dict:
        """Returns ``images``, ``labels`` (classes) and ``soft_labels``, to train any network.

        Args:
            layout: ``NHWC`` or ``NCHW``.
            preprocessed: True for float32 images as `preprocess` makes them, which a network
                trained on these takes as inputs; False for uint8 pictures, stretched to 0..255.

        See `kipax.exports.to_arrays`.
        """
        images = self.images if preprocessed else self.to_uint8_images()
        return exports.to_arrays(images, self.labels, layout)

    def to_torch(self, *, preprocessed: bool = True) -> dict:
        """Returns the result of `to_arrays` in the layout NCHW, as torch tensors.

        Raises:
            ImportError: torch is not installed.
        """
        images = self.images if preprocessed else self.to_uint8_images()
        return exports.to_torch(images, self.labels)

    def save_png(self, path: Path | str) -> None:
        """Writes `plot` as one PNG. Needs matplotlib."""
        files.write_bytes(path, plots.to_png(self.plot()))

    def save_folder(self, folder: Path | str) -> None:
        """Writes one PNG per image, one folder per class, and ``labels.csv``, to a new folder.

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
            path: the file to write.
            embed_preprocessor: False keeps a whitening of more than 1 MB as a recipe (data
                set, settings, probes): the file stays small, and after loading the
                whitening is fitted again, or taken from the cache, when it is first needed.
            preprocessor_dir: if given, a preprocessor of more than 1 MB is written there once,
                under its hash, and the file refers to it: for checkpoints, whose folder is
                this one or below it.

        Raises:
            FileError: the file could not be written; an older file stays unchanged.
            UsageError: the metadata do not contain what fitting the whitening again needs.
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
