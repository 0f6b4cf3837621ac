"""What the tests of pools share: a job on the digits, and the local executor's results."""

import numpy as np
import pytest

from kipax import load_dataset
from kipax.blocks import (
    BlockJob,
    DatasetTargets,
    LocalExecutor,
    TargetRecipe,
    TargetRows,
    hash_targets,
)
from kipax.data import Standard
from tests.pool.pools import PLAN, ROWS, SPEC, SUPPORTS, results


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits", validation_examples=180)


@pytest.fixture(scope="module")
def targets(data):
    return DatasetTargets(data, Standard.fit(data.x_train), augment_fraction=0.5)


@pytest.fixture(scope="module")
def job(data, targets):
    recipe = TargetRecipe(
        dataset="digits",
        data_dir=None,
        image_size=None,
        validation_examples=180,
        targets_hash=hash_targets(data),
        augment_fraction=0.5,
        preprocessing="standard",
        arrays=Standard.fit(data.x_train).to_arrays(),
    )
    return BlockJob(
        targets=targets,
        recipe=recipe,
        plan=PLAN,
        kernels=(SPEC,),
        num_targets=len(ROWS),
        supports=SUPPORTS,
        image_shape=(8, 8, 1),
        say=lambda sentence: None,
    )


@pytest.fixture(scope="module")
def x_support(targets):
    return targets.images(TargetRows(np.arange(300, 300 + SUPPORTS)))


@pytest.fixture(scope="module")
def expected(targets, x_support):
    return results(LocalExecutor(targets, PLAN), x_support)
