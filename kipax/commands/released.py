"""A set released by the paper's authors, with its preprocessing, as a kipax support set.

Claim: the recomputed test accuracy is the index's, within half a point.
Command: kipax released --name=cifar10/ConvNet_ssize10_zca_l_noaug_ckpt1000.npz
Expected: for cifar10/ConvNet_ssize10_zca_l_aug_ckpt6.npz the index says 0.2726.
Time: a minute for the whitening, then 10,000 test images against the set; needs a network,
or --file and --index with what was downloaded before. Not run with the real files so far.
"""

from pathlib import Path
from typing import Any

from absl import flags

from kipax import load_dataset
from kipax.console import ConsoleReporter, run_command
from kipax.data.fit import cache_dir
from kipax.download import download
from kipax.errors import UsageError
from kipax.released import BUCKET, load_released, parse_name, read_index

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: ConsoleReporter) -> dict[str, Any]:
    """Fetches, loads, checks and saves one released set."""
    chosen = flags.FLAGS
    if not chosen.name:
        raise UsageError("--name=<dataset>/<file>.npz says which released set.")
    wanted, folder = parse_name(chosen.name), (cache_dir() or Path(".")) / "released"
    method = "ls" if wanted.step is None else "kip"  # names of the bucket's folders
    index = chosen.index or download(f"{BUCKET}{method}/{method}.csv", folder / f"{method}.csv")
    rows = [row for row in read_index(index) if str(row.url).endswith("/" + chosen.name)]
    if not rows:
        raise UsageError(f"the index {index} has no {chosen.name}.")
    file = chosen.file or download(str(rows[0].url), folder / method / chosen.name)
    data = load_dataset(chosen.dataset or wanted.dataset, data_dir=chosen.data_dir)
    support = load_released(file, data, entry=rows[0])
    support.save(chosen.out)
    reporter.say(str(support))
    facts = ("test_accuracy", "released_test_accuracy", "reproduced", "preprocessing_fit")
    return {k: support.metadata[k] for k in facts} | {"support": chosen.out}


def _define_flags() -> None:
    flags.DEFINE_string("name", None, "<dataset>/<file>.npz as in the index")
    flags.DEFINE_string("file", None, "a released npz that is here already")
    flags.DEFINE_string("index", None, "kip.csv or ls.csv that is here already")
    flags.DEFINE_string("dataset", None, "where its data set lies (the set of its name, by TFDS)")
    flags.DEFINE_string("data_dir", None, "where prepared TensorFlow Datasets lie")
    flags.DEFINE_string("out", "released.npz", "the support set to write")


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    _define_flags()
    run_command(_command, about=__doc__)
