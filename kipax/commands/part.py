r"""A class-balanced part of a data set as one small file, compressed without loss.

Claim: 14,000 training and 1,000 test images of CIFAR-10 take 24.8 MB, 26,000 and 1,000 take 44.6
(their pixels 46.1 and 82.9): for a machine without network, or with little room.

Command:  kipax part --dataset=npz:cifar10.npz --examples=14000 --out=part.npz
Expected: 92 s on 2 shared CPU cores (26,000 examples: 152 s), reading it again and comparing every
          pixel included. --dataset=npz:part.npz is then a data set like any other. What is learned
          from a part is tested on all test images where those lie: kipax evaluate SET
          --dataset=npz:cifar10.npz.
"""

from typing import Any

import numpy as np
from absl import flags

from kipax import files, load_dataset
from kipax.console import ConsoleReporter, run_command
from kipax.data.part import take_part, write_part
from kipax.errors import FailedRunError

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: ConsoleReporter) -> dict[str, Any]:
    """Writes the part, reads it again and compares every pixel."""
    chosen = flags.FLAGS
    whole = load_dataset(chosen.dataset, data_dir=chosen.data_dir, image_size=chosen.image_size)
    test_examples = min(chosen.test_examples, len(whole.x_test))
    part = take_part(whole, chosen.examples, test_examples)
    out = files.expand(chosen.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_part(out, part, whole)
    read = load_dataset(f"npz:{out}")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        if not np.array_equal(getattr(read, name), getattr(part, name)):
            raise FailedRunError(f"{chosen.out} does not give {name} back: do not use it.")
    megabytes = out.stat().st_size / 1e6
    pixels = (part.x_train.nbytes + part.x_test.nbytes) / 1e6
    reporter.say(read.note)
    reporter.say(f"{chosen.out}: {megabytes:.1f} MB for {pixels:.1f} MB of pixels")
    reporter.say(f"next: kipax kip --dataset=npz:{chosen.out}")
    return {
        "out": chosen.out,
        "megabytes": round(megabytes, 3),
        "train": len(part.x_train),
        "test": len(part.x_test),
        "training_hash": part.training_hash,
    }


def _define_flags() -> None:
    flags.DEFINE_string("dataset", "digits", "the whole, as for kipax kip")
    flags.DEFINE_string("data_dir", None, "where prepared TensorFlow Datasets lie")
    flags.DEFINE_integer("image_size", None, "side in pixels for pictures of differing sizes (32)")
    flags.DEFINE_integer("examples", None, "training images of the part", required=True)
    flags.DEFINE_integer("test_examples", 1000, "its test images, at most all")
    flags.DEFINE_string("out", "part.npz", "the file to write")


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    _define_flags()
    run_command(_command, about=__doc__)
