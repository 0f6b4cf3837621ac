"""Pictures that augmentations are tried on."""

import pathlib

import numpy as np
from PIL import Image

PHOTOS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "photos"


def made_up(n=8):
    """Smooth random pictures, uint8 ``(n, 32, 32, 3)``."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(n, 32, 32, 3)).cumsum(axis=1).cumsum(axis=2)
    return np.clip(128 + 5 * steps, 0, 255).astype(np.uint8)


def photos():
    """Photographs made small and parts of them, uint8 ``(n, 32, 32, 3)``."""
    crops = []
    for file in sorted(PHOTOS.glob("*.png")):
        picture = Image.open(file).convert("RGB")
        crops += [np.asarray(picture.resize((32, 32))), np.asarray(picture)[80:112, 120:152]]
    return np.stack(crops)
