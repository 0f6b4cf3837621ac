"""Label Solve: the best labels for a few real images, in closed form.

Claim: solved labels classify better than one-hot labels of the same real images.

Command:  python -m experiments.label_solve --dataset=digits --support=10
Expected: MEASURED

Source: Nguyen et al. 2021, equation 2, arXiv:2107.13034.
"""

from kipax import console
from kipax.distill import LabelSolveConfig, run_label_solve

if __name__ == "__main__":
    console.run_experiment(LabelSolveConfig, run_label_solve)
