"""The GPU kernel's source (warps.h) with a warp's lanes emulated, against the fused CPU kernel."""

import ctypes
import pathlib
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from kipax import architectures
from kipax.kernels import fused
from kipax.kernels.fused.sides import Sides
from tests.closeness import assert_close
from tests.kernels.cases import CASES, Case, skip_unless_it_runs

HERE = pathlib.Path(__file__).parent
SOURCES = pathlib.Path(fused.__file__).parent
_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-fno-math-errno"]


pytestmark = pytest.mark.slow  # the emulation takes two minutes to compile


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    skip_unless_it_runs("fused")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to build the emulation with")
    path = tmp_path_factory.mktemp("warps") / "warps.so"
    source = HERE / "warps_emulated.cpp"
    subprocess.run([compiler, *_FLAGS, f"-I{SOURCES}", source, "-o", path], check=True)
    library = ctypes.CDLL(str(path))
    library.kipax_set_plan.restype = ctypes.c_char_p
    return library


def _pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p)


def _set_plan(library, architecture, shape, ntk):
    attributes = fused._attributes(architecture, shape, ntk=ntk)
    code, size = attributes["program"], ctypes.c_int64()
    variances = [ctypes.c_float(attributes[f"{n}_variance"]) for n in ("weight", "bias")]
    reason = library.kipax_set_plan(_pointer(code), len(code), *variances, ctypes.byref(size))
    return reason and reason.decode(), size.value


class _Problem:
    """Two sides with their scales, as arrays that both kernels take."""

    def __init__(self, case: Case):
        rng = np.random.default_rng(0)
        self.x1, self.x2 = (np.float32(x) for x in case.images())
        self.x2[1] = self.x1[0]  # identical images: correlation one
        self.s1, self.s2 = (
            np.array(fused._own_scales(jnp.asarray(x), case.architecture)[0])
            for x in (self.x1, self.x2)
        )
        self.same = np.zeros((3, 2), np.uint8)
        self.same[0, 1] = 1
        self.gk, self.gt = (rng.normal(size=(3, 2)).astype(np.float32) for _ in range(2))
        if case.kind == "nngp":
            self.gt[:] = 0

    @property
    def sides(self):
        return Sides(self.x1, self.x2, self.s1, self.s2, self.same)

    def emulate(self, library, num_scales):
        k, t = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
        dx, ds = np.zeros_like(self.x2), np.zeros_like(self.s2)
        first = _pointer(self.x1), _pointer(self.s1), ctypes.c_int64(3)
        second = _pointer(self.x2), _pointer(self.s2), ctypes.c_int64(2)
        rest = _pointer(self.same), ctypes.c_int64(num_scales)
        library.kipax_forward(*first, *second, *rest, _pointer(k), _pointer(t))
        cotangents = _pointer(self.gk), _pointer(self.gt)
        library.kipax_backward(*first, *second, *rest, *cotangents, _pointer(dx), _pointer(ds))
        return k, t, dx, ds


_SPATIAL = [c for c in CASES if not c.architecture.name.startswith("fc")]
_WIDE = [
    Case(architectures.from_name(name), shape, "ntk")
    for name, shape in (("convnet2", (5, 32, 2)), ("convnet1", (3, 17, 1)), ("convvec8", (6, 6, 1)))
]


@pytest.mark.parametrize("case", _SPATIAL + _WIDE, ids=lambda c: c.id)
def test_as_on_a_cpu(library, case):
    problem = _Problem(case)
    ntk = case.kind == "ntk"
    reason, num_scales = _set_plan(library, case.architecture, case.shape, ntk)
    assert reason is None
    assert num_scales == problem.s1.shape[1]
    k, t, dx, ds = problem.emulate(library, num_scales)
    expected = fused._call_forward(case.architecture, problem.sides, ntk=ntk, symmetric=False)
    cotangents, none_kept = (problem.gk, problem.gt), jnp.zeros((0, 0), jnp.float32)
    pulled = fused._call_backward(case.architecture, problem.sides, cotangents, none_kept, ntk=ntk)
    assert_close(k, expected[0], 2e-6)
    if ntk:
        assert_close(t, expected[1], 2e-6)
    assert_close(dx, pulled[0], 5e-5)
    if num_scales:
        assert_close(ds, pulled[1], 5e-5)


@pytest.mark.parametrize(
    ("name", "shape"), [("convnet2", (10, 13, 2)), ("convnet", (13, 17, 1)), ("myrtle5", (8, 9, 1))]
)
def test_warps_do_not_race(library, name, shape):
    """Where they may meet they are in different phases: the order of every sum is fixed."""
    case = Case(architectures.from_name(name), shape, "ntk")
    _, num_scales = _set_plan(library, case.architecture, case.shape, True)
    before = library.kipax_watch(1)
    _Problem(case).emulate(library, num_scales)
    assert library.kipax_watch(0) == before


def test_wide_images_are_not_served(library):
    network = architectures.from_name("convnet1")
    reason, _ = _set_plan(library, network, (8, 33, 1), True)
    assert reason == "images are wider than 32 pixels"
