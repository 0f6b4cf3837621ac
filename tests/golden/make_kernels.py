"""Recipe of kernels.npz: ``python -m tests.golden.make_kernels``.

Every case of tests/kernels/cases.py through neural-tangents 0.6.5 in float64: values and
input gradients of ``k(x1, x2)`` and of ``k(x1)``. Made with Python 3.11, jax 0.10.2.
"""

import pathlib

import jax
import numpy as np

from kipax import files
from kipax.kernels.reference import make_reference_kernel_fn
from tests.kernels.cases import CASES, Case

PATH = pathlib.Path(__file__).with_name("kernels.npz")


def compute(case: Case) -> dict[str, np.ndarray]:
    """The reference's answers for one case."""
    kernel_fn = jax.jit(make_reference_kernel_fn(case.architecture, kind=case.kind))
    x1, x2 = case.images()
    of_pair, of_self = case.cotangents()
    k, pull = jax.vjp(kernel_fn, x1, x2)
    k_self, pull_self = jax.vjp(lambda x: kernel_fn(x, None), x1)
    d_x1, d_x2 = pull(of_pair)
    arrays = {"k": k, "d_x1": d_x1, "d_x2": d_x2, "k_self": k_self, "d_self": pull_self(of_self)[0]}
    return {name: np.asarray(a) for name, a in arrays.items()}


def main() -> None:
    """Writes the file."""
    jax.config.update("jax_enable_x64", True)
    named = {f"{c.id}/{k}": v for c in CASES for k, v in compute(c).items()}
    files.write_npz(PATH, named)


if __name__ == "__main__":
    main()
