"""Data sets, preprocessing and sampling."""

from kipax.data.datasets import Dataset, load_dataset
from kipax.data.preprocessing import Preprocessor, Standard, fit_preprocessor
from kipax.data.sampling import balanced_batch, step_key

__all__ = [
    "Dataset",
    "Preprocessor",
    "Standard",
    "balanced_batch",
    "fit_preprocessor",
    "load_dataset",
    "step_key",
]
