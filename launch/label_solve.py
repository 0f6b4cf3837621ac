"""Label Solve with workers; every flag of kipax label_solve, and those of a pool.

Command:  python -m launch.label_solve --num_workers=4 --dataset=digits --support=10
Expected: the result of kipax label_solve with the same flags, bit for bit.
Needs:    Python 3.10 with kipax[launchpad], or --engine=ray with kipax[ray]; see
          launch/README.md.
"""

from launch.command import run_launch

if __name__ == "__main__":
    run_launch("label_solve")
