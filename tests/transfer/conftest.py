"""The digits, and a support set of them."""

import numpy as np
import pytest

from kipax import architectures, load_dataset, ridge
from kipax.data import fit_preprocessor
from kipax.support import SupportSet


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def support(digits):
    """Real images: what is tested here is not how good a set is."""
    preprocessor = fit_preprocessor("standard", digits)
    chosen = [int(np.flatnonzero(digits.y_train == c)[0]) for c in range(10)]
    metadata = {
        "method": "KIP",
        "dataset": "digits",
        "training_hash": digits.training_hash,
        "class_names": list(digits.class_names),
        "architecture": architectures.from_name("fc1").to_dict(),
        "kernel": "ntk",
        "ridge": 1e-6,
        "learned_labels": False,
        "step": 7,
        "protocol": "krr",
        "config": {"validation_examples": 0},
    }
    images = preprocessor.apply(digits.x_train[chosen])
    return SupportSet(images, ridge.one_hot(np.arange(10), 10), preprocessor, metadata)
