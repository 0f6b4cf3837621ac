"""Windows against a brute-force trace of which position pairs a readout can see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kipax import architectures
from kipax.kernels.window import plan_levels


def _brute_force_radius(size: int, pools: int, *, everything: bool) -> list[int]:
    sizes = [size]
    for _ in range(pools):
        sizes.append(sizes[-1] // 2)
    last = range(sizes[-1])
    needed = {(p, q) for p in last for q in last if everything or p == q}
    radii = [max(abs(p - q) for p, q in needed)]
    for _ in range(pools):
        needed = {(2 * p + a, 2 * q + b) for p, q in needed for a in (0, 1) for b in (0, 1)}
        radii.append(max(abs(p - q) for p, q in needed))
    return radii[::-1]


@given(size=st.integers(4, 40), pools=st.integers(0, 2), everything=st.booleans())
def test_radius(size, pools, everything):
    readout = "global_avg_pool" if everything else "flatten"
    layers = ("conv", "relu", "avg_pool") * pools + ("conv", "relu", readout, "dense")
    levels = plan_levels(architectures.Architecture(layers), (size, size))
    expected = _brute_force_radius(size, pools, everything=everything)
    assert [level.radius[0] for level in levels] == expected
    assert all(r < s for level in levels for r, s in zip(level.radius, level.shape, strict=True))


def test_convnet_of_the_design_note():
    levels = plan_levels(architectures.from_name("convnet"), (32, 32))
    assert [level.radius for level in levels] == [(7, 7), (3, 3), (1, 1), (0, 0)]
    assert [level.self_radius for level in levels] == [(3, 3), (1, 1), (0, 0), None]


@pytest.mark.parametrize("name", ["convvec3", "fc2"])
def test_no_pool_no_window(name):
    for level in plan_levels(architectures.from_name(name), (9, 7)):
        assert level.radius == (0, 0)
