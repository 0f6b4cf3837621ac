r"""KIP's batches at equal cost: many small steps or a few large ones, on as many targets in all.

Claim: with a rate that goes down to zero, steps of some fifty targets teach more with every target
than steps of hundreds do; the paper's have 5,000. Accuracies are those of kernel ridge regression
after the last step; whoever chooses a batch by them takes the validation column.

Command:  python -m experiments.batches --dataset=npz:cifar10.npz --preprocessing=zca \
              --loss=xent --learning_rate=0.08 --final_learning_rate=0 \
              --label_learning_rate=0.008 --validation_examples=5000 --eval_examples=1000 \
              --eval_every=1000 --targets=20000 --batches=200,48
Expected: validation 42.4 % in steps of 200 and 50.9 in steps of 48, one seed; 15 minutes on a core.
          Runs lie in --workdir, a folder each, and are continued by the same command.
"""

from typing import Any

from absl import flags

from experiments.kip_table import define_table_flags, run_table, seeds_of_flags
from kipax import console
from kipax import flags as config_flags
from kipax.distill import KIPConfig
from kipax.errors import UsageError, read_whole_numbers


def _config_of(batch: int, seed: int) -> KIPConfig:
    """Returns the config of one run from the flags, of as many steps as the targets allow."""
    steps = max(1, round(flags.FLAGS.targets / batch))
    return config_flags.config_from_flags(
        KIPConfig, target_batch=str(batch), steps=steps, seed=seed, max_seconds=None
    )


def main(reporter: console.ConsoleReporter) -> dict[str, Any]:
    """Runs KIP with each batch and seed, and prints a table with one row for each batch."""
    batches, seeds = read_whole_numbers("batches", flags.FLAGS.batches), seeds_of_flags()
    if not batches or flags.FLAGS.targets < max(batches):
        raise UsageError(
            "batches are needed, and targets for at least one step of each; got "
            f"targets={flags.FLAGS.targets} and batches={flags.FLAGS.batches!r}."
        )
    ways = {str(batch): [_config_of(batch, seed) for seed in seeds] for batch in batches}
    return run_table("targets a step", ways, reporter)


if __name__ == "__main__":
    config_flags.define_flags(KIPConfig, without=("steps", "target_batch"))
    flags.DEFINE_string("batches", "200,100,48,16", "targets a step, with commas between")
    flags.DEFINE_integer("targets", 20_000, "targets of a run: its steps times its batch")
    define_table_flags("runs/batches")
    console.run_command(main)
