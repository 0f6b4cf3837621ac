"""A kernel of finite random networks as a function of the user's, beside the exact NNGP."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.random_features import random_features
from kipax import KIPConfig, load_dataset, make_kernel_fn, run_kip
from kipax.kernels import FunctionKernel, check_function
from kipax.students import StudentSpec


def _kernel(name, width, networks, shape=(8, 8, 1)):
    spec = StudentSpec(name=name, width=width, parameterisation="ntk")
    return random_features(spec, shape, networks=networks)


@pytest.mark.parametrize("name", ["fc2", "convnet2"])
def test_it_approaches_the_nngp(name):
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    exact = np.asarray(make_kernel_fn(name, kind="nngp")(x))

    def deviation(width, networks):
        found = np.asarray(_kernel(name, width, networks)(jnp.asarray(x), jnp.asarray(x)))
        return np.linalg.norm(found - exact) / np.linalg.norm(exact)

    coarse, fine = deviation(8, 2), deviation(64, 128)  # 8,192 channels: 0.01 to 0.03
    assert fine < 0.05
    assert fine < coarse / 3


def test_it_is_a_kernel_to_learn_with(tmp_path):
    data = load_dataset("digits")
    kernel_fn = _kernel("convnet1", 8, 4)
    kernel = check_function(FunctionKernel("python:features", function=kernel_fn), (8, 8, 1))
    assert min(kernel.probe[i] for i in (0, 3, 5)) > 0  # variances
    config = KIPConfig(architecture="python:features", steps=15, target_batch=200)
    result = run_kip(config, dataset=data, workdir=tmp_path, kernel_fn=kernel_fn)
    assert result.evaluation.test_accuracy > result.initial.test_accuracy + 0.1
