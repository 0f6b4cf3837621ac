"""The data that a set is tested on: its own, unless the user says which."""

import dataclasses

import numpy as np
import pytest

import kipax
from kipax import Dataset, KIPConfig, run_kip
from kipax.errors import UsageError
from kipax.transfer import EvaluateConfig, evaluate
from kipax.transfer.subjects import check_data, load_test_data


def _permuted(digits, **fields):
    """Returns the digits with their classes numbered in another order."""
    turn = np.random.default_rng(0).permutation(10)
    return Dataset.from_arrays(
        {
            "x_train": digits.x_train,
            "y_train": turn[digits.y_train],
            "x_test": digits.x_test,
            "y_test": turn[digits.y_test],
        },
        **fields,
    )


def _save(path, data):
    parts = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path, **{part: getattr(data, part) for part in parts})


def test_a_path_is_not_a_name(digits, tmp_path):
    """One's own digits.npz, other classes inside: the built-in digits are not its data."""
    _save(tmp_path / "digits.npz", _permuted(digits))
    config = KIPConfig(
        dataset=f"npz:{tmp_path}/digits.npz", architecture="fc1", steps=1, target_batch=50
    )
    run_kip(config, workdir=tmp_path / "run")
    with pytest.raises(UsageError, match=r"distilled from other images than .* digits .*--dataset"):
        evaluate(tmp_path / "run", EvaluateConfig())
    told = EvaluateConfig(dataset=config.dataset)
    assert evaluate(tmp_path / "run", told).results[0].accuracy > 0.5


def test_the_same_images_under_other_numbers_are_refused(digits, tmp_path):
    config = KIPConfig(architecture="fc1", steps=1, target_batch=50, validation_examples=0)
    support = run_kip(config, dataset=digits, workdir=tmp_path / "run").support
    check_data(support, digits)
    with pytest.raises(UsageError, match="the images that the support set was distilled from with"):
        check_data(support, _permuted(digits))


def test_names_in_two_orders_are_refused(support, digits):
    names = [str(i) for i in range(10)]
    old = dataclasses.replace(
        support, metadata=dict(support.metadata) | {"class_names": names[::-1]}
    )
    with pytest.raises(UsageError, match=r"9, 8, 7, .*; 0, 1, 2, "):
        check_data(old, digits)
    words = [*"abcdefghi", "9"]
    mixed = dataclasses.replace(support, metadata=dict(support.metadata) | {"class_names": words})
    other = _permuted(digits, class_names=[*"bacdefghi", "9"])
    with pytest.raises(UsageError, match="class 0 is 'a' in the support set and 'b'"):
        check_data(mixed, other)
    check_data(mixed, digits)  # numbers may stand for names


def test_a_set_that_does_not_know_its_images_is_tested_on_its_name(support):
    older = {k: v for k, v in support.metadata.items() if k != "training_hash"}
    data = load_test_data(dataclasses.replace(support, metadata=older), None)
    assert data.name == "digits"


def test_what_a_set_was_learned_from_is_kept(digits, tmp_path):
    config = KIPConfig(architecture="fc1", steps=0, target_batch=50)
    run_kip(config, dataset=digits, workdir=tmp_path / "run")
    support = kipax.load(tmp_path / "run")
    assert support.metadata["images_hash"] == digits.images_hash
    assert support.pixels.low == 0
    assert support.pixels.high == 16
    assert support.pixels.deviation == (pytest.approx(float(digits.x_train.std())),)
