"""Pictures of any size, made equal, one at a time in memory. Needs Pillow, the extra ``data``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DEFAULT_SIDE", "Picture", "fit_pictures", "import_pillow"]

DEFAULT_SIDE = 32
_LARGEST_UNTOUCHED = 64  # pixels; sets of one size up to this keep it
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a picture's header says, and how to decode it.

    Attributes:
        size: width and height as shown.
        colour: whether it is more than grey.
        open: decodes it.
    """

    size: tuple[int, int]
    colour: bool
    open: Callable[[], Image]

    @classmethod
    def of(cls, image: Image, open_it: Callable[[], Image], *, turned: bool = False) -> Picture:
        """From an opened image's header; `turned` by a quarter."""
        width, height = image.size
        size = (height, width) if turned else (width, height)
        return cls(size, image.mode not in _GREY_MODES, open_it)


def import_pillow() -> ModuleType:
    """Pillow, imported when it is first needed; the error says how to install it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install pillow") from error
    return PIL


def fit_pictures(pictures: Sequence[Picture], image_size: int | None) -> tuple[np.ndarray, str]:
    """Pictures as one array, cut to the middle square and resized where they differ.

    Pictures that share one size of at most 64 pixels keep it; all others become squares of
    `image_size`, by default 32. Colour wins: one colour picture makes all RGB. Transparent
    pictures are laid on white.

    Args:
        pictures: at least one.
        image_size: side in pixels; None as above.

    Returns:
        uint8 ``(n, H, W, 1 or 3)`` and what was done, in words (empty for nothing).
    """
    sizes = {picture.size for picture in pictures}
    colour = any(picture.colour for picture in pictures)
    small = len(sizes) == 1 and max(next(iter(sizes))) <= _LARGEST_UNTOUCHED
    if (small and image_size is None) or sizes == {(image_size, image_size)}:
        return np.stack([_to_array(p.open(), colour) for p in pictures]), ""
    side = image_size or DEFAULT_SIDE
    fit = import_pillow().ImageOps.fit
    x = np.empty((len(pictures), side, side, 3 if colour else 1), np.uint8)
    for i, picture in enumerate(pictures):
        x[i] = _to_array(fit(_flatten(picture.open(), colour), (side, side)), colour)
    found = "×".join(map(str, next(iter(sizes)))) if len(sizes) == 1 else f"{len(sizes)} sizes"
    return x, f"{len(x):,} pictures of {found} cut and resized to {side}×{side}"


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
