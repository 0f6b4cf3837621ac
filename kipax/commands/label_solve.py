"""Label Solve: the best labels for a few real images, in closed form.

Claim: solved labels classify better than one-hot labels of the same real images.

Command:  kipax label_solve --dataset=digits --support=10
Expected: test accuracy 0.814 from 0.667 (100 images: 0.983 from 0.914); 20 s (46 s) on 2 CPU
          cores, jax 0.10.2. Another seed draws other images: 0.05 and more apart.

Source: Nguyen et al. 2021, equation 2, arXiv:2107.13034.
"""

from absl import flags

from kipax import console
from kipax.distill import LabelSolveConfig, run_label_solve

flags.disclaim_key_flags()  # the calling program owns the flags


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    console.run_experiment(LabelSolveConfig, run_label_solve, about=__doc__)
