"""kipax: kernel dataset distillation with exact infinite-width kernels, in JAX.

Example:
    >>> import kipax
    >>> support = kipax.load("runs/digits-convnet-10/support.npz")  # doctest: +SKIP
    >>> support.predict(my_images)  # doctest: +SKIP
"""

from kipax import architectures, errors, ridge
from kipax.architectures import Architecture
from kipax.data import Dataset, load_dataset
from kipax.distill import KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.kernels import make_kernel_fn
from kipax.loading import load
from kipax.networks import TrainedNetwork, load_network
from kipax.shipped import available
from kipax.support import SupportSet
from kipax.version import __version__

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
