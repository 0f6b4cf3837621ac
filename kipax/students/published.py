"""Reads the weights that torchvision publishes into networks of the zoo."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kipax import files
from kipax.errors import FileError, check_choice
from kipax.students.registry import StudentSpec, init_variables
from kipax.trees import tree_from_arrays

__all__ = ["IMAGE_SHAPE", "PUBLISHED", "Published", "load_weights"]

IMAGE_SHAPE = (224, 224, 3)  # of the images that these networks take


class Published(NamedTuple):
    """A network and the weights that were read from a file.

    Attributes:
        spec: the network.
        variables: its parameters and, if it has any, its `batch_stats`.
        classes: number of its outputs.
    """

    spec: StudentSpec
    variables: dict[str, Any]
    classes: int


def _of_resnet(module: str) -> str:
    named = {"stem": "conv1", "stem_norm": "bn1", "head": "fc"}
    if module in named:
        return named[module]
    stage, block, part = _block(module)
    part = {"short": "downsample.0", "short_norm": "downsample.1"}.get(part, part)
    return f"layer{stage + 1}.{block}.{part.replace('norm', 'bn')}"


def _of_mobilenet(module: str) -> str:
    named = {"stem": "features.0.0", "stem_norm": "features.0.1", "head": "classifier.1"}
    named |= {"last": "features.18.0", "last_norm": "features.18.1"}
    if module in named:
        return named[module]
    stage, block, part = _block(module)
    number = 1 + sum((1, 2, 3, 4, 3, 3, 1)[:stage]) + block
    first = 0 if stage == 0 else 1  # the first block does not expand
    places = {
        "expand": "0.0",
        "expand_norm": "0.1",
        "depth": f"{first}.0",
        "depth_norm": f"{first}.1",
        "project": f"{first + 1}",
        "project_norm": f"{first + 2}",
    }
    return f"features.{number}.conv.{places[part]}"


def _of_alexnet(module: str) -> str:
    named = {"dense1": "classifier.1", "dense2": "classifier.4", "head": "classifier.6"}
    places = {f"conv{i}": f"features.{n}" for i, n in enumerate((0, 3, 6, 8, 10), 1)}
    return (named | places)[module]


def _of_vit(module: str) -> str:
    named = {"patches": "conv_proj", "last_norm": "encoder.ln", "head": "heads.head"}
    named |= {"class_token": "class_token", "positions": "encoder.pos_embedding"}
    if module in named:
        return named[module]
    layer, _, part = module.removeprefix("l").partition("_")
    places = {
        "norm1": "ln_1",
        "qkv": "self_attention.in_proj_",
        "out": "self_attention.out_proj",
        "norm2": "ln_2",
        "mlp1": "mlp.0",
        "mlp2": "mlp.3",
    }
    return f"encoder.layers.encoder_layer_{layer}.{places[part]}"


def _of_convnext(module: str) -> str:
    named = {"s0_down": "features.0.0", "s0_norm": "features.0.1"}
    named |= {"last_norm": "classifier.0", "head": "classifier.2"}
    if module in named:
        return named[module]
    if match := re.fullmatch(r"s(\d)_(norm|down)", module):
        return f"features.{2 * int(match[1])}.{0 if match[2] == 'norm' else 1}"
    stage, block, part = _block(module)
    places = {"depth": "block.0", "norm": "block.2", "mlp1": "block.3", "mlp2": "block.5"}
    return f"features.{2 * stage + 1}.{block}.{(places | {'scale': 'layer_scale'})[part]}"


def _block(module: str) -> tuple[int, int, str]:
    """Splits ``s1b0_conv2`` into stage, block and part."""
    match = re.fullmatch(r"s(\d+)b(\d+)_(\w+)", module)
    assert match is not None, module
    return int(match[1]), int(match[2]), match[3]


# torchvision's name: our name, and its prefix for each of our modules.
PUBLISHED: dict[str, tuple[str, Callable[[str], str]]] = {
    **{f"resnet{d}": (f"imagenet-resnet{d}", _of_resnet) for d in (18, 34, 50, 101)},
    "mobilenet_v2": ("mobilenetv2", _of_mobilenet),
    "alexnet": ("alexnet", _of_alexnet),
    "vit_b_16": ("vit-b", _of_vit),
    "convnext_tiny": ("convnext-t", _of_convnext),
}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}


def load_weights(name: str, file: Path | str) -> Published:
    """Reads a state dictionary of torchvision, for images of 224 by 224 pixels.

    Its networks take images in RGB from 0 to 1, less the mean (0.485, 0.456, 0.406) and divided
    by (0.229, 0.224, 0.225); `kipax.networks.from_torchvision` does that too.

    Args:
        name: torchvision's name of the network: resnet18, resnet34, resnet50, resnet101,
            mobilenet_v2, alexnet, vit_b_16 or convnext_tiny.
        file: ``.safetensors`` (needs the extra ``weights``), or ``.pth`` (needs PyTorch; read with
            ``weights_only=True``, so that nothing in it is run).

    Raises:
        UsageError: an unknown name.
        FileError: the file cannot be read, or is another network's.
        ImportError: the package that reads the file is not installed.

    Example:
        >>> load_weights("resnet18", "resnet18.safetensors").spec  # doctest: +SKIP
    """
    check_choice("network", name, tuple(PUBLISHED))
    own, prefix = PUBLISHED[name]
    state = _read(files.expand(file))
    spec, unread = StudentSpec(name=own), set(state)
    head = state.get(f"{prefix('head')}.bias")
    if head is None:
        raise FileError(f"{file} is no {name} of torchvision: it has no {prefix('head')}.bias.")
    network = spec.build(len(head), IMAGE_SHAPE)
    init = functools.partial(init_variables, network, image_shape=IMAGE_SHAPE)
    like = jax.eval_shape(init, jax.random.key(0))
    found: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(like)[0]:
        words = [entry.key for entry in path[1:]]
        key = _key(words, prefix)
        if key not in state:
            raise FileError(f"{file} is no {name} of torchvision: it has no {key}.")
        unread.discard(key)
        value = _arranged(state[key], words, leaf.shape, name=name)
        found[jax.tree_util.keystr(path)] = np.asarray(value, leaf.dtype)
    if unread := {key for key in unread if not key.endswith("num_batches_tracked")}:
        raise FileError(f"{file} is no {name} of torchvision: it has {sorted(unread)[0]} too.")
    variables = tree_from_arrays(found, like, what=f"a {name} of torchvision")
    return Published(spec, variables, len(head))


def _key(words: list[str], prefix: Callable[[str], str]) -> str:
    """Returns torchvision's name of an array, from its path here, such as conv1 and kernel."""
    place = prefix(words[0])
    if len(words) == 1:  # a parameter of the network itself
        return place
    leaf = (_LEAVES | _STATISTICS)[words[-1]]
    return f"{place}{leaf}" if place.endswith("_") else f"{place}.{leaf}"


