"""The real data sets that may lie beside the project, for tests that skip where they do not."""

import functools
import pathlib
import subprocess
import sys
import tempfile

import pytest

from kipax import Dataset, load_dataset

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"


def real_dataset(name: str) -> Dataset:
    """mnist, fashion_mnist or cifar10, whole; digits, which is embedded."""
    if name == "digits":
        return load_dataset(name)
    if not (SHARED / f"{name}.npz").exists():
        pytest.skip(f"the real {name} is not beside the project")
    return _load(name)


@functools.cache
def _load(name: str) -> Dataset:
    if name != "cifar10":
        return load_dataset(f"npz:{SHARED / name}.npz")
    with tempfile.TemporaryDirectory() as folder:  # stored as prediction errors
        subprocess.run([sys.executable, SHARED / "unpack.py", folder, name], check=True)
        return load_dataset(f"npz:{folder}/{name}.npz")
