"""Distilled sets that come with kipax: `kipax.load` takes their names.

Each was made by a command of experiments/results/README.md (the digits with
``--checkpoint_every=5`` as well) and written by ``kipax checkpoints --ship=NAME``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["available", "find"]

_FOLDER = Path(__file__).parent


def available() -> tuple[str, ...]:
    """Returns the names of the shipped sets: ``<data>-<network>-<images>``, some with a suffix.

    Example:
        >>> all(isinstance(name, str) for name in available())
        True
    """
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.npz")))


def find(name: Path | str) -> Path | None:
    """Returns the file of a shipped set, or None if no set has this name."""
    return _FOLDER / f"{name}.npz" if str(name) in available() else None
