"""Label Solve: the best labels for a few real images, in closed form.

Claim: solved labels classify better than one-hot labels of the same real images.

Command:  python -m experiments.label_solve --dataset=digits --support=10
Expected: test accuracy 0.814 from 0.667 (100 images: 0.983 from 0.914); 20 s (46 s) on 2 CPU
          cores, jax 0.10.2. Another seed draws other images: 0.05 and more apart.

Source: Nguyen et al. 2021, equation 2, arXiv:2107.13034.
"""

from kipax import console
from kipax.distill import LabelSolveConfig, run_label_solve

if __name__ == "__main__":
    console.run_experiment(LabelSolveConfig, run_label_solve)
