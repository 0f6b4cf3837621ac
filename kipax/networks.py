"""`TrainedNetwork`: a network's variables and everything needed to use it; one file.

The file is a plain npz: ``variables[...]`` by their paths, ``preprocessor_*``, and ``metadata``,
one JSON string. No pickles, no wall-clock times: equal trainings give equal bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax import files
from kipax.data import Preprocessor, Standard, from_arrays
from kipax.data.raw import preprocess_raw
from kipax.errors import FileError, UsageError
from kipax.pixels import PixelFacts
from kipax.students import Outputs, StudentSpec, init_variables, load_weights, predict
from kipax.students.published import IMAGE_SHAPE
from kipax.trees import tree_from_arrays, tree_to_arrays
from kipax.version import __version__

__all__ = ["NETWORK_FILE", "TrainedNetwork", "from_torchvision", "load_network"]

NETWORK_FILE = "network.npz"  # its name in a run's folder
FORMAT_VERSION = 1
_KIND = "network"
_FACTS = ("class_names", "image_shape", "dataset", "pixels")  # metadata that every use needs
# Of its training images from 0 to 1, by channel; torchvision's documentation.
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PREPROCESSOR, _VARIABLES = "preprocessor_", "variables"


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network.

    Attributes:
        spec: the description of the network.
        variables: parameters and, if it has any, `batch_stats`.
        preprocessor: treats new images like the training images.
        metadata: JSON-ready facts: ``dataset``, ``class_names``, ``image_shape``, ``pixels``
            (the training images' `PixelFacts`), ``method``, how it was trained, accuracies with
            their rule, ``kipax_version``; ``classifies``, False for one trained without labels.

    Raises:
        UsageError: the variables do not fit the network or are not finite, or a metadata field is
            missing.

    Example:
        >>> network = load_network("runs/digits-teacher")  # doctest: +SKIP
        >>> network.predict(images)  # doctest: +SKIP
    """

    spec: StudentSpec
    variables: dict[str, Any]
    preprocessor: Preprocessor
    metadata: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [name for name in _FACTS if name not in self.metadata]
        if missing:
            raise UsageError(f"metadata of a network lack {', '.join(missing)}.")
        arrays = tree_to_arrays(self.variables)
        try:
            like = _template(self.module, self.image_shape)
            tree_from_arrays(arrays, like, what=f"a {self.spec.name}")
        except FileError as error:
            raise UsageError(str(error)) from error
        for name, leaf in arrays.items():
            if not np.all(np.isfinite(leaf)):
                raise UsageError(f"a trained network is finite; its {name} is not.")

    # -- facts ---------------------------------------------------------------------------

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.metadata["class_names"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its input images."""
        height, width, channels = self.metadata["image_shape"]
        return int(height), int(width), int(channels)

    @property
    def pixels(self) -> PixelFacts:
        """The facts of the training images' pixels."""
        return PixelFacts.from_metadata(self.metadata["pixels"])

    @property
    def classifies(self) -> bool:
        """Whether its logits mean classes; False for a network that was trained without labels."""
        return bool(self.metadata.get("classifies", True))

    @functools.cached_property
    def module(self) -> nn.Module:
        """The Flax network."""
        return self.spec.build(len(self.class_names), self.image_shape)

    def __str__(self) -> str:
        m = self.metadata
        height, width, channels = self.image_shape
        classes = f"{len(self.class_names)} classes" if self.classifies else "features, no classes"
        sentence = (
            f"{self.spec.describe()}, for images of {height}×{width}×{channels} "
            f"({classes}), {m.get('method', 'trained')} "
            f"on {m['dataset'] or 'no data set'}, "
            f"{self.preprocessor.name} preprocessing"
        )
        if m.get("test_accuracy") is not None:
            sentence += f"; test accuracy {m['test_accuracy']:.3f}"
            sentence += f" ({m['rule']})" if m.get("rule") else ""
        return sentence + "."

    __repr__ = __str__

    # -- use -----------------------------------------------------------------------------

    def preprocess(self, x: np.ndarray) -> np.ndarray:
        """Turns raw images ``(n, H, W[, C])``, in training pixel units, into network inputs.

        Warns where they cannot be on the training images' scale.

        Raises:
            UsageError: the images have another size, layout or number of channels, or are
                not finite numbers.
        """
        return preprocess_raw(
            x,
            image_shape=self.image_shape,
            pixels=self.pixels,
            preprocessor=self.preprocessor,
        )

    def outputs(self, x: np.ndarray, *, features: Sequence[str] = ()) -> Outputs:
        """Returns logits, penultimate activations and features of preprocessed images.

        Args:
            x: preprocessed images ``(n, H, W, C)``.
            features: names of the intermediate activations to return.
        """
        return predict(self.module, self.variables, x, features=features)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Returns the logits ``(n, classes)`` of raw images ``(n, H, W[, C])``.

        Raises:
            UsageError: the images do not fit, or the network was trained without labels.
        """
        self.check_classifies()
        return np.asarray(self.outputs(self.preprocess(x)).logits)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the classes ``(n,)`` of raw images; its errors are those of `scores`."""
        return np.argmax(self.scores(x), axis=1)

    def check_classifies(self) -> None:
        """Raises a `UsageError` for a network that was trained without labels."""
        if not self.classifies:
            raise UsageError(
                "a network gives classes once it was trained from labels; this one was "
                f"{self.metadata.get('method', 'trained without labels')}: give it a head with "
                "kipax teacher --linear_probe=FILE, or take the features, "
                "network.outputs(network.preprocess(x)).penultimate."
            )

    # -- the file ------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Writes the network to an npz file, atomically.

        Raises:
            UsageError: the metadata are not plain JSON values.
            FileError: the file cannot be written.
        """
        facts = dict(self.metadata) | {
            "format_version": FORMAT_VERSION,
            "kind": _KIND,
            "preprocessing": self.preprocessor.name,
            "spec": dataclasses.asdict(self.spec),
        }
        try:
            text = json.dumps(facts, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"metadata of a network must be JSON's plain values: {error}."
            ) from error
        arrays = {_VARIABLES + k: v for k, v in tree_to_arrays(self.variables).items()}
        arrays |= {_PREPROCESSOR + k: v for k, v in self.preprocessor.to_arrays().items()}
        files.write_npz(path, arrays | {"metadata": np.array(text)})


def load_network(path: Path | str) -> TrainedNetwork:
    """Reads a network that kipax wrote: a file, or the folder of the run that trained it.

    Args:
        path: ``network.npz`` or a folder that holds one.

    Raises:
        FileError: the file is missing, damaged, truncated, foreign, or from a newer kipax.

    Example:
        >>> load_network("missing.npz")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        kipax.errors.FileError: could not read missing.npz: No such file or directory.
    """
    file = files.expand(path)
    if file.is_dir():
        if not (file / NETWORK_FILE).is_file():
            raise FileError(f"{file} is a folder without a {NETWORK_FILE}: name a file or a run's.")
        file = file / NETWORK_FILE
    arrays = files.read_npz(file)
    with files.reading(file):
        return _from_arrays(file, arrays)


def from_torchvision(
    name: str, file: Path | str, class_names: Sequence[str] | None = None
) -> TrainedNetwork:
    """Reads weights that torchvision publishes into a network that takes images from 0 to 255.

    Args:
        name: torchvision's name, such as resnet18; see `kipax.students.load_weights`.
        file: its state dictionary, ``.safetensors`` or ``.pth``.
        class_names: names of the classes, in order; None for their numbers.

    Raises:
        UsageError: an unknown name, or not one name for each class.
        FileError: the file cannot be read, or is another network's.

    Example:
        >>> teacher = from_torchvision("resnet18", "resnet18.safetensors")  # doctest: +SKIP
        >>> teacher.save("teacher.npz")  # doctest: +SKIP
    """
    spec, variables, classes = load_weights(name, file)
    names = [str(i) for i in range(classes)] if class_names is None else list(class_names)
    if len(names) != classes:
        raise UsageError(f"{file} is of {classes} classes; got {len(names)} names.")
    mean, deviation = 255 * np.array(_IMAGENET_MEAN), 255 * np.array(_IMAGENET_DEVIATION)
    pixels = PixelFacts("", 0.0, 255.0, tuple(mean.tolist()), tuple(deviation.tolist()))
    facts = {
        "method": "published by torchvision",
        "dataset": "",
        "class_names": names,
        "image_shape": list(IMAGE_SHAPE),
        "pixels": pixels.to_metadata(),
        "kipax_version": __version__,
    }
    return TrainedNetwork(spec, variables, Standard(mean, deviation, 0.0, 255.0), facts)


def _from_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> TrainedNetwork:
    held = ", ".join(sorted(arrays)[:5]) or "nothing"
    if "metadata" not in arrays:
        raise FileError(f"{file} is no network: it lacks metadata; it holds {held}.")
    metadata = json.loads(str(arrays["metadata"][()]))
    if not isinstance(metadata, dict) or metadata.get("kind") != _KIND:
        what = " It is a support set: kipax.load reads it." if "images" in arrays else ""
        raise FileError(f"{file} is no network: its metadata do not say so.{what}")
    version = metadata.pop("format_version")
    if version != FORMAT_VERSION:
        raise FileError(
            f"{file} has format version {version}; this kipax reads {FORMAT_VERSION}: upgrade "
            "kipax."
        )
    del metadata["kind"]
    spec = StudentSpec(**metadata.pop("spec"))
    preprocessor = from_arrays(metadata.pop("preprocessing"), _part(arrays, _PREPROCESSOR))
    shape = tuple(int(side) for side in metadata["image_shape"])
    module = spec.build(len(metadata["class_names"]), shape)  # type: ignore[arg-type]
    like = _template(module, shape)
    try:
        variables = tree_from_arrays(_part(arrays, _VARIABLES), like, what=spec.describe())
    except FileError as error:
        raise FileError(f"{file} is damaged: {error}") from error
    network = TrainedNetwork(spec, variables, preprocessor, metadata)
    _ = str(network), network.pixels
    blank = np.full((1, *shape), preprocessor.low, np.float32)
    if preprocessor.apply(blank).shape != blank.shape:
        raise ValueError("its preprocessing is for images of another shape.")
    return network


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _template(module: nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the shapes of a network's variables."""
    init = functools.partial(init_variables, module, image_shape=shape)  # type: ignore[arg-type]
    return jax.eval_shape(init, jax.random.key(0))
