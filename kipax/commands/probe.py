"""What a network's features know: linear probe, neighbours, clusters, retrieval, few labels.

Claim: the features of a network that was trained on digits classify digits better than pixels do.

Command:  kipax teacher --dataset=digits
          kipax probe runs/digits-teacher
          kipax probe pixels --dataset=digits
Expected: see docs/probe.md; seconds on 2 CPU cores for digits.

NETWORK is a file, the folder of the run that trained it, or pixels for the baseline. Every rule is
printed beside its number; see kipax.probes. Clusters need the extra analysis.

Source: Koohpayegani et al. 2020, arXiv:2010.14713.
"""

from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.data import load_dataset
from kipax.errors import UsageError
from kipax.networks import load_network
from kipax.probes import ProbeConfig, probe

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: console.ConsoleReporter, network: str) -> dict[str, Any]:
    """Probes a network and prints the results."""
    config: ProbeConfig = config_flags.config_from_flags(ProbeConfig)
    opened = None if network == "pixels" else load_network(network)
    name = config.dataset or (opened.metadata["dataset"] if opened else "")
    if not name:
        raise UsageError("probes need a data set: name it with --dataset.")
    data = load_dataset(name, data_dir=config.data_dir, image_size=config.image_size)
    reporter.say(f"{opened or 'standardised pixels'} · probed with {data!r}")
    results = probe(opened, data, config, reporter=reporter)
    reporter.close()
    for key, value in results.items():
        reporter.say(f"{key:>18}  {value}")
    return results


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    config_flags.define_flags(ProbeConfig)
    console.run_command(_command, operand="NETWORK", about=__doc__)
