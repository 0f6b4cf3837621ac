"""Kernel Inducing Points: learn a few images (and labels) that stand for a data set.

Claim: ten learned digits classify the test digits better than 0.93 by kernel ridge
regression with the ConvNet NTK; ten real ones reach 0.58 to 0.73.

Command:  python -m experiments.kip --dataset=digits --support=10
Expected: MEASURED

Source: Nguyen et al. 2021, arXiv:2107.13034.
"""

from kipax import console
from kipax.distill import KIPConfig, run_kip

if __name__ == "__main__":
    console.run_experiment(KIPConfig, run_kip)
