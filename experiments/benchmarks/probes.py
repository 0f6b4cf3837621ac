"""Times the probes that compare many features: nearest neighbours and clusters.

Claim: 10,000 test features of length 512 find their neighbours among 50,000 in under ten seconds,
and a hundred clusters of these are found and aligned in under a minute, on two CPU cores.

Command:  python -m experiments.benchmarks.probes
Expected: see experiments/benchmarks/README.md; under two minutes.
"""

import time
from typing import Any

import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.probes import cluster_alignment, knn_accuracy

flags.DEFINE_integer("train", 50_000, "training features")
flags.DEFINE_integer("test", 10_000, "test features")
flags.DEFINE_integer("features", 512, "length of a feature")
flags.DEFINE_integer("classes", 100, "classes, and clusters")


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures the time of both probes on random features that form a cloud for each class."""
    chosen, rng = flags.FLAGS, np.random.default_rng(0)
    centres = rng.normal(size=(chosen.classes, chosen.features)).astype(np.float32)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = rng.integers(0, chosen.classes, count)
        noise = rng.normal(size=(count, chosen.features)).astype(np.float32)
        return centres[classes] + 3.0 * noise, classes

    data = (*draw(chosen.train), *draw(chosen.test))
    found = {}
    for name, measure in (
        ("knn", lambda: knn_accuracy(*data, k=1).accuracy),
        ("cluster_alignment", lambda: cluster_alignment(*data)),
    ):
        began = time.perf_counter()
        accuracy = measure()
        found[name] = round(time.perf_counter() - began, 2)
        reporter.say(f"{name}: {found[name]:.1f} s ({100 * accuracy:.1f} % are right)")
    return {"seconds": found, **timing.machine()}


if __name__ == "__main__":
    run_command(main)
