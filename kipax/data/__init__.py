"""Data sets, preprocessing, augmentation and sampling."""

from kipax.data.datasets import Dataset
from kipax.data.fit import fit_preprocessor, from_arrays
from kipax.data.preprocessing import Preprocessor, Standard
from kipax.data.sampling import balanced_batch, step_key
from kipax.data.sources import load_dataset

__all__ = [
    "Dataset",
    "Preprocessor",
    "Standard",
    "balanced_batch",
    "fit_preprocessor",
    "from_arrays",
    "load_dataset",
    "step_key",
]
