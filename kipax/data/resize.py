"""Pictures of any size, made equal. Needs Pillow, the extra ``data``."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DEFAULT_SIDE", "fit_images", "import_pillow"]

DEFAULT_SIDE = 32
_LARGEST_UNTOUCHED = 64  # pixels; sets of one size up to this keep it


def import_pillow() -> ModuleType:
    """Pillow, imported when it is first needed; the error names the extra."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'kipax[data]'") from error
    return PIL


def fit_images(images: Sequence[Image], image_size: int | None) -> tuple[np.ndarray, str]:
    """Pictures as one array, cut to the middle square and resized where they differ.

    Pictures that share one size of at most 64 pixels keep it; all others become squares of
    `image_size`, by default 32. Colour wins: one colour picture makes all RGB. Transparent
    pictures are laid on white.

    Args:
        images: Pillow images.
        image_size: side in pixels; None as above.

    Returns:
        uint8 ``(n, H, W, 1 or 3)`` and what was done, in words (empty for nothing).
    """
    sizes = {image.size for image in images}
    colour = any(_is_colour(image) for image in images)
    small = len(sizes) == 1 and max(next(iter(sizes))) <= _LARGEST_UNTOUCHED
    if (small and image_size is None) or sizes == {(image_size, image_size)}:
        return np.stack([_to_array(image, colour) for image in images]), ""
    side = image_size or DEFAULT_SIDE
    ops = import_pillow().ImageOps
    fitted = [_to_array(ops.fit(_flatten(i, colour), (side, side)), colour) for i in images]
    found = "×".join(map(str, next(iter(sizes)))) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return np.stack(fitted), f"{len(images):,} pictures of {found} cut and resized to {side}×{side}"


def _is_colour(image: Image) -> bool:
    return image.mode not in ("1", "L", "LA", "I", "I;16", "F")


def _flatten(image: Image, colour: bool) -> Image:
    """RGB or grey, without transparency."""
    if image.mode in ("I;16", "I"):  # 16-bit grey: keep the upper byte
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = import_pillow().Image.fromarray(grey)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = import_pillow().Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = import_pillow().Image.alpha_composite(white, image)
    return image.convert("RGB" if colour else "L")


def _to_array(image: Image, colour: bool) -> np.ndarray:
    array = np.asarray(_flatten(image, colour), np.uint8)
    return array if colour else array[..., None]
