"""Fetches a file over HTTP: resumes a broken download, checks the file, then moves it in place."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from kipax import files
from kipax.errors import FileError, UsageError

__all__ = ["download"]

_CHUNK = 1 << 20
_SECONDS_TO_ANSWER = 30.0


def download(url: str, path: Path | str, *, sha256: str | None = None) -> Path:
    """Fetches a file, unless it exists already with the right `sha256`, where that is given.

    An interrupted download leaves ``path.part``, from which the next call continues. The file
    is compared with `sha256` where given, else with the MD5 that storage buckets announce;
    without either only its length is checked, and a broken transfer starts again, since the
    file on the server may have changed.

    Args:
        url: an ``http`` or ``https`` address.
        path: the file to write; its folder is made.
        sha256: expected checksum, hexadecimal.

    Returns:
        `path`.

    Raises:
        UsageError: another kind of URL.
        FileError: no network, no such file, a broken transfer (call again to continue), or another
            checksum (the partial file is deleted, an earlier file stays).
    """
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"a download needs an http or https URL; got {url!r}.")
    path = files.expand(path)
    if path.exists():
        _check_existing(path, sha256)
        return path
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        announced = _fetch(url, partial, proved=sha256 is not None)
        _check(url, partial, sha256, announced)
        os.replace(partial, path)
    except urllib.error.HTTPError as error:
        raise FileError(f"could not fetch {url}: {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "reason", None) or error
        raise FileError(f"could not fetch {url}: {reason}; call again to go on.") from error
    return path


def _check_existing(path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256.lower():
        raise FileError(f"{path} is another file: its checksum is {found}, not {sha256}.")


def _fetch(url: str, partial: Path, *, proved: bool) -> str | None:
    """Appends the missing bytes if the file is `proved` by a checksum or the server has an MD5.

    Returns:
        The MD5, hexadecimal; None without one.
    """
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is missing, or the file has changed
            raise
        partial.unlink()
        return _fetch(url, partial, proved=proved)
    with answer:
        resumed, announced = answer.status == 206, _announced_md5(answer.headers)
        if resumed and not (proved or announced):
            partial.unlink()
            return _fetch(url, partial, proved=proved)
        with open(partial, "ab" if resumed else "wb") as f:
            while chunk := answer.read(_CHUNK):
                f.write(chunk)
        length = answer.headers.get("Content-Length")
        expected = (have if resumed else 0) + int(length) if length else None
        got = partial.stat().st_size
        if expected is not None and got != expected:
            raise FileError(
                f"could not fetch {url}: it broke off at {got:,} of {expected:,} bytes; call "
                "again to go on."
            )
        return announced


def _announced_md5(headers: http.client.HTTPMessage) -> str | None:
    for value in headers.get_all("x-goog-hash") or []:
        for part in value.split(","):
            kind, _, text = part.strip().partition("=")
            if kind == "md5":
                return base64.b64decode(text).hex()
    return None


def _check(url: str, partial: Path, sha256: str | None, md5: str | None) -> None:
    data = partial.read_bytes()
    expected = sha256 or md5
    if expected is None:
        return
    found = (hashlib.sha256(data) if sha256 else hashlib.md5(data)).hexdigest()
    if found != expected.lower():
        partial.unlink()
        raise FileError(f"{url} arrived damaged: its checksum is {found}, not {expected}.")
