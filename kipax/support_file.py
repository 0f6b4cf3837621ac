"""The file of a support set: one plain npz, which is checked when it is read.

It holds ``images``, ``labels``, ``statistics`` (values that the preprocessing dropped) and
``metadata``, one JSON string, and one of three forms of the preprocessor: its arrays
(``preprocessor_*``), a recipe (``recipe_*`` and ``pictures``, since an image cannot be drawn
without the whitening), or, in a run's checkpoints, a hash under which the run's folder holds
it. No pickles, no wall-clock times: equal runs give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.data import Dataset, Preprocessor, from_arrays
from kipax.data.recipe import Deferred, PreprocessingRecipe
from kipax.errors import FileError, UsageError
from kipax.files import hash_arrays

__all__ = ["FORMAT_VERSION", "Content", "read", "write"]

FORMAT_VERSION = 1
_REQUIRED = ("images", "labels", "metadata")
_OPTIONAL = ("statistics", "pictures")
_PREPROCESSOR, _RECIPE = "preprocessor_", "recipe_"
_LARGE_BYTES = 1_000_000  # larger preprocessors are not repeated in every file


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """The content of a file; its fields are those of `kipax.SupportSet`."""

    images: np.ndarray
    labels: np.ndarray
    preprocessor: Preprocessor
    metadata: Mapping[str, Any]
    statistics: np.ndarray | None
    pictures: np.ndarray | None


def write(
    path: Path | str,
    content: Content,
    *,
    embed_preprocessor: bool = True,
    preprocessor_dir: Path | str | None = None,
) -> None:
    """Writes one npz, atomically; see `kipax.SupportSet.save`."""
    metadata = dict(content.metadata)
    metadata |= {"format_version": FORMAT_VERSION, "preprocessing": content.preprocessor.name}
    if embed_preprocessor:
        stored = _embed(content.preprocessor, metadata, preprocessor_dir)
    else:
        stored = _describe(content, metadata)
    arrays = {"images": content.images, "labels": content.labels} | stored
    if content.statistics is not None and content.statistics.size:
        arrays["statistics"] = content.statistics
    try:
        arrays["metadata"] = np.array(json.dumps(metadata, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"metadata of a support set must be JSON's plain values: {error}."
        ) from error
    files.write_npz(path, arrays)


def _embed(
    preprocessor: Preprocessor, metadata: dict[str, Any], folder: Path | str | None
) -> dict[str, np.ndarray]:
    """Returns the preprocessor's arrays; none if a folder keeps them under their hash."""
    arrays = preprocessor.to_arrays()
    if folder is None or sum(a.nbytes for a in arrays.values()) <= _LARGE_BYTES:
        return _prefixed(_PREPROCESSOR, arrays)
    digest = hash_arrays(arrays)
    store = files.expand(folder) / _store_name(digest)
    if not store.exists():
        files.write_npz(store, arrays)
    metadata["preprocessor_hash"] = digest
    return {}


def _describe(content: Content, metadata: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the recipe of a large preprocessor, or the arrays of a small one."""
    if not isinstance(content.preprocessor, Deferred):
        arrays = content.preprocessor.to_arrays()
        if sum(a.nbytes for a in arrays.values()) <= _LARGE_BYTES:
            return _prefixed(_PREPROCESSOR, arrays)
    facts = dict(content.metadata.get("config", {})) | dict(content.metadata)
    recipe = PreprocessingRecipe.of(content.preprocessor, content.images.shape[1:], facts)
    metadata["preprocessor_recipe"] = recipe.to_metadata()
    assert content.pictures is not None
    return _prefixed(_RECIPE, recipe.to_arrays()) | {"pictures": content.pictures}


def read(
    path: Path | str, *, dataset: Dataset | str | None = None, data_dir: Path | str | None = None
) -> Content:
    """Reads and checks a file; see `kipax.load`.

    Raises:
        FileError: the file is missing, damaged, truncated, foreign, or from a newer kipax.
        KeyError, TypeError, ValueError, AttributeError: the metadata have a wrong form.
    """
    path = files.expand(path)
    arrays = files.read_npz(path)
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise FileError(
            f"{path} is no support set: it lacks {', '.join(missing)}; it holds "
            f"{', '.join(arrays) or 'nothing'}."
        )
    metadata = json.loads(str(arrays["metadata"][()]))
    version = metadata.pop("format_version")
    if version != FORMAT_VERSION:
        raise FileError(
            f"{path} has format version {version}; this kipax reads {FORMAT_VERSION}: upgrade "
            "kipax."
        )
    name, digest = metadata.pop("preprocessing"), metadata.pop("preprocessor_hash", None)
    recipe = metadata.pop("preprocessor_recipe", None)
    if recipe is not None:
        made = PreprocessingRecipe.from_parts(recipe, _without(_RECIPE, arrays))
        preprocessor: Preprocessor = Deferred(made, dataset=dataset, data_dir=data_dir)
    else:
        stored = _read_store(path, digest) if digest else _without(_PREPROCESSOR, arrays)
        preprocessor = from_arrays(name, stored)
    optional = {name: arrays.get(name) for name in _OPTIONAL}
    return Content(arrays["images"], arrays["labels"], preprocessor, metadata, **optional)


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + name: a for name, a in arrays.items()}


def _without(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _store_name(digest: str) -> str:
    return f"preprocessor-{digest[:16]}.npz"


def _read_store(path: Path, digest: str) -> dict[str, np.ndarray]:
    """Returns the preprocessor of a checkpoint, from its folder or the folder above."""
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
