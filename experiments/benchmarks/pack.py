r"""Packs the state and the set of a KIP run into one small file, to move it to another machine.

Claim: a run whose folder has 40 MB, for its whitening, is continued or evaluated elsewhere from
a file of 1 MB (10 images of 32 x 32 x 3).

Command:  python -m experiments.benchmarks.pack runs/cifar10-convnet-10 cifar10-10.tar
          mkdir run && tar -xf cifar10-10.tar -C run
          kipax kip --workdir=run --resume ...        (the same data and flags)
          kipax evaluate run --dataset=npz:cifar10.npz
Expected: seconds. run.json, latest.npz, metrics.jsonl, and support.npz with its whitening as a
          recipe: the finished set, or that of the last checkpoint, which its metadata says.
"""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

from kipax import files, load
from kipax.errors import KipaxError, UsageError

_STATE = ("run.json", "latest.npz", "metrics.jsonl")


def newest_set(workdir: Path) -> Path | None:
    """Returns the finished set of a run or its last checkpoint, by the larger step; else None."""
    checkpoints = sorted((workdir / "checkpoints").glob("step_*.npz"))
    found = [*checkpoints[-1:], *workdir.glob("support.npz")]
    return max(found, key=lambda file: load(file).metadata["step"] or 0, default=None)


def pack(workdir: Path, out: Path) -> int:
    """Writes the archive, atomically; returns its size in bytes.

    Raises:
        UsageError: the folder holds no run.
        FileError: a file could not be read or written.
    """
    if not (workdir / "run.json").exists():
        raise UsageError(f"a run's folder holds a run.json; there is none in {workdir}.")
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in _STATE:
            if (workdir / name).exists():
                tar.add(workdir / name, arcname=name)
        source = newest_set(workdir)
        if source is not None:
            small = Path(folder) / "support.npz"
            load(source).save(small, embed_preprocessor=False)
            tar.add(small, arcname="support.npz")
    files.write_bytes(out, buffer.getvalue())
    return len(buffer.getvalue())


def main(words: list[str]) -> int:
    """Packs the run that the command line names."""
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        size = pack(Path(words[0]), Path(words[1]))
    except KipaxError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{words[1]}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
