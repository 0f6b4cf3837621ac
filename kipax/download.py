"""Fetching one file over HTTP: resumed where it broke off, checked, put in place whole."""

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
    """Fetches a file unless it is there already, and right by `sha256` where that is given.

    An interrupted download leaves ``path.part``, from which the next call goes on. The file
    is compared with `sha256` where given, else with the MD5 that storage buckets announce;
    where there is neither, only its length is, and a broken transfer begins anew, since the
    server may have another file by now.

    Args:
        url: ``http`` or ``https``.
        path: where to; its folder is made.
        sha256: expected checksum, hexadecimal.

    Returns:
        `path`.

    Raises:
        UsageError: another kind of URL.
        FileError: no network, no such file, a broken transfer (call again to go on), or a
            checksum that differs (the partial file is dropped, one that was there stays).
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
    """Appends what is missing, if that will be `proved` or the server announces an MD5.

    Returns:
        That MD5, hexadecimal.
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
