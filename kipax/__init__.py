"""kipax: kernel dataset distillation with exact infinite-width kernels, in JAX.

Example:
    >>> import kipax
    >>> support = kipax.load("runs/digits-convnet-10/support.npz")  # doctest: +SKIP
    >>> support.predict(my_images)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from kipax import architectures, errors, ridge
from kipax.architectures import Architecture
from kipax.data import Dataset, load_dataset
from kipax.distill import KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.kernels import make_kernel_fn
from kipax.loading import load
from kipax.shipped import available
from kipax.support import SupportSet
from kipax.version import __version__

if TYPE_CHECKING:
    from kipax.networks import TrainedNetwork, load_network

__all__ = [
    "Architecture",
    "Dataset",
    "KIPConfig",
    "LabelSolveConfig",
    "SupportSet",
    "TrainedNetwork",
    "__version__",
    "architectures",
    "available",
    "errors",
    "load",
    "load_dataset",
    "load_network",
    "make_kernel_fn",
    "ridge",
    "run_kip",
    "run_label_solve",
]


def __getattr__(name: str) -> Any:
    """Imports what needs Flax when it is first used, so that ``import kipax`` does not."""
    if name in ("TrainedNetwork", "load_network"):
        from kipax import networks

        return getattr(networks, name)
    raise AttributeError(f"module 'kipax' has no attribute {name!r}")