def _arranged(value: np.ndarray, words: list[str], shape: tuple[int, ...], *, name: str) -> Any:
    """Returns an array of torchvision with its axes in the order that Flax uses."""
    if words[-1] == "kernel" and value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if words[-1] == "kernel" and value.ndim == 2:
        if name == "alexnet" and words[0] == "dense1":  # of channels, rows, columns
            value = value.reshape(-1, 256, 6, 6).transpose(0, 2, 3, 1).reshape(len(value), -1)
        return value.T
    return value.reshape(shape) if value.size == np.prod(shape) else value


def _read(file: Path) -> Mapping[str, np.ndarray]:
    """Returns the arrays of a state dictionary, with the names of torchvision's newest version."""
    if not file.is_file():
        raise FileError(f"could not read {file}: no such file.")
    reader = _read_safetensors if file.suffix == ".safetensors" else _read_pth
    try:
        state = reader(file)
    except ImportError:
        raise
    except Exception as error:  # of the packages that read the file, whichever it is
        raise FileError(f"{file} holds no weights that can be read: {error}") from error
    newest = {".mlp.linear_1.": ".mlp.0.", ".mlp.linear_2.": ".mlp.3."}
    renamed = {}
    for key, value in state.items():
        for old, new in newest.items():
            key = key.replace(old, new)
        renamed[key] = value
    return renamed


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f"{file} needs the package safetensors: pip install 'kipax[weights]'."
        ) from error
    return load_file(file)


def _read_pth(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(
            f"{file} needs PyTorch: install it, or save the weights as .safetensors."
        ) from error
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {key: value.float().numpy() for key, value in state.items()}
