"""Kernel Inducing Points with workers; takes the flags of kipax kip, without --movie, and a pool's.

Command:  python -m launch.kip --num_workers=4 --dataset=digits --support=10
Expected: the result of kipax kip with the same flags, bit for bit.
Needs:    Python 3.10 with kipax[launchpad], or --engine=ray with kipax[ray]; see
          launch/README.md.
"""

from launch.command import run_launch

if __name__ == "__main__":
    run_launch("kip")
