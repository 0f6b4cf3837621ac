"""Brings pictures to one size, one at a time in memory. Needs Pillow, the extra ``data``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kipax.errors import FileError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DEFAULT_SIDE", "WIDE_MODES", "Picture", "fit_pictures", "import_pillow", "is_halved"]

DEFAULT_SIDE = 32
_LARGEST_UNTOUCHED = 64  # pixels; pictures of one size up to this are not resized
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # one channel of more than 8 bits
_GREY_MODES = ("1", "L", "LA", *WIDE_MODES)


@dataclasses.dataclass(frozen=True)
class Picture:
    """The header of a picture, and how to decode its pixels.

    Attributes:
        size: width and height as shown.
        colour: whether it has colours, not only grey.
        open: function that decodes it.
        name: name of its file, for messages.
        wide: whether it is grey with more than 8 bits.
        halved: whether Pillow keeps only the upper 8 of its 16 bits, as it does for colour.
        moving: whether its file holds several pictures, of which it is the first.
    """

    size: tuple[int, int]
    colour: bool
    open: Callable[[], Image]
    name: str = "a picture"
    wide: bool = False
    halved: bool = False
    moving: bool = False

    @classmethod
    def of(
        cls,
        image: Image,
        open_it: Callable[[], Image],
        *,
        name: str = "a picture",
        turned: bool = False,
        halved: bool = False,
        moving: bool = False,
    ) -> Picture:
        """Returns the picture of an opened image; `turned` exchanges width and height."""
        width, height = image.size
        return cls(
            size=(height, width) if turned else (width, height),
            colour=image.mode not in _GREY_MODES,
            open=open_it,
            name=name,
            wide=image.mode in WIDE_MODES,
            halved=halved,
            moving=moving,
        )


def is_halved(image: Image) -> bool:
    """Returns whether an opened, not yet decoded image has 16 bits and Pillow keeps 8 of them."""
    stored = [str(tile[-1]) for tile in getattr(image, "tile", [])]
    return image.mode not in WIDE_MODES and any(";16" in raw_mode for raw_mode in stored)


def import_pillow() -> ModuleType:
    """Imports Pillow when it is first needed; the error says how to install it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install pillow") from error
    return PIL


def fit_pictures(pictures: Sequence[Picture], image_size: int | None) -> tuple[np.ndarray, str]:
    """Returns the pictures as one array, cut to the middle square and resized where they differ.

    Pictures that share one size of at most 64 pixels keep it; all others become squares of
    `image_size`, by default 32. If one picture has colours, all become RGB. Transparent
    pictures are laid on white. Grey pictures of more than 8 bits are brought to 8 by one rule for
    all of them, see `_measure_wide`.

    Args:
        pictures: at least one.
        image_size: side in pixels; None for the rule above.

    Returns:
        uint8 ``(n, H, W, 1 or 3)`` and what was done, in words (empty for nothing).

    Raises:
        UsageError: pictures whose values cannot be brought to 0..255.
        FileError: a colour space that Pillow does not convert.
    """
    sizes = {picture.size for picture in pictures}
    colour = any(picture.colour for picture in pictures)
    depth, words = _measure_depth(pictures)
    small = len(sizes) == 1 and max(next(iter(sizes))) <= _LARGEST_UNTOUCHED
    if (small and image_size is None) or sizes == {(image_size, image_size)}:
        return np.stack([_to_array(_flatten(p, colour, depth)) for p in pictures]), words
    side = image_size or DEFAULT_SIDE
    fit = import_pillow().ImageOps.fit
    x = np.empty((len(pictures), side, side, 3 if colour else 1), np.uint8)
    for i, picture in enumerate(pictures):
        x[i] = _to_array(fit(_flatten(picture, colour, depth), (side, side)))
    found = "×".join(map(str, next(iter(sizes)))) if len(sizes) == 1 else f"{len(sizes)} sizes"
    resized = f"{len(x):,} pictures of {found} cut and resized to {side}×{side}"
    return x, "; ".join(filter(None, [resized, words]))


