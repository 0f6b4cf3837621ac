"""Protocols: constants, selection rules, refused values, the paper's numbers, finished points."""

import dataclasses

import pytest

import kipax
from kipax.errors import FileError, UsageError
from kipax.transfer import (
    EvaluateConfig,
    Ledger,
    choose_student,
    is_like_paper,
    paper_value,
    protocol_by_name,
    protocol_names,
)
from kipax.transfer.subjects import full_data_steps


def test_protocols_have_the_constants_of_their_sources():
    kip = protocol_by_name("kip-nn")
    assert len(kip.points) == 40
    assert kip.recipe("mse", images=500, dataset="cifar100").steps == 25_000
    assert kip.recipe("xent", images=500, dataset="cifar100").steps == 5_000
    assert kip.recipe("mse", images=10, dataset="svhn_cropped").steps == 10_000
    assert protocol_by_name("dc").recipe("xent", images=500, dataset="cifar10").steps == 600
    dsa = protocol_by_name("dsa")
    assert dsa.recipe("xent", images=10, dataset="cifar10").augmentation == "dsa"
    for name in ("mnist", "emnist/letters", "kmnist", "svhn_cropped", "my_digits", "MNIST"):
        assert dsa.recipe("xent", images=10, dataset=name).augmentation == "dsa_noflip"
    for name in ("fashion_mnist", "Fashion-MNIST", "fashionmnist", "cifar10"):
        assert dsa.recipe("xent", images=10, dataset=name).augmentation == "dsa"
    for mirror, augmentation in ((True, "dsa"), (False, "dsa_noflip")):  # the user knows better
        told = dataclasses.replace(dsa, mirror=mirror)
        for name in ("mnist", "cifar10"):
            assert told.recipe("xent", images=10, dataset=name).augmentation == augmentation
    assert dsa.recipe("xent", images=10, dataset="cifar10").steps == 1000
    frepo = protocol_by_name("frepo")
    sizes = {10: 1000, 100: 2000, 500: 5000, 1000: 10_000, 5000: 40_000}
    for images, steps in sizes.items():
        assert frepo.recipe("mse", images=images, dataset="cifar10").steps == steps
    assert all(protocol_by_name(name).source for name in protocol_names())
    assert full_data_steps("none")("mse") == 300_000
    assert full_data_steps("none")("xent") == 30_000
    assert full_data_steps("flip_crop")("xent") == 500_000


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"protocol": "krr"}, "nothing is chosen"),
        (
            {"protocol": "krr", "checkpoints": True, "validation_examples": 9},
            "checkpoint by validation accuracy",
        ),
        ({"protocol": "dc"}, "the last network"),
        ({"protocol": "dc", "validation_examples": 9}, "step by validation accuracy"),
        (
            {"protocol": "kip-nn", "grid": "one", "losses": "mse", "validation_examples": 0},
            "the last network",
        ),
        (
            {"protocol": "kip-nn", "checkpoints": True},
            "checkpoint, grid point, step by validation accuracy",
        ),
    ],
)
def test_the_rule_is_the_one_followed(fields, rule):
    assert EvaluateConfig(**fields).resolve_protocol(training_examples=100).rule == rule


def test_networks_of_the_zoo_keep_their_width():
    support = kipax.load("digits-convnet-10")
    assert choose_student(protocol_by_name("kip-nn"), support, "resnet18").width is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "kipnn"}, "unknown protocol 'kipnn'; did you mean kip-nn"),
        ({"grid": "tiny"}, "unknown grid 'tiny'"),
        ({"protocol": "dc", "losses": "mse,mae"}, "unknown loss 'mae'"),
        ({"steps": 0}, "steps must be a positive whole number; got 0"),
        ({"validation_examples": -1}, "must not be negative; got -1"),
        ({"full_data": True}, "full_data has no effect under krr; got True: leave it out"),
        ({"steps": 5}, "steps has no effect under krr; got 5"),
        ({"draws": 3}, "draws=3 has no effect without baselines: add baselines"),
        ({"protocol": "dsa", "together": 4}, "together has no effect under dsa"),
        ({"protocol": "kip-nn", "losses": ("mse",)}, "losses is text, commas between"),
        ({"protocol": "dc", "grid": "one"}, "grid has no effect under dc"),
        ({"protocol": "kip-nn", "validation_examples": 0}, "give it validation_examples"),
    ],
)
def test_wrong_configs(fields, message):
    with pytest.raises(UsageError, match=message):
        EvaluateConfig(**fields)


def test_ledgers_keep_what_is_there(tmp_path):
    path = tmp_path / "points.jsonl"
    Ledger(path).add("a", {"x": 1})
    Ledger(path).add("b", {"x": 2})
    assert Ledger(path).get("a") == {"key": "a", "x": 1}
    one, other = Ledger(path), Ledger(path)  # two evaluations of one set
    one.add("c", {})
    other.add("d", {})
    assert all(Ledger(path).get(key) for key in "abcd")
    path.write_text('{"key": "cut o')  # by a kill, the first line of all
    Ledger(path).add("e", {})
    assert Ledger(path).get("e") == {"key": "e"}
    path.write_text("no results\n")
    with pytest.raises(FileError, match="choose another --out"):
        Ledger(path)
    with pytest.raises(FileError, match="could not write"):
        Ledger(path / "folder" / "points.jsonl").add("a", {})


def test_the_papers_values_are_found_where_they_belong():
    def value(*names, dataset="cifar10", ipc=1, whitened=True):
        return paper_value(*names, dataset=dataset, images_per_class=ipc, whitened=whitened)

    assert value("krr", "KIP", ipc=10) == "75.6±0.2"
    assert value("kip-nn", "KIP", dataset="fashion_mnist", whitened=False) == "73.5±0.5"
    assert value("kip-nn", "KIP", whitened=False) == "38.6±0.4"
    assert value("krr", "random real", ipc=10) is None
    assert value("krr", "KIP", dataset="digits") is None
    assert value("krr", "KIP", dataset="mnist", whitened=True) is None
    assert value("dc", "KIP") is None
    assert value("krr", "KIP", ipc=2.5) is None


def test_the_papers_values_stand_beside_its_own_kind_alone():
    made = kipax.load("digits-convnet-10")

    def changed(**facts):
        return dataclasses.replace(made, metadata=dict(made.metadata) | facts)

    fixed = changed(learned_labels=False)
    assert is_like_paper(made, "krr")
    assert not is_like_paper(fixed, "krr")
    assert is_like_paper(fixed, "kip-nn")
    assert not is_like_paper(changed(kernel="nngp"), "kip-nn")
    shallow = made.architecture.to_dict() | {"name": "convnet3"}
    assert not is_like_paper(changed(architecture=shallow), "krr")
