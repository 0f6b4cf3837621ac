"""Reads and writes files: atomically, without pickles, with a clear error for every problem."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from kipax.errors import FileError, KipaxError, UsageError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "append_line",
    "expand",
    "hash_arrays",
    "lock",
    "make_folder",
    "read_json",
    "read_npz",
    "reading",
    "write_bytes",
    "write_json",
    "write_npz",
]


def expand(path: Path | str) -> Path:
    """Replaces ``~`` at the beginning of a path by the home folder, as a shell does.

    Shells do not replace it in ``--out=~/picture.png``, and Python never does.

    Raises:
        UsageError: the path is empty or not valid on any system.

    Example:
        >>> expand("runs/~").as_posix()
        'runs/~'
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise UsageError(f"a path is text or a pathlib.Path; got {path!r}.")
    text = os.path.expanduser(path)
    if "\0" in text or any(len(part.encode(errors="replace")) > 255 for part in Path(text).parts):
        raise UsageError(
            f"a file's name has at most 255 bytes and no NUL; got {text[:80]!r}: take another."
        )
    return Path(text)


def make_folder(path: Path | str) -> Path:
    """Makes a folder and its parents if they are missing; returns its path.

    Raises:
        FileError: it cannot be made.
    """
    folder = expand(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"could not make {folder}: {error.strerror or error}.") from error
    return folder


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes a file atomically: at any time either the old or the new file is there, complete.

    Raises:
        FileError: the disk is full, the folder is missing or not writable; the old file stays.
    """
    path = expand(path)
    if not path.name:
        raise UsageError(f"a file to write needs a name; got {str(path)!r}.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, path)
    except BaseException as error:  # Ctrl-C too
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or str(error)
        raise FileError(f"could not write {path}: {reason}.") from error


@contextlib.contextmanager
def lock(path: Path | str) -> Iterator[None]:
    """Locks a file while the block runs; the lock ends with the process.

    Where the system or the file system has no locks, nothing is locked.

    Raises:
        BlockingIOError: the file is locked already.
        FileError: the file cannot be made.
    """
    with contextlib.ExitStack() as opened:
        try:
            mode = "rb" if os.path.exists(path) and not os.access(path, os.W_OK) else "ab"
            f = opened.enter_context(open(path, mode))  # a file of another user can be locked too
        except OSError as error:
            raise FileError(f"could not write {path}: {error.strerror or error}.") from error
        if fcntl is not None:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass
        yield


def append_line(path: Path | str, line: str) -> None:
    """Adds a line to a file in one write; keeps it apart from a line that a kill cut off.

    Raises:
        FileError: the disk is full, or the folder cannot be made; the old lines stay.
    """
    path = expand(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as f:
            f.write((b"" if _ends_whole(f) else b"\n") + line.encode() + b"\n")
    except OSError as error:
        raise FileError(f"could not write {path}: {error.strerror or error}.") from error


def _ends_whole(f: IO[bytes]) -> bool:
    if f.seek(0, os.SEEK_END) == 0:
        return True
    f.seek(-1, os.SEEK_END)
    return f.read(1) == b"\n"


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray], *, lzma: bool = False) -> None:
    """Writes arrays as an npz, atomically; equal arrays give equal bytes.

    Args:
        path: the file.
        arrays: the arrays by name.
        lzma: True compresses them well but slowly (2 MB a second), False does not compress.
    """
    buffer = io.BytesIO()
    if lzma:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, as NumPy's: no time of writing
                info.compress_type = zipfile.ZIP_LZMA
                archive.writestr(info, member.getvalue())
    else:
        np.savez(buffer, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def write_json(path: Path | str, value: Any) -> None:
    """Writes indented JSON with sorted keys, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path | str) -> Any:
    """Reads a JSON file; raises a `FileError` if it is missing or damaged."""
    path = expand(path)
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise FileError(f"could not read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise FileError(f"{path} is damaged: it is not JSON ({error}).") from error


def read_npz(
    path: Path | str, required: Iterable[str] = (), *, optional: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads an npz without ever unpickling anything.

    Args:
        path: the file.
        required: names of arrays that it must hold.
        optional: further names to read if they exist; None reads all.

    Raises:
        FileError: the file is missing, unreadable, truncated, not an npz, holds pickled objects,
            or lacks a required array.
    """
    required, path = list(required), expand(path)
    try:
        with open(path, "rb") as f:
            if not zipfile.is_zipfile(f):
                raise FileError(f"{path} is not an npz file, or is truncated.")
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in required if name not in archive.files]
            if missing:
                held = ", ".join(archive.files) or "nothing"
                raise FileError(f"{path} lacks {', '.join(missing)}; it holds {held}.")
            names = archive.files if optional is None else [*required, *optional]
            arrays = {name: archive[name] for name in names if name in archive.files}
        foreign = [name for name, a in arrays.items() if not isinstance(a, np.ndarray)]
        if foreign:
            raise FileError(f"{path} is damaged: {', '.join(foreign)} is no array.")
        return arrays
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"could not read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise FileError(
                f"{path} holds pickled objects, which kipax never loads: save plain arrays "
                "(numeric dtypes, no lists of differing lengths)."
            ) from error
        raise FileError(f"{path} is damaged: {error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileError(f"{path} is damaged or truncated: {error}.") from error
    except Exception as error:  # lzma and tokenizer errors have no common base
        raise FileError(f"{path} is damaged: {error}.") from error


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turns what malformed content of a file raises while the block runs into a `FileError`.

    Args:
        path: the file, for the message.

    Raises:
        FileError: the content lacks a field, or a field is of the wrong kind.
    """
    try:
        yield
    except FileError:
        raise
    except KeyError as error:
        raise FileError(f"{path} is damaged: its metadata lacks {error}.") from error
    except (KipaxError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {error}") from error


def plain_name(text: str) -> str:
    """Makes a file name of a text: all but letters, digits, ``-``, ``_`` and ``.`` become ``-``.

    Example:
        >>> plain_name("npz:my data.npz")
        'npz-my-data.npz'
    """
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the sha256 of named arrays: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()
