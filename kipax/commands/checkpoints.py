r"""The checkpoints of a KIP run by the paper's rule, and a shipped set made of the best.

Claim: the paper's test accuracies are the mean over the five checkpoints of lowest training loss;
the five of a short run, which still rises, spread by one or two points.

Command:  kipax checkpoints --workdir=runs/mnist-convnet-10 \
              [--ship=mnist-convnet-10]
Expected: see experiments/results/README.md of the repository; a minute. --ship writes the set of
          lowest training loss to kipax/shipped, whitening as a recipe, with its accuracy on a fixed
          slice for the tests.

Source: Nguyen et al. 2021, appendix A, arXiv:2107.13034.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import kipax
from kipax import files, ridge
from kipax.console import ConsoleReporter, run_command
from kipax.distill.workdir import Workdir
from kipax.errors import UsageError

flags.disclaim_key_flags()  # the calling program owns the flags

PROTOCOL = "krr: kernel ridge regression with the distilling kernel, at the lowest training loss"


def _ship(support: kipax.SupportSet, name: str, facts: dict[str, Any], x, y) -> Path:
    slice_accuracy = ridge.accuracy(support.scores(x), y)
    check = {"examples": len(x), "test_accuracy": slice_accuracy}
    metadata = dict(support.metadata) | facts | {"protocol": PROTOCOL, "slice": check}
    path = Path(kipax.__file__).parent / "shipped" / f"{name}.npz"
    dataclasses.replace(support, metadata=metadata).save(path, embed_preprocessor=False)
    return path


def _command(reporter: ConsoleReporter) -> dict[str, Any]:
    """Evaluates the kept checkpoints on all test images."""
    chosen = flags.FLAGS
    workdir = Workdir(chosen.workdir)
    if not workdir.path.is_dir():
        raise UsageError(f"workdir is the folder of a KIP run; there is no {chosen.workdir}.")
    workdir.load_latest()
    losses = {step: loss for step, loss in workdir.lowest_losses.items() if step}
    if not losses:
        raise UsageError(
            f"{chosen.workdir} holds no checkpoint with a training loss: run at least "
            "--checkpoint_every steps of kipax kip there."
        )
    told = files.read_json(workdir.path / "run.json")["config"]
    where = {name: told[name] for name in ("data_dir", "image_size")}
    data = kipax.load_dataset(chosen.dataset or told["dataset"], **where)
    accuracies = {}
    targets = None
    for step in losses:
        support = kipax.load(workdir.checkpoint_path(step))
        support.check_fits(data)
        targets = support.preprocess(data.x_test) if targets is None else targets
        accuracies[step] = ridge.accuracy(support.scores_of_preprocessed(targets), data.y_test)
        reporter.say(f"step {step}: loss {losses[step]:.5f}, test accuracy {accuracies[step]:.4f}")
    if len(losses) < 5:
        reporter.say(
            f"{len(losses)} and not five: a run with a smaller --checkpoint_every has more"
        )
    best = next(iter(losses))
    scores = list(accuracies.values())
    result: dict[str, Any] = {
        "lowest_loss_step": best,
        "test_accuracy": accuracies[best],
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "checkpoints": {str(k): v for k, v in accuracies.items()},
    }
    if chosen.ship:
        support = kipax.load(workdir.checkpoint_path(best))
        facts = {"step": best, "test_accuracy": accuracies[best], "train_loss": losses[best]}
        path = _ship(support, chosen.ship, facts, *data.test_part(chosen.slice_examples))
        result["shipped"] = path.name
    return result


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "folder of a KIP run", required=True)
    flags.DEFINE_string("dataset", None, "its data set, if it lies elsewhere now")
    flags.DEFINE_string("ship", None, "write the set of lowest training loss under this name")
    flags.DEFINE_integer("slice_examples", 300, "test images of the accuracy that tests recompute")


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    _define_flags()
    run_command(_command, about=__doc__)
