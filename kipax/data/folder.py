"""A folder of pictures as a data set: ``train/CLASS``, ``test/CLASS``, or ``CLASS`` alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kipax.data.datasets import split_by_content
from kipax.data.resize import Picture, fit_pictures, import_pillow
from kipax.errors import FileError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg")
_PART_LIKE = ("train", "training", "test", "testing", "val", "valid", "validation")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION = 0x0112


def read_folder(path: Path | str, image_size: int | None) -> tuple[dict[str, np.ndarray], str]:
    """Reads pictures; the classes are the names of the folders, in alphabetical order.

    Args:
        path: holds ``train/CLASS/*.png`` and ``test/CLASS/*.png``, or ``CLASS/*.png``, which
            is then split by content (`split_by_content`). PNG and JPEG, any size; other files
            are left out, and hidden ones (``.name``).
        image_size: see `kipax.data.resize.fit_pictures`.

    Returns:
        ``x_train y_train x_test y_test label_names`` and what was done to the pictures.

    Raises:
        FileError: a missing folder, or a picture that does not decode; names its path.
        UsageError: fewer than two classes, a class without pictures or without enough, a test
            class without training pictures.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileError(f"could not read {root}: there is no such folder.")
    split = (root / "train").is_dir()
    parts = {part: root / part for part in ("train", "test")} if split else {"all": root}
    files = {part: _list_pictures(folder) for part, folder in parts.items()}
    names = sorted(next(iter(files.values())))
    _check_classes(root, names, files)
    pictures = [_head(file) for part in files.values() for name in part for file in part[name]]
    x, note = fit_pictures(pictures, image_size)
    y = np.array([names.index(n) for part in files.values() for n in part for _ in part[n]])
    if split:
        train = sum(len(group) for group in files["train"].values())
        arrays = {"x_train": x[:train], "y_train": y[:train], "x_test": x[train:]}
        arrays["y_test"] = y[train:]
    else:
        arrays = split_by_content(x, y, names)
    return arrays | {"label_names": np.array(names)}, note


def _list_pictures(folder: Path) -> dict[str, list[Path]]:
    """Picture files by class, in the order of their names."""
    if not folder.is_dir():
        raise FileError(f"{folder} is missing: a folder data set with train/ needs test/ too.")
    classes = sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    found = {}
    for d in classes:
        seen = _visible_files(d)
        pictures = [file for file in seen if file.suffix.lower() in _SUFFIXES]
        if seen and not pictures:
            raise UsageError(
                f"a class holds PNG or JPEG pictures; {d} holds {seen[0].name} and the like: "
                f"convert them, or rename the folder to .{d.name} to leave it out."
            )
        if pictures:
            found[d.name] = pictures
    return found


def _visible_files(folder: Path) -> list[Path]:
    def hidden(file: Path) -> bool:
        return any(part.startswith(".") for part in file.relative_to(folder).parts)

    return sorted(f for f in folder.rglob("*") if f.is_file() and not hidden(f))


def _check_classes(root: Path, names: list[str], files: dict[str, dict[str, list[Path]]]) -> None:
    if len(names) < 2:
        held = f"only {names[0]!r}" if names else "none"
        raise UsageError(
            f"{root} must hold at least two folders with PNG or JPEG pictures, one a class; "
            f"found {held}."
        )
    parts = [name for name in names if name.lower() in _PART_LIKE]
    if parts:
        raise UsageError(
            f"{root} holds {', '.join(parts)}, which look like parts, not classes: call the parts "
            "train and test."
        )
    unknown = sorted(set(files.get("test", {})) - set(names))
    if unknown:
        raise UsageError(f"{root}/test holds classes without training pictures: {unknown[:5]}.")
    if "test" in files and not files["test"]:
        raise UsageError(f"{root}/test holds no PNG or JPEG pictures.")


def _head(file: Path) -> Picture:
    """A picture by its header; it is decoded when it is used."""
    with _decoding(file), import_pillow().Image.open(file) as image:
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        return Picture.of(image, functools.partial(_open, file), turned=turned)


def _open(file: Path) -> Image:
    pillow = import_pillow()
    with _decoding(file), pillow.Image.open(file) as image:
        return pillow.ImageOps.exif_transpose(image).copy()


@contextlib.contextmanager
def _decoding(file: Path) -> Iterator[None]:
    pillow = import_pillow()
    try:
        yield
    except (OSError, ValueError, SyntaxError, pillow.Image.DecompressionBombError) as error:
        raise FileError(f"{file} does not decode as a picture: {error}.") from error
