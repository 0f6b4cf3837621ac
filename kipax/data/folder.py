"""A folder of pictures as a data set: ``train/CLASS``, ``test/CLASS``, or ``CLASS`` alone."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kipax.data.classes import natural_order
from kipax.data.content import split_by_content
from kipax.data.resize import WIDE_MODES, Picture, fit_pictures, import_pillow, is_halved, to_rgb
from kipax.data.walk import PICTURES, LeftOut, class_folders, count_pictures, list_pictures
from kipax.errors import FileError, UsageError
from kipax.files import expand

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_folder", "read_picture"]

_PARTS = ("train", "test")
_PART_LIKE = ("train", "training", "test", "testing", "val", "valid", "validation")
_ORIENTATION = 0x0112  # tag of EXIF
_PHOTOMETRIC = 262  # tag of TIFF; its value 0 means that 0 is white
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
_MOVING = ("GIF", "PNG", "TIFF", "WEBP")  # formats that may hold several pictures

Classes = dict[str, list[Path]]  # picture files by class


def read_folder(path: Path | str, image_size: int | None) -> tuple[dict[str, np.ndarray], str]:
    """Reads pictures; classes are the folder names, in order by value if all are numbers.

    Args:
        path: a folder of ``train/CLASS/*.png`` and ``test/CLASS/*.png``, or ``CLASS/*.png``, which
            is then split by content (`split_by_content`). Pictures of the formats in
            `kipax.data.walk.PICTURES`, of any size, also in subfolders and linked folders;
            other files are left out and counted.
        image_size: see `kipax.data.resize.fit_pictures`.

    Returns:
        ``x_train y_train x_test y_test label_names``, and what was done to the pictures and what
        was left out, in words.

    Raises:
        FileError: a missing folder, a broken link, or a picture that does not decode.
        UsageError: fewer than two classes, a class without pictures or without enough, a test
            class without training pictures.
    """
    root, left = Path(path), LeftOut()
    if not root.is_dir():
        raise FileError(f"could not read {root}: there is no such folder.")
    parts = _list_parts(root, left)
    names = natural_order(next(iter(parts.values())))
    _check_tree(root, parts)
    _check_classes(root, names, parts)
    pictures = [_head(file) for part in parts.values() for name in part for file in part[name]]
    x, done = fit_pictures(pictures, image_size)
    y = np.array([names.index(n) for part in parts.values() for n in part for _ in part[n]])
    if "train" in parts:
        train = sum(len(group) for group in parts["train"].values())
        arrays = {"x_train": x[:train], "y_train": y[:train], "x_test": x[train:]}
        arrays["y_test"] = y[train:]
    else:
        arrays = split_by_content(x, y, names)
    untested = [name for name in names if name not in parts.get("test", names)]
    missing = f"no test pictures of {', '.join(untested)}" if untested else ""
    note = "; ".join(filter(None, [done, missing, left.describe()]))
    return arrays | {"label_names": np.array(names)}, note


def _list_parts(root: Path, left: LeftOut) -> Mapping[str, Classes]:
    """Returns the picture files by part and class: ``train`` and ``test``, or ``all``."""
    if not (root / "train").is_dir():
        return {"all": _list_classes(root, left)}
    if not (root / "test").is_dir():
        raise FileError(
            f"{root / 'test'} is missing: a folder data set with train/ needs test/ too (another "
            "part, such as val/, is not taken for it: rename it)."
        )
    for name, folder in class_folders(root, left).items():
        if name not in _PARTS:
            left.add(f"{name}/", count_pictures(folder))
    return {part: _list_classes(root / part, left) for part in _PARTS}


def _list_classes(root: Path, left: LeftOut) -> Classes:
    """Returns the picture files by class, in the order of their names."""
    found: Classes = {}
    for name, folder in class_folders(root, left).items():
        pictures, other = list_pictures(folder, left)
        if not pictures:
            held = f"{other} and the like" if other else "nothing"
            raise UsageError(
                f"a class holds pictures ({', '.join(PICTURES)}); {folder} holds {held}: put "
                f"pictures there, or rename the folder to .{name} to leave it out."
            )
        found[name] = pictures
    return found


def _check_tree(root: Path, parts: Mapping[str, Classes]) -> None:
    """Raises a `UsageError` for ``CLASS/train`` and ``CLASS/test``, whose split would be lost."""
    for name in parts.get("all", {}):
        inside = [part for part in _PART_LIKE if (root / name / part).is_dir()]
        if len(inside) > 1:
            raise UsageError(
                f"parts hold classes, as in train/{name}; {root / name} holds "
                f"{' and '.join(inside)}: turn the two round."
            )


def _check_classes(root: Path, names: list[str], parts: Mapping[str, Classes]) -> None:
    if len(names) < 2:
        held = f"only {names[0]!r}" if names else "none"
        raise UsageError(
            f"{root} must hold at least two folders with pictures, one a class; found {held}."
        )
    alike = [name for name in names if name.lower() in _PART_LIKE]
    if alike:
        raise UsageError(
            f"{root} holds {', '.join(alike)}, which look like parts, not classes: call the parts "
            "train and test."
        )
    unknown = natural_order(set(parts.get("test", {})) - set(names))
    if unknown:
        raise UsageError(
            f"{root}/test holds classes without training pictures: {unknown[:5]}; those of train "
            f"are {', '.join(names)}."
        )
    if "test" in parts and not parts["test"]:
        raise UsageError(f"{root}/test holds no pictures.")


# -- single pictures --------------------------------------------------------------------------


def read_picture(path: Path | str) -> np.ndarray:
    """Returns one picture file as it is shown, uint8 ``(H, W, 3)``.

    Raises:
        FileError: it is missing, or not a readable picture.
        UsageError: it has more than 8 bits a channel.
        ImportError: Pillow is missing.
    """
    return to_rgb(_head(expand(path)))


def _head(file: Path) -> Picture:
    """Returns a picture from its header; the pixels are decoded when they are used."""
    with _decoding(file), import_pillow().Image.open(file) as image:
        halved = is_halved(image)  # before EXIF data, which may lie behind the pixels
        _check_wide(file, image)
        if image.format == "TIFF":
            _check_turned(file, image)
            image.load()  # Pillow rotates these itself, some versions while decoding
        return Picture.of(
            image,
            functools.partial(_open, file),
            name=str(file),
            halved=halved,
            turned=_orientation(image) in _TURNED,
            moving=image.format in _MOVING and getattr(image, "is_animated", False),
        )


def _check_wide(file: Path, image: Image) -> None:
    """Raises an error for wide pictures that Pillow would not read as they are shown."""
    if image.mode not in WIDE_MODES:
        return
    from_white = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore
    if from_white or "transparency" in image.info:
        how = "counts its values from white" if from_white else "has a transparent value"
        raise FileError(f"{file} has more than 8 bits and {how}: save it with 8 bits.")


def _check_turned(file: Path, image: Image) -> None:
    """Raises an error for pictures whose rows some versions of Pillow decode at a wrong width."""
    turned = _orientation(image) in _TURNED and image.width != image.height
    if turned and image.info.get("compression") == "raw":
        raise FileError(
            f"{file} is an uncompressed TIFF that its orientation tag turns by a quarter, which "
            "Pillow may decode wrongly: save it upright or as PNG."
        )


def _open(file: Path) -> Image:
    pillow = import_pillow()
    turn = pillow.Image.Transpose
    methods = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    with _decoding(file), pillow.Image.open(file) as image:
        image.load()
        method = methods.get(_orientation(image))
        return image.copy() if method is None else image.transpose(method)


def _orientation(image: Image) -> Any:
    """Returns the EXIF orientation; None if it is missing or malformed."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises many kinds for damaged tags; the pixels are intact
        return None


@contextlib.contextmanager
def _decoding(file: Path) -> Iterator[None]:
    pillow = import_pillow()
    try:
        with warnings.catch_warnings():
            # Pillow warns about tags that are not used here, and about large pictures.
            warnings.simplefilter("ignore")
            yield
    except (OSError, ValueError, SyntaxError, pillow.Image.DecompressionBombError) as error:
        raise FileError(f"{file} does not decode as a picture: {error}.") from error
    except (EOFError, TypeError, KeyError, IndexError, OverflowError, ZeroDivisionError) as error:
        raise FileError(f"{file} does not decode as a picture: {error!r}.") from error
