"""A small independent NumPy recursion in float64 with correlation exactly 1 on self-pairs.

Absolute positions ``K[p, p']`` instead of displacements, one pair at a time, no tricks:
written to be obviously right.
"""

import numpy as np

from kipax.architectures import Architecture


def _conv(k):
    height, width = k.shape[:2]
    padded = np.pad(k, [(1, 1)] * 4)
    shifts = [
        padded[a : a + height, b : b + width, a : a + height, b : b + width]
        for a in range(3)
        for b in range(3)
    ]
    return sum(shifts) / 9


def _pool(k):
    height, width = (s // 2 for s in k.shape[:2])
    k = k[: 2 * height, : 2 * width, : 2 * height, : 2 * width]
    return k.reshape(height, 2, width, 2, height, 2, width, 2).mean(axis=(1, 3, 5, 7))


def _mean_equal(k):
    return np.einsum("abab->", k) / (k.shape[0] * k.shape[1])


_MEANS = {"conv": _conv, "avg_pool": _pool, "flatten": _mean_equal, "global_avg_pool": np.mean}


def _diagonal(k):
    return np.einsum("abab->ab", k) if np.ndim(k) == 4 else k


def _relu(k, q1, q2, identical):
    m = np.sqrt(np.multiply.outer(q1, q2))
    c = np.clip(k / np.where(m > 0, m, 1), -1, 1)
    if identical and np.ndim(k) == 4:
        index = np.indices(k.shape)
        c[(index[0] == index[2]) & (index[1] == index[3])] = 1
    elif identical:
        c = 1.0
    angle = np.pi - np.arccos(c)
    return m * (np.sqrt(1 - np.square(c)) + angle * c) / (2 * np.pi), angle / (2 * np.pi)


def pair(x, y, architecture: Architecture) -> dict[str, float]:
    """NNGP and NTK of two images ``(H, W, C)``."""
    w, b = architecture.W_std**2, architecture.b_std**2
    couples = [(x, x), (y, y), (x, y)]
    states = [np.einsum("abc,dec->abde", s, t) / x.shape[2] for s, t in couples]
    identical = [True, True, np.array_equal(x, y)]
    theta = 0.0 * states[2]
    for layer in architecture.layers:
        if layer == "relu":
            q1, q2 = _diagonal(states[0]), _diagonal(states[1])
            sides = [(q1, q1), (q2, q2), (q1, q2)]
            after = [_relu(k, *s, i) for k, s, i in zip(states, sides, identical, strict=True)]
            states = [k for k, _ in after]
            theta = theta * after[2][1]
        elif layer in ("conv", "dense"):
            mean = _MEANS.get(layer, lambda a: a)
            states = [w * mean(k) + b for k in states]
            theta = states[2] + w * mean(theta)
        else:
            states = [_MEANS[layer](k) for k in states]
            theta = _MEANS[layer](theta)
    return {"nngp": float(states[2]), "ntk": float(theta)}


def kernel(x1, x2, architecture: Architecture, kind: str) -> np.ndarray:
    """``(n1, n2)``."""
    return np.array([[pair(a, b, architecture)[kind] for b in x2] for a in x1])
