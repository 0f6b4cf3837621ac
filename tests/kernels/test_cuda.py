"""The GPU kernel: compiled, lowered, run on a GPU if there is one; test_warps.py has its sums."""

import functools
import pathlib
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from kipax import architectures, make_kernel_fn
from kipax.errors import UsageError
from kipax.kernels import api, fused
from kipax.kernels.fused import cuda
from tests.closeness import assert_close
from tests.kernels.cases import CASES, skip_unless_it_runs

NETWORKS = [("convnet", (32, 32, 3)), ("myrtle10", (32, 32, 3)), ("convnet3", (28, 28, 1))]
CALLS = ["kipax_cuda_forward", "kipax_cuda_backward"]
on_gpu = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU here")


@pytest.fixture(autouse=True)
def _built():
    if jax.default_backend() == "cpu":
        skip_unless_it_runs("fused")


def _plan(name, shape):
    attributes = fused._attributes(architectures.from_name(name), shape, ntk=True)
    variances = (float(attributes[f"{n}_variance"]) for n in ("weight", "bias"))
    return cuda.plan(attributes["program"], *variances)


def _machine_code(text, folder):
    """By NVRTC, or by nvcc; whichever is installed."""
    nvrtc = cuda._nvrtc()
    if nvrtc is not None:
        return cuda.compile_source(nvrtc, text, "sm_90")
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("neither NVRTC nor nvcc is installed")
    (folder / "kipax.cu").write_text(text)
    command = [nvcc, "-std=c++17", "-arch=sm_90", "-cubin", "-o", "kipax.cubin", "kipax.cu"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "kipax.cubin").read_bytes()


@on_gpu
def test_the_papers_network():
    """First, since a prepared script gives these tests a minute and a half."""
    rng = np.random.default_rng(0)
    x1, x2 = (rng.normal(size=(n, 32, 32, 3)).astype(np.float32) for n in (10, 2))
    results = []
    for backend in ("fused", "portable"):
        kernel_fn = make_kernel_fn("convnet", backend=backend)
        k, pull = jax.vjp(functools.partial(kernel_fn, x1), x2)
        results.append((k, *pull(jnp.ones_like(k))))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, 5e-5)


_SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in NETWORKS[1:]]


@pytest.mark.parametrize(("name", "shape"), [NETWORKS[0], *_SLOW])
def test_compiles(tmp_path, name, shape):
    text, (tables, sums, warps) = _plan(name, shape)
    image = _machine_code(cuda.source(text), tmp_path)
    assert image[:4] == b"\x7fELF"
    for entry in (b"kipax_forward", b"kipax_backward", b"kipax_total"):
        assert entry in image
    assert tables > 0
    assert sums >= np.prod(shape)
    assert 1 <= warps <= 8


def test_what_is_not_served():
    with pytest.raises(UsageError, match="wider than 32 pixels; use backend='portable'"):
        _plan("convnet", (64, 64, 3))
    with pytest.raises(UsageError, match="more than 8 layers between two pools"):
        _plan("convvec9", (8, 8, 1))


@pytest.fixture
def _pretended(monkeypatch):
    """A GPU whose programs are never run."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cuda, "_device", lambda: (9, 0, 232448))
    monkeypatch.setattr(cuda, "_nvrtc", lambda: object())
    monkeypatch.setattr(cuda, "compile_source", lambda *_: b"code")
    cuda._compiled.cache_clear()
    yield
    cuda._compiled.cache_clear()


@pytest.mark.usefixtures("_pretended")
def test_lowers_to_its_calls():
    network = architectures.from_name("convnet2")

    def loss(a, b):
        same = jnp.zeros((len(a), len(b)), bool)
        k = fused.matrix(a, b, same, symmetric=False, architecture=network, ntk=True)
        return jnp.sum(k**2)

    shapes = [jax.ShapeDtypeStruct((n, 9, 8, 3), jnp.float32) for n in (40, 6)]
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in CALLS]
    step = jax.jit(jax.grad(loss, argnums=1))
    text = export.export(step, platforms=["cuda"], disabled_checks=checks)(*shapes).mlir_module()
    source = (pathlib.Path(cuda.__file__).parent / "cuda.cpp").read_text()
    shared, forward, backward = (
        set(re.findall(r'Attr<[^>]*>\("(\w+)"\)', part))
        for part in source[source.index("auto WithLaunch") :].split("XLA_FFI_DEFINE_HANDLER_SYMBOL")
    )
    for name, own in zip(CALLS, (forward, backward), strict=True):
        assert own
        call = next(line for line in text.splitlines() if f"@{name}" in line)
        config = re.search(r"backend_config = \{(.*?)\}", call)[1]
        assert set(re.findall(r"(\w+) = ", config)) == shared | own  # XLA refuses any other


@pytest.mark.usefixtures("_pretended")
def test_auto_waits_for_a_measurement():
    assert api.choose_backend("auto") == "portable"
    assert api.choose_backend("fused") == "fused"


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cuda, "_device", lambda: None)
    with pytest.raises(UsageError, match="no CUDA driver was found; use backend='auto'"):
        api.choose_backend("fused")


@on_gpu
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_as_the_portable_kernel(case):
    x1, x2 = (np.float32(x) for x in case.images())
    cotangent = np.float32(case.cotangents()[0])
    results = []
    for backend in ("fused", "portable"):
        kernel_fn = make_kernel_fn(case.architecture, kind=case.kind, backend=backend)
        k, pull = jax.vjp(kernel_fn, x1, x2)
        results.append((k, *pull(cotangent), kernel_fn(x1)))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, 5e-5)


@on_gpu
def test_twice_the_same_bits():
    kernel_fn = make_kernel_fn("convnet", backend="fused")
    rng = np.random.default_rng(0)
    x1, x2 = (rng.normal(size=(n, 32, 32, 3)).astype(np.float32) for n in (200, 10))
    runs = []
    for _ in range(2):
        k, pull = jax.vjp(lambda b: kernel_fn(x1, b), x2)
        runs.append([np.asarray(a) for a in (k, *pull(jnp.ones_like(k)))])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
