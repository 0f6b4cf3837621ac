"""A whitening as a recipe: how to fit it again, and probes that prove the result the same.

A whitening matrix for 32 x 32 x 3 images takes 38 MB, the recipe 100 kB: the data set by name
and hash, the settings, and a few fixed probe images after whitening. The matrix cannot be
truncated instead: its leading 1,000 components are wrong by 3.6 %.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax.data.datasets import Dataset
from kipax.data.fit import fit_key, fit_preprocessor, read_cache, write_cache
from kipax.data.part import take_part
from kipax.data.preprocessing import Preprocessor
from kipax.data.sources import load_dataset
from kipax.errors import FileError, KipaxError, UsageError

__all__ = ["Deferred", "PreprocessingRecipe"]

_PROBES = 4
_TOLERANCE = (
    1e-4  # relative to the largest entry; another fit differs by 1e-2, another BLAS by 1e-6
)


@dataclasses.dataclass(frozen=True, eq=False)
class PreprocessingRecipe:
    """How a preprocessor was fitted, and its results on probe images.

    Attributes:
        name, settings: name and settings of the preprocessing.
        dataset: name by which the data set was loaded.
        training_hash: `Dataset.training_hash`.
        validation_examples: number of its training images that were held out of the fit.
        image_size: size to which its pictures were resized; None if they were not.
        span: smallest and largest training pixel.
        probes: fixed noise images ``(4, H, W, C)`` in raw units, float32.
        whitened: the probes after `apply`.
        training_examples: number of training images, held-out ones included; None in older files.
            It serves to find the images of a part (`kipax.data.part`) in the whole.
    """

    name: str
    settings: Mapping[str, Any]
    dataset: str
    training_hash: str
    validation_examples: int
    image_size: int | None
    span: tuple[float, float]
    probes: np.ndarray
    whitened: np.ndarray
    training_examples: int | None = None

    @classmethod
    def of(
        cls, preprocessor: Preprocessor, image_shape: tuple[int, ...], facts: Mapping[str, Any]
    ) -> PreprocessingRecipe:
        """Describes how a fitted preprocessor can be fitted again.

        Args:
            preprocessor: a preprocessor fitted on a data set.
            image_shape: height, width, channels.
            facts: ``dataset``, ``training_hash`` and ``validation_examples``.

        Raises:
            UsageError: the facts are incomplete, so that it could not be fitted again.
        """
        if isinstance(preprocessor, Deferred):
            return preprocessor.recipe
        try:
            where = str(facts["dataset"]), str(facts["training_hash"])
            held = int(facts["validation_examples"])
        except KeyError as error:
            raise UsageError(
                f"a recipe needs {error}, which this set's metadata lacks: save it with "
                "embed_preprocessor=True."
            ) from error
        low, high = preprocessor.low, preprocessor.high
        noise = np.random.default_rng(0).random((_PROBES, *image_shape))
        probes = (low + (high - low) * noise).astype(np.float32)
        return cls(
            preprocessor.name,
            preprocessor.settings,
            *where,
            held,
            facts.get("image_size"),
            (low, high),
            probes,
            preprocessor.apply(probes),
            facts.get("training_examples"),
        )

    def to_metadata(self) -> dict[str, Any]:
        """Returns the JSON-ready part of the recipe."""
        arrays = ("probes", "whitened")
        return {k: v for k, v in self.__dict__.items() if k not in arrays}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of the recipe."""
        return {"probes": self.probes, "whitened": self.whitened}

    @classmethod
    def from_parts(
        cls, metadata: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> PreprocessingRecipe:
        """Returns the recipe that `to_metadata` and `to_arrays` describe."""
        low, high = metadata["span"]
        probes, whitened = (np.asarray(arrays[name]) for name in ("probes", "whitened"))
        if probes.ndim != 4 or probes.shape != whitened.shape or probes.dtype.kind != "f":
            raise ValueError(f"its probes have the shapes {probes.shape} and {whitened.shape}")
        fields: dict[str, Any] = {**metadata, **arrays, "span": (float(low), float(high))}
        return cls(**fields)

    def restore(
        self, *, dataset: Dataset | str | None = None, data_dir: Path | str | None = None
    ) -> Preprocessor:
        """Returns the preprocessor, from the cache or fitted again, after a check on the probes.

        Args:
            dataset: the data set, or its name; None for the name in the recipe.
            data_dir: where TensorFlow Datasets lie.

        Raises:
            FileError: the data set is missing or another one, or the probes give other values.
        """
        key = fit_key(self.name, self.settings, self.training_hash, self.validation_examples)
        cached = read_cache(self.name, key)
        if cached is not None and self._error(cached) <= _TOLERANCE:
            return cached
        data = self._load(dataset, data_dir).hold_out(self.validation_examples)
        fitted = fit_preprocessor(self.name, data.x_train, **self.settings)
        error = self._error(fitted)
        if error > _TOLERANCE:
            raise FileError(
                f"the {self.name} whitening fitted again on {self.dataset} differs by {error:.1e} "
                f"on the probe images (at most {_TOLERANCE:g}): it is not the one that this set "
                "was made with."
            )
        write_cache(key, fitted)
        return fitted

    def _load(self, dataset: Dataset | str | None, data_dir: Path | str | None) -> Dataset:
        if not isinstance(dataset, Dataset):
            try:
                dataset = load_dataset(
                    dataset or self.dataset, data_dir=data_dir, image_size=self.image_size
                )
            except (KipaxError, ImportError) as error:
                raise FileError(
                    f"this set keeps its {self.name} whitening as a recipe, to be fitted again on "
                    f"{self.dataset}, which could not be loaded: {error} "
                    "kipax.load(..., dataset='npz:PATH') says where else it lies."
                ) from error
        found = self.find_in(dataset)
        if found is None:
            raise FileError(
                f"this set's whitening belongs to the training images of {self.dataset}; those of "
                f"{dataset.name} are others (their hash differs)."
            )
        return found

    def find_in(self, dataset: Dataset) -> Dataset | None:
        """Returns `dataset` or its part on which the recipe was made; None for another one.

        A part is a function of the whole and its size; the hash shows whether it is the same.
        """
        if dataset.training_hash == self.training_hash:
            return dataset
        examples = self.training_examples or 0
        if not dataset.num_classes <= examples < dataset.facts.train_examples:
            return None
        part = take_part(dataset, examples)
        return part if part.training_hash == self.training_hash else None

    def _error(self, preprocessor: Preprocessor) -> float:
        """Returns the largest deviation on the probes, relative to the largest entry."""
        found = preprocessor.apply(self.probes)
        return float(np.abs(found - self.whitened).max() / np.abs(self.whitened).max())


class Deferred:
    """A `Preprocessor` that is restored from its recipe when it is first needed.

    Args:
        recipe: the recipe to restore.
        dataset, data_dir: see `PreprocessingRecipe.restore`.
    """

    def __init__(
        self,
        recipe: PreprocessingRecipe,
        *,
        dataset: Dataset | str | None = None,
        data_dir: Path | str | None = None,
    ):
        self.recipe = recipe
        self.name = recipe.name
        self.low, self.high = recipe.span
        self.settings = dict(recipe.settings)
        self._where = {"dataset": dataset, "data_dir": data_dir}

    @functools.cached_property
    def _restored(self) -> Preprocessor:
        return self.recipe.restore(**self._where)  # type: ignore[arg-type]

    def apply(self, x: np.ndarray) -> np.ndarray:
        """See `Preprocessor.apply`; raises as `PreprocessingRecipe.restore`."""
        return self._restored.apply(x)

    def statistics(self, x: np.ndarray) -> np.ndarray:
        """See `Preprocessor.statistics`; raises as `PreprocessingRecipe.restore`."""
        return self._restored.statistics(x)

    def invert(self, x: np.ndarray, statistics: np.ndarray | None = None) -> np.ndarray:
        """See `Preprocessor.invert`; raises as `PreprocessingRecipe.restore`."""
        return self._restored.invert(x, statistics)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """See `Preprocessor.to_arrays`; raises as `PreprocessingRecipe.restore`."""
        return self._restored.to_arrays()
