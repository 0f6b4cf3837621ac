"""Kernels that are no network's, in a pool: workers make RBF and Laplace, and refuse functions."""

import dataclasses

import numpy as np
import pytest

from kipax.blocks import LocalExecutor, TargetRows
from kipax.blocks.tasks import GramTask
from kipax.blocks.wire import pack_task, unpack, unpack_task
from kipax.errors import UsageError
from kipax.kernels import FunctionKernel, KernelSpec, descriptions
from tests.kernels.test_functions import cosine
from tests.pool.pools import PLAN, Pool, assert_equal, results


def test_workers_compute_radial_kernels(job, targets, x_support):
    spec = KernelSpec(descriptions.from_name("laplace:0.5"))
    expected = results(LocalExecutor(targets, PLAN), x_support, spec=spec)
    with Pool(dataclasses.replace(job, kernels=(spec,))) as workers:
        assert_equal(results(workers.executor, x_support, spec=spec), expected)


def test_a_radial_kernel_crosses_the_wire():
    spec = KernelSpec(descriptions.from_name("rbf:0.25"))
    task = GramTask(position=0, version=0, kernel=spec, rows=TargetRows(np.arange(3)), used=3)
    assert unpack_task(unpack(pack_task(task, {}))).kernel == spec


def test_workers_refuse_a_function(job):
    spec = KernelSpec(FunctionKernel("python:cosine", function=cosine))
    with pytest.raises(UsageError, match="python:cosine is a function of this process alone"):
        Pool(dataclasses.replace(job, kernels=(spec,)), workers=0)
