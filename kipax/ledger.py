"""`Ledger`: finished points in a file, one JSON object per line, which are not computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.errors import FileError
from kipax.files import hash_arrays

__all__ = ["Ledger", "array_hash", "key_of"]


def key_of(facts: Mapping[str, Any]) -> str:
    """Returns a hash of sixteen letters of JSON-ready facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def array_hash(*arrays: np.ndarray) -> str:
    """Returns a hash of sixteen letters of arrays."""
    return hash_arrays({f"{i:03d}": array for i, array in enumerate(arrays)})[:16]


class Ledger:
    """The finished points of evaluations, in memory and in a file.

    Args:
        path: the file; None keeps the points in memory alone. Points of other evaluations in
            the file stay; a line that a kill cut off is dropped.

    Attributes:
        added: number of points that this process finished.

    Raises:
        FileError: the file exists and cannot be read.
    """

    def __init__(self, path: Path | str | None):
        self._path = None if path is None else files.expand(path)
        self._records: dict[str, dict[str, Any]] = {}
        self.added = 0
        if self._path is not None and self._path.exists():
            try:
                lines = self._path.read_text().splitlines(keepends=True)
            except (OSError, UnicodeDecodeError) as error:
                raise FileError(f"could not read {self._path}: {error}.") from error
            self._records = {r["key"]: r for r in map(_parse, lines) if r is not None}
            if any(line.endswith("\n") for line in lines) and not self._records:
                raise FileError(
                    f"{self._path} holds no results of an evaluation: choose another --out."
                )

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns the finished point with this key, or None."""
        return self._records.get(key)

    def remember(
        self, facts: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Returns the finished point with these facts; without one, computes and keeps it.

        Args:
            facts: everything that the result depends on, JSON-ready.
            compute: returns the result, JSON-ready.

        Example:
            >>> ledger = Ledger(None)
            >>> ledger.remember({"x": 2}, lambda: {"square": 4})["square"]
            4
            >>> ledger.remember({"x": 2}, lambda: 1 / 0)["square"]
            4
        """
        key = key_of(facts)
        done = self.get(key)
        return self.add(key, dict(facts) | dict(compute())) if done is None else done

    def add(self, key: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps a finished point as a further line, so that evaluations may share a file.

        Raises:
            FileError: the line could not be written; the old lines stay.
        """
        self._records[key] = {"key": key} | dict(record)
        if self._path is not None:
            files.append_line(self._path, json.dumps(self._records[key]))
        self.added += 1
        return self._records[key]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("key"), str) else None
