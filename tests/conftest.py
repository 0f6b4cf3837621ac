"""Fixtures and settings of the whole suite."""

import os
import signal

# Set before JAX starts: the suite is the same on a machine with an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests leave nothing in the user's cache.
os.environ["KIPAX_CACHE"] = ""
# Most of the time goes into compiling.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import jax
import pytest

# A suite started in the background ignores Ctrl-C, and so would the programs that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "kipax", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("kipax")


@pytest.fixture
def x64():
    """JAX's float64 for one test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    import numpy as np

    import kipax

    doctest_namespace.update(np=np, kipax=kipax, jax=jax, jnp=jax.numpy)
