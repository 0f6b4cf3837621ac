"""The architectures and shapes that every backend and every reference is compared on."""

import dataclasses

import numpy as np
import pytest

from kipax import architectures
from kipax.architectures import Architecture
from kipax.kernels import KINDS, fused


@dataclasses.dataclass(frozen=True)
class Case:
    """One network on one image shape."""

    architecture: Architecture
    shape: tuple[int, int, int]
    kind: str

    @property
    def id(self) -> str:
        scales = f"{self.architecture.W_std:.2f}-{self.architecture.b_std:.2f}"
        return f"{self.architecture.name}-{'x'.join(map(str, self.shape))}-{scales}-{self.kind}"

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Float64 ``(3, ...)`` and ``(2, ...)``."""
        rng = np.random.default_rng(abs(hash_of(self.id)))
        return rng.normal(size=(3, *self.shape)), rng.normal(size=(2, *self.shape))

    def cotangents(self) -> tuple[np.ndarray, np.ndarray]:
        """For ``k(x1, x2)`` and for ``k(x1)``."""
        rng = np.random.default_rng(1 + abs(hash_of(self.id)))
        return rng.normal(size=(3, 2)), rng.normal(size=(3, 3))


def hash_of(text: str) -> int:
    """A hash that is the same in every process."""
    return int.from_bytes(text.encode(), "big") % (2**31)


# A head with ReLUs behind either readout, convolutions without ReLUs, a pool first.
_DEEP_HEAD = Architecture(
    ("conv", "relu", "avg_pool", "flatten", "dense", "relu", "dense"), name="deep-head"
)
_DEEP_GLOBAL = Architecture(
    ("conv", "relu", "avg_pool", "conv", "relu", "global_avg_pool", "dense", "relu", "dense"),
    name="deep-global",
)
_LINEAR_CONVS = Architecture(
    ("avg_pool", "conv", "conv", "relu", "conv", "avg_pool", "flatten", "dense"), name="linear"
)
_LINEAR_GLOBAL = Architecture(("conv", "conv", "global_avg_pool", "dense"), name="linear-global")
_POOLED_RELU = Architecture(
    ("conv", "avg_pool", "relu", "conv", "relu", "flatten", "dense"), name="pooled-relu"
)


def skip_unless_it_runs(backend: str) -> None:
    """Skips a test of the fused kernel where that was not built."""
    reason = fused.why_not(np.float32) if backend == "fused" else None
    if reason is not None:
        pytest.skip(f"no fused kernel: {reason}")


def _named(name: str, *shape: int, **scales: float) -> tuple:
    return architectures.from_name(name, **scales), shape


_NETWORKS = [
    _named("fc1", 5, 4, 3),
    _named("fc3", 4, 4, 1, W_std=1.3, b_std=0.3),
    _named("convvec1", 6, 6, 3),
    _named("convvec3", 7, 5, 2, W_std=1.2, b_std=0.0),
    _named("convnet1", 5, 5, 1),
    _named("convnet2", 10, 13, 2, W_std=1.1, b_std=0.2),
    _named("convnet3", 11, 9, 1),
    _named("convnet", 8, 8, 1),
    _named("convnet", 13, 11, 3),
    _named("convnet", 16, 16, 3, W_std=1.5, b_std=0.05),
    _named("myrtle5", 8, 9, 3),
    _named("myrtle7", 6, 6, 1, W_std=1.3, b_std=0.2),
    _named("myrtle10", 9, 8, 1),
    (_DEEP_HEAD, (7, 6, 2)),
    (_DEEP_GLOBAL, (6, 7, 1)),
    (_LINEAR_CONVS, (11, 10, 2)),
    (_LINEAR_GLOBAL, (5, 6, 2)),
    (_POOLED_RELU, (7, 6, 1)),
]
CASES = [Case(network, shape, kind) for network, shape in _NETWORKS for kind in KINDS]
