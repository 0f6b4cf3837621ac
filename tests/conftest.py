"""Fixtures and settings of the whole suite."""

import os
import signal
import tempfile

# Set before JAX starts: the suite is the same on a machine with an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests leave nothing in the user's cache.
os.environ["KIPAX_CACHE"] = ""
# Most of the time goes into compiling.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# ... and much of it into compiling the same again: what is compiled is kept until the suite ends
# (CI keeps it from section to section), for both workers and for the programs that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="kipax-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

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
def _blank_pictures(request, monkeypatch):
    """Leaves the pictures of a run empty, since drawing them takes two seconds a run.

    Tests marked ``pictures`` draw them, and so do programs that tests start.
    """
    if "pictures" not in request.keywords:
        monkeypatch.setattr("kipax.plots.to_png", lambda figure: b"")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    import numpy as np

    import kipax

    doctest_namespace.update(np=np, kipax=kipax, jax=jax, jnp=jax.numpy)
