"""Lets the archived neural-tangents 0.6.4 and 0.6.5 be imported on current JAX.

neural-tangents (last commit 2024) uses names that JAX has since removed; they are put back
here, from JAX's private modules, before it is imported. Its `experimental` package imports
TensorFlow, and no other part of it does: an empty stand-in keeps TensorFlow out. Used by
`kipax.kernels.reference` alone, for tests and benchmarks.
"""

from __future__ import annotations

import importlib
import sys
import types


def _restore(module, name: str, value) -> None:
    if name not in vars(module):
        setattr(module, name, value)


def load() -> types.ModuleType:
    """Imports and returns neural_tangents.

    Raises:
        ImportError: it is not installed.
    """
    if "neural_tangents" in sys.modules:
        return sys.modules["neural_tangents"]
    import jax
    import jax.core
    import jax.interpreters.ad
    from jax._src import ad_util, core, util

    for name in ("Jaxpr", "JaxprEqn", "Literal", "Var", "Primitive"):
        _restore(jax.core, name, getattr(core, name))
    try:
        jax_util = importlib.import_module("jax.util")
    except ImportError:
        jax_util = sys.modules["jax.util"] = util
    for name in ("safe_map", "safe_zip"):
        _restore(jax_util, name, getattr(util, name))
    if hasattr(ad_util, "zeros_like_p"):
        _restore(jax.interpreters.ad, "zeros_like_p", ad_util.zeros_like_p)
    _restore(jax.random, "KeyArray", jax.Array)  # 0.6.4
    _restore(jax, "linear_util", importlib.import_module("jax.extend.linear_util"))  # 0.6.4

    stand_in = types.ModuleType("neural_tangents.experimental")
    stand_in.__path__ = []
    sys.modules.setdefault("neural_tangents.experimental", stand_in)
    try:
        return importlib.import_module("neural_tangents")
    except ImportError:
        sys.modules.pop("neural_tangents.experimental", None)
        raise
