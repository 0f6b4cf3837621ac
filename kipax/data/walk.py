"""Lists a folder of pictures: classes, picture files, and a count of files that are left out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kipax.errors import FileError, UsageError

__all__ = ["PICTURES", "LeftOut", "class_folders", "count_pictures", "list_pictures"]

PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff")
_SYSTEM = ("@eadir", "__macosx", "$recycle.bin", "system volume information", "lost+found")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_NAMED = 3  # examples in a sentence


class LeftOut:
    """Counts the files that a reader leaves out, by kind, and keeps a few names of each kind."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, count: int = 1, name: str = "") -> None:
        """Counts `count` more files of a kind; `name` is an example to show."""
        self._count[kind] += count
        names = self._names.setdefault(kind, [])
        if name and len(names) < _NAMED and name not in names:
            names.append(name)

    def describe(self) -> str:
        """Returns ``left out: val/ (12 pictures), other files (3: a.txt, b.csv)``, or nothing."""
        parts = []
        for kind, count in self._count.items():
            names = ", ".join(self._names[kind])
            inside = f"{count:,}: {names}" if names else f"{count:,} pictures"
            parts.append(f"{kind} ({inside})")
        return f"left out: {', '.join(parts)}" if parts else ""


def class_folders(root: Path, left: LeftOut) -> dict[str, Path]:
    """Returns the subfolders by name, linked ones included, in the order of their names.

    Names are normalised (Unicode NFC), so that names with accents compare equal on every system.

    Args:
        root: the folder whose subfolders are the classes.
        left: counts the other files.

    Raises:
        FileError: a broken link, or a folder that cannot be read.
        UsageError: two folders whose names look the same.
    """
    found: dict[str, Path] = {}
    for entry in _entries(root):
        if _is_hidden(entry.name):
            left.add("hidden files and folders", name=entry.name)
        elif entry.is_dir():
            name = unicodedata.normalize("NFC", _as_text(entry))
            if name in found:
                raise UsageError(f"{root} holds two folders called {name!r}: merge them.")
            found[name] = entry
        elif _is_picture(entry):
            left.add("pictures beside the folders", name=entry.name)
        else:
            left.add("other files", name=entry.name)
    return found


def list_pictures(folder: Path, left: LeftOut) -> tuple[list[Path], str]:
    """Returns the picture files in and below a folder, and the name of one other file.

    Linked folders are followed; each folder is read once, so that circular links end.
    """
    pictures, other = [], ""
    for file in _files_below(folder, left):
        if _is_picture(file):
            pictures.append(file)
        else:
            other = other or file.name
            left.add("other files", name=file.name)
    return sorted(pictures), other


def count_pictures(folder: Path) -> int:
    """Returns the number of picture files in and below a folder that is left out."""
    files = _files_below(folder, LeftOut(), strict=False)
    return sum(_is_picture(file) for file in files)


def _files_below(folder: Path, left: LeftOut, *, strict: bool = True) -> Iterator[Path]:
    top = os.path.realpath(folder)
    seen, waiting = set(), [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        above = here != folder and os.path.commonpath([real, top]) == real
        if real in seen or above:  # a folder above the class holds other classes
            left.add("links to folders above or read already", name=here.name)
            continue
        seen.add(real)
        for entry in _entries(here, strict=strict):
            if _is_hidden(entry.name):
                left.add("hidden files and folders", name=entry.name)
            elif entry.is_dir():
                waiting.append(entry)
            else:
                yield entry


def _entries(folder: Path, *, strict: bool = True) -> list[Path]:
    """Lists a folder; a `FileError` if it cannot be read or, if `strict`, for broken links."""
    try:
        entries = sorted(folder.iterdir())
        lost = [entry for entry in entries if not _is_hidden(entry.name) and not entry.exists()]
    except OSError as error:
        raise FileError(f"could not read {folder}: {error.strerror or error}.") from error
    if lost and strict:
        raise FileError(f"{lost[0]} is a link to what is not there: mend it or remove it.")
    return entries


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in (*_SYSTEM, *_SYSTEM_FILES)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower().removeprefix(".") in PICTURES and file.is_file()


def _as_text(folder: Path) -> str:
    """Returns a folder's name; a `UsageError` for a name that is not valid text."""
    try:
        return folder.name.encode().decode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the name of a class is text in UTF-8; got {os.fsencode(folder.name)!r}: rename the "
            "folder."
        ) from error
