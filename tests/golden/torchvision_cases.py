"""Weights and images that torchvision and kipax are both given, and where the answers are kept."""

import json
import pathlib
import zlib

import numpy as np

PATH = pathlib.Path(__file__).with_name("torchvision.json")
SIDES = {"vit_b_16": 224}  # its positions are of this size; the others take any


def image(name: str) -> np.ndarray:
    """Two preprocessed images ``(2, H, W, 3)``; small, since convolutions are of any size."""
    side = SIDES.get(name, 96)
    return np.random.default_rng(7).standard_normal((2, side, side, 3)).astype(np.float32)


def weights(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a state dictionary: a function of its name, near its usual size."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    draw = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("running_var"):
        draw = 0.5 + np.abs(draw)
    elif len(shape) in (2, 4):
        draw *= np.sqrt(2 / np.prod(shape[1:]))
    else:
        draw *= 0.1
    return np.asarray(draw, np.float32)


def state_of(name: str) -> dict[str, np.ndarray]:
    """A network's whole state dictionary."""
    shapes = json.loads(PATH.read_text())[name]["shapes"]
    return {key: weights(key, tuple(shape)) for key, shape in shapes.items()}


def answers_of(name: str) -> np.ndarray:
    """Torchvision's first logits of `image`, ``(2, 8)``."""
    return np.array(json.loads(PATH.read_text())[name]["logits"])
