"""What a config refuses, and what a data set fills in."""

import dataclasses
import functools

import numpy as np
import pytest

from kipax import KIPConfig, LabelSolveConfig
from kipax.config import resolved_defaults
from kipax.data.known import short_name
from kipax.distill import config
from kipax.errors import UsageError


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"target_batch": "many"}, "positive integer or 'all'; got 'many'"),
        ({"target_batch": "0"}, "positive integer or 'all'"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"final_learning_rate": -1.0}, "final_learning_rate must be a number from 0 on; got -1.0"),
        ({"final_learning_rate": float("nan")}, "final_learning_rate must be a number from 0 on"),
        (
            {"final_learning_rate": 0.2, "learning_rate": 0.1},
            "final_learning_rate must not exceed learning_rate, which is 0.1; got 0.2",
        ),
        ({"label_learning_rate": 0.0}, "label_learning_rate must be positive"),
        (
            {"label_learning_rate": 0.1, "learn_labels": False},
            "label_learning_rate has no effect where labels are not learned; got 0.1",
        ),
        ({"ridge": float("nan")}, "ridge must be positive"),
        ({"steps": -1}, "steps must be a whole number from 0 on; got -1"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"init": "zeros"}, "unknown init 'zeros'. Choices: real, noise"),
        ({"sample_architectures": "fc1,fcx"}, "unknown architecture 'fcx'"),
        ({"kernel": "rbf"}, "Choices: ntk, nngp"),
        ({"backend": "cuda"}, "unknown backend 'cuda'. Choices: auto, portable, fused"),
        ({"seed": -1}, "seed must lie between 0"),
        ({"seed": 2**32}, "seed must lie between 0"),
        ({"support": 10.5}, "support must be a whole number"),
        (
            {"architecture": "fc1", "sample_architectures": "fc2,fc3"},
            "must be one of sample_architectures; got fc1",
        ),
        ({"zca_lambda": 0.0, "preprocessing": "zca"}, "zca_lambda must be positive, since"),
        ({"zca_lambda": 0.1}, "zca_lambda needs preprocessing=zca or zca_paper"),
        ({"augment_fraction": 1.5}, "augment_fraction runs from 0 to 1; got 1.5"),
        ({"image_size": 0}, "image_size must be positive"),
    ],
)
def test_bad_values(flags, message):
    with pytest.raises(UsageError, match=message):
        KIPConfig(**flags)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("digits", "digits"),
        ("npz:/data/birds.npz", "birds"),
        ("folder:/data/birds.v2/", "birds.v2"),
        ("folder:/data/birds/.", "birds"),
        ("mnist:3.0.1", "mnist"),
    ],
)
def test_short_names(dataset, name):
    assert short_name(dataset) == name


def test_defaults_come_from_the_table():
    resolved = config.resolve(KIPConfig(dataset="cifar10"))
    assert (resolved.learning_rate, resolved.target_batch) == (0.04, "5000")
    assert config.resolve(KIPConfig(dataset="npz:a/b.npz")).learning_rate == 0.01
    assert config.resolve(KIPConfig(dataset="cifar10", learning_rate=0.5)).learning_rate == 0.5
    assert config.default_workdir(KIPConfig(dataset="npz:a/b.npz")) == "runs/b-convnet-10"
    npz = KIPConfig(dataset="npz:a/b.npz")
    assert config.resolve(npz, training_examples=999).target_batch == "all"
    assert config.resolve(npz, training_examples=1000).target_batch == "1000"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (KIPConfig(dataset="cifar10"), None),
        (KIPConfig(dataset="cifar10", preprocessing="zca"), 0.1),
        (KIPConfig(dataset="svhn_cropped", preprocessing="zca"), 0.1),
        (KIPConfig(dataset="svhn_cropped", preprocessing="zca", augment_fraction=1.0), 100.0),
        (LabelSolveConfig(dataset="svhn_cropped", preprocessing="zca"), 100.0),
        (KIPConfig(dataset="svhn_cropped", preprocessing="zca", zca_lambda=2.0), 2.0),
    ],
)
def test_whitening_defaults_are_the_papers(settings, expected):
    assert config.resolve(settings).zca_lambda == expected


def test_svhn_whitened_without_augmentation_falls_back_as_the_paper_did():
    svhn = KIPConfig(dataset="svhn_cropped", preprocessing="zca")
    assert config.resolve(svhn).learning_rate == 0.04
    assert config.resolve(dataclasses.replace(svhn, augment_fraction=1.0)).learning_rate == 0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"support": 20.0}, "support must be a whole number; got 20.0"),
        ({"seed": 0.5}, "seed must be a whole number; got 0.5"),
        ({"validation_examples": 2.5}, "validation_examples must be a whole number"),
        ({"steps": True}, "steps must be a whole number; got True"),
        ({"learning_rate": "0.1"}, "learning_rate must be a number; got '0.1'"),
        (
            {"sample_architectures": ("fc1", "fc2")},
            "sample_architectures is text",
        ),
        ({"checkpoint_every": None}, "checkpoint_every must be a whole number; got None"),
    ],
)
def test_values_that_no_flag_gives(values, message):
    with pytest.raises(UsageError, match=message):
        KIPConfig(**values)


def test_paths_are_taken(tmp_path):
    assert KIPConfig(data_dir=tmp_path).data_dir == str(tmp_path)


def test_numpy_numbers_are_taken():
    config = KIPConfig(support=np.int64(20), learning_rate=np.float32(0.5))
    assert (type(config.support), type(config.learning_rate)) == (int, float)


def test_a_field_that_a_run_lacks_is_what_nobody_set():
    """A flag that came after the run began counts as unset, and is filled in as others are."""
    given = KIPConfig(dataset="cifar10", preprocessing="zca", learning_rate=0.5, seed=3)
    today = config.resolve(given, training_examples=50_000)
    fill_in = functools.partial(config.resolve, training_examples=50_000)
    unset = resolved_defaults(today, fill_in)
    assert unset["learning_rate"] == 0.04
    assert unset["zca_lambda"] == 0.1
    assert unset["target_batch"] == "5000"
    assert unset["eval_every"] == today.eval_every == 100
    assert unset["final_learning_rate"] is None
    assert unset["seed"] == 0
