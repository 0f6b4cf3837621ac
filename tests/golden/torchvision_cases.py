"""Weights and images for torchvision and kipax alike, and torchvision's logits of them."""

import json
import pathlib
import zlib

import numpy as np

PATH = pathlib.Path(__file__).with_name("torchvision.json")
SIDES = {"vit_b_16": 224}  # its positions are of this size; the others take any


def image(name: str) -> np.ndarray:
    """Returns two preprocessed images ``(2, H, W, 3)``, small where the network allows it."""
    side = SIDES.get(name, 96)
    return np.random.default_rng(7).standard_normal((2, side, side, 3)).astype(np.float32)


def weights(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array of a state dictionary, drawn by a seed that depends on its name."""
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
    """Returns a network's whole state dictionary."""
    shapes = json.loads(PATH.read_text())[name]["shapes"]
    return {key: weights(key, tuple(shape)) for key, shape in shapes.items()}


def answers_of(name: str) -> np.ndarray:
    """Returns torchvision's first eight logits of both images, ``(2, 8)``."""
    return np.array(json.loads(PATH.read_text())[name]["logits"])