# -- pictures of more than 8 bits a channel -----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Depth:
    """How values of wide pictures become 0..255: multiplied by `factor`, shifted down by `bits`."""

    factor: float = 1.0
    bits: int = 0

    def narrow(self, image: Image) -> Image:
        values = np.asarray(image).astype(np.float64) * self.factor
        whole = np.rint(values).astype(np.int64) >> self.bits
        return import_pillow().Image.fromarray(whole.astype(np.uint8))


def _measure_depth(pictures: Sequence[Picture]) -> tuple[_Depth, str]:
    """Returns how the wide pictures of a set become 8 bits, and a note on unusual ones."""
    wide = [p for p in pictures if p.wide]
    halved = [p for p in pictures if p.halved]
    moving = sum(p.moving for p in pictures)
    depth, said = _measure_wide(wide) if wide else (_Depth(), "")
    words = [said]
    if halved:
        words.append(_describe_halved(halved))
    if moving:
        words.append(f"the first picture of each of {moving:,} files with several")
    return depth, "; ".join(filter(None, words))


def _measure_wide(wide: Sequence[Picture]) -> tuple[_Depth, str]:
    """Returns the `_Depth` that the range of a set's values requires, and a note.

    Whole numbers up to 255 stay; larger ones lose their lowest bits, as many for all pictures as
    the largest value needs (12-bit values four, 16-bit ones eight). Fractions from 0 to 1 are
    multiplied by 255.
    """
    low, high, whole = np.inf, -np.inf, True
    for picture in wide:
        values = np.asarray(picture.open())
        if not np.all(np.isfinite(values)):
            raise UsageError(f"pixels must be finite; {picture.name} holds NaN or infinite ones.")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        whole = whole and bool(np.all(values == np.rint(values)))
    count = f"{len(wide):,} grey pictures of more than 8 bits"
    if low < 0 or not (whole or high <= 255):
        raise UsageError(
            f"pictures hold whole numbers from 0, or fractions up to 1 or 255; {count} run from "
            f"{low:g} to {high:g}: keep their values in an npz instead."
        )
    if not whole and high <= 1:
        return _Depth(factor=255.0), f"{count} hold 0 to {high:g}: multiplied by 255"
    bits = max(8, int(high).bit_length())
    if bits == 8:
        return _Depth(), f"{count} hold 0 to {high:g}: taken as they are"
    return _Depth(bits=bits - 8), (
        f"{count} hold 0 to {high:,.0f}: taken as {bits} bits, of which the upper 8 are kept"
    )


def _describe_halved(pictures: Sequence[Picture]) -> str:
    high = max(int(np.asarray(p.open().convert("RGB")).max()) for p in pictures)
    if high < 64:  # 14 bits or fewer
        raise UsageError(
            f"of colour pictures of 16 bits the upper 8 are kept; {pictures[0].name} and others "
            f"of {len(pictures):,} use only {high + 1} levels of these: convert them to 8 bits."
        )
    return f"of {len(pictures):,} colour pictures of 16 bits the upper 8 are kept"


# -- one picture --------------------------------------------------------------------------------


def _flatten(picture: Picture, colour: bool, depth: _Depth) -> Image:
    """Returns the picture as RGB or grey of 8 bits, without transparency."""
    image = picture.open()
    if picture.wide:
        image = depth.narrow(image)
    try:
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = import_pillow().Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = import_pillow().Image.alpha_composite(white, image)
        return image.convert("RGB" if colour else "L")
    except ValueError as error:
        raise FileError(f"{picture.name} does not convert to RGB: {error}.") from error


def to_rgb(picture: Picture) -> np.ndarray:
    """Returns one picture's pixels, uint8 ``(H, W, 3)``, transparency laid on white.

    Raises:
        UsageError: it has more than 8 bits a channel.
    """
    if picture.wide or picture.halved:
        raise UsageError(f"{picture.name} has more than 8 bits a channel: save it with 8.")
    return np.asarray(_flatten(picture, True, _Depth()).convert("RGB"), np.uint8)


def _to_array(image: Image) -> np.ndarray:
    array = np.asarray(image, np.uint8)
    return array if array.ndim == 3 else array[..., None]
