"""Evaluations: rows, columns, choice by validation, what does not fit."""

import dataclasses
import json

import numpy as np
import pytest

from kipax import Dataset, ridge
from kipax.distill import Reporter
from kipax.errors import FileError, UsageError
from kipax.transfer import (
    EvaluateConfig,
    Recipe,
    Session,
    caption,
    evaluate,
    format_table,
    open_session,
    solve_labels,
)
from kipax.transfer.subjects import check_data, find_support
from tests.transfer.cases import FAST, Listener


def _cells(results):
    return {(r.subject, r.network.partition(",")[0]): r for r in results}


def test_krr_is_the_sets_own_prediction(support, digits):
    config = EvaluateConfig(baselines=True, draws=3)
    results, protocol, session = evaluate(support, config)
    own, solved, real = results
    assert [r.subject for r in results] == ["KIP", "Label Solve", "random real"]
    assert own.accuracy == np.mean(support.predict(digits.x_test) == digits.y_test)
    assert (own.count, real.count) == (1, 3)
    assert own.deviation is None
    assert real.deviation > 0
    assert solved.accuracy > real.accuracy
    assert protocol.rule in caption(results, protocol, {"test": 360})
    assert session.validation is None


def test_a_solved_set_keeps_a_row_of_its_own(support):
    solved = dataclasses.replace(
        support, metadata=dict(support.metadata) | {"method": "Label Solve"}
    )
    results = evaluate(solved, EvaluateConfig(baselines=True, draws=1, eval_examples=60)).results
    table = format_table(results, {})
    assert [line.partition("  ")[0] for line in table.splitlines()[1:]] == [
        "this set, by Label Solve",
        "Label Solve",
        "random real",
    ]


def test_kernel_transfer_is_a_column_an_architecture(support):
    config = EvaluateConfig(architectures="fc1,fc3, convvec1,fc1", eval_examples=100)
    results, _, _ = evaluate(support, config)
    assert [r.network for r in results] == ["fc1", "fc3", "convvec1"]
    assert len({r.accuracy for r in results}) > 1


def test_solved_labels_minimise_the_loss(support, digits):
    solved = solve_labels(support, digits, Reporter())
    y = ridge.one_hot(digits.y_train, 10)

    def loss(labels):
        other = dataclasses.replace(support, labels=labels.astype(np.float32))
        return np.mean((other.scores(digits.x_train) - y) ** 2)

    rng = np.random.default_rng(0)
    best = loss(solved.labels)
    assert best < loss(support.labels)
    for _ in range(3):
        assert best < loss(solved.labels + 0.01 * rng.normal(size=solved.labels.shape))


def test_networks_are_chosen_by_validation_and_never_by_test(support, tmp_path):
    out = tmp_path / "points.jsonl"
    config = EvaluateConfig(protocol="kip-nn", seeds=2, baselines=True, out=str(out), **FAST)
    results, protocol, session = evaluate(support, config)
    assert len(session.validation[1]) == 287  # a fifth of 1,437
    points = [json.loads(line) for line in out.read_text().splitlines()]
    own = [p for p in points if p.get("method") == "KIP" and p["seed"] == 0]
    assert len(own) == 4
    best = max(own, key=lambda p: p["validation_best"])
    cell = results[0]
    assert cell.chosen["learning_rate"] == best["learning_rate"]
    again = next(
        p
        for p in points
        if p.get("method") == "KIP" and p["seed"] == 1 and p["rate"] == best["rate"]
    )
    assert again["l2"] == best["l2"]
    tests = [best["test_best"], again["test_best"]]
    assert cell.accuracy == pytest.approx(np.mean(tests))
    assert cell.deviation == pytest.approx(np.std(tests))
    assert cell.top_deviation == pytest.approx(np.std([p["test_best"] for p in own]))
    assert (cell.count, cell.points, cell.diverged) == (2, 5, 0)
    real = {p["set"] for p in points if str(p.get("method")).startswith("random")}
    assert len(real) == 2  # the second network has a draw of its own
    facts = {
        "test": 60,
        "validation": 287,
        "recipes": [protocol.recipe("mse", images=10, dataset="digits")],
    }
    words = caption(results, protocol, facts)
    assert "kip-nn" in words
    assert "chosen: grid point, step by validation accuracy, 287 images" in words
    table = format_table(results, {"KIP": "49.9±0.2"})
    assert [line.split("  ")[0] for line in table.splitlines()[1:]] == [
        "KIP",
        "Label Solve",
        "random real",
    ]
    head, first, *_ = table.splitlines()
    assert head.endswith("± best points  the paper")
    assert first.split()[-1] == "49.9±0.2"
    assert first.split()[-2] == f"{100 * cell.top_deviation:.1f}"


def test_the_choice_is_validations_where_test_disagrees(support, monkeypatch):
    def train(session, subject_set, point):
        validation = {(0.5, 0.0): 0.6, (0.5, 1e-3): 0.9, (2.0, 0.0): 0.7, (2.0, 1e-3): 0.8}
        value = validation[point.rate, point.l2]
        return {
            "diverged_at": None,
            "validation_best": value,
            "test_best": 1 - value,
            "test_last": 0.0,
            "learning_rate": point.rate,
            "best_step": 3,
        }

    monkeypatch.setattr(Session, "train", train)
    grid = lambda session, one, points: [train(session, one, p) for p in points]  # noqa: E731
    monkeypatch.setattr(Session, "train_grid", grid)
    cell = evaluate(support, EvaluateConfig(protocol="kip-nn", seeds=3, **FAST))[0][0]
    assert cell.accuracy == pytest.approx(0.1)
    assert (cell.chosen["rate"], cell.chosen["l2"]) == (0.5, 1e-3)
    assert cell.count == 3


@pytest.mark.parametrize("name", ["dc", "dsa", "frepo"])
def test_other_protocols_report_the_last_network(support, name):
    config = EvaluateConfig(protocol=name, width=4, steps=3, seeds=2, eval_examples=60)
    results, protocol, session = evaluate(support, config)
    assert session.validation is None
    assert results[0].count == 2
    assert results[0].accuracy == results[0].last
    assert results[0].network.startswith(protocol.network)


def test_full_data_rows(support, digits):
    config = EvaluateConfig(
        protocol="kip-nn", full_data=True, seeds=1, **FAST | {"width": 32, "steps": 40}
    )
    own, plain, augmented = evaluate(support, config, dataset=digits)[0]
    assert [plain.subject, augmented.subject] == ["all real", "all real, crop"]  # digits
    assert plain.accuracy > own.accuracy
    assert plain.accuracy != augmented.accuracy


@pytest.mark.slow
def test_the_cross_architecture_matrix(support):
    config = EvaluateConfig(
        protocol="kip-nn",
        architectures="fc1,convvec1",
        normalisation="layer",
        seeds=1,
        **FAST,
    )
    results, protocol, _ = evaluate(support, config)
    cells = _cells(results)
    facts = {"test": 60, "validation": 287, "recipes": [Recipe()]}
    assert "best points" not in format_table(results, {}) + caption(results, protocol, facts)
    assert "best points" in format_table(results[:1], {})
    assert "best points" in caption(results[:1], protocol, facts)
    assert set(cells) == {("KIP", "fc1"), ("KIP", "convvec1")}
    assert "layer normalisation" in cells["KIP", "fc1"].network


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": "convnot"}, "unknown architecture 'convnot'"),
        ({"architectures": "resnet18"}, "resnet18 has no kernel: take protocol=kip-nn"),
        ({"architectures": "wrn16-4"}, "wrn16-4 has no kernel"),
        ({"architectures": "convnet4"}, "pools 4 times"),
        ({"protocol": "kip-nn", "architectures": "resent18"}, "unknown network 'resent18'"),
        (
            {"protocol": "kip-nn", "architectures": "vgg11"},
            "needs images of 28 pixels or more; got 8",
        ),
        (
            {"protocol": "dc", "architectures": "resnet18"},
            "needs images of 9 pixels or more; got 8",
        ),
        ({"checkpoints": True}, "checkpoints needs validation images to choose by"),
    ],
)
def test_networks_are_refused_before_anything_is_trained(support, fields, message):
    with pytest.raises(UsageError, match=message):
        evaluate(support, EvaluateConfig(**fields))


def _dataset(shape=(8, 8, 1), classes=10, scale=255, **fields):
    rng = np.random.default_rng(0)
    y = np.arange(3 * classes) % classes
    x = rng.random((len(y), *shape)).astype(np.float32) * scale
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return Dataset.from_arrays(arrays, **fields)


def test_data_that_do_not_fit(support):
    with pytest.raises(UsageError, match=r"takes images .8, 8, 1. of 10 classes"):
        check_data(support, _dataset(classes=5))
    with pytest.raises(UsageError, match="takes images"):
        check_data(support, _dataset(shape=(8, 8, 3)))
    check_data(support, _dataset(scale=16))
    with pytest.raises(
        UsageError, match="training images from 0 to 16: give images in the same units"
    ):
        check_data(support, _dataset(scale=1))
    pets = [f"pet {c}" for c in "abcdefghij"]
    named = dataclasses.replace(support, metadata=dict(support.metadata) | {"class_names": pets})
    check_data(named, _dataset(scale=16, class_names=pets))
    with pytest.raises(UsageError, match="class 0 is 'pet a' in the support set and 'pet j'"):
        check_data(named, _dataset(scale=16, class_names=pets[::-1]))


def test_a_file_that_does_not_say_where_its_data_lie(support):
    metadata = dict(support.metadata) | {"dataset": "birds"}
    with pytest.raises(UsageError, match="'birds' but not where it lies: give --dataset="):
        evaluate(dataclasses.replace(support, metadata=metadata), EvaluateConfig())


def test_other_training_images_are_said(support, digits):
    listener, config = Listener(), EvaluateConfig(eval_examples=20)
    other = dataclasses.replace(digits, training_hash="0" * 64)
    evaluate(support, config, dataset=other, reporter=listener)
    assert "not the training images that the set was distilled from" in listener.said[0]
    evaluate(support, config, dataset=digits, reporter=listener)
    assert "not the training images" not in listener.said[1]


def test_folders_and_checkpoints(support, tmp_path):
    with pytest.raises(UsageError, match="holds no support"):
        find_support(tmp_path)
    support.save(tmp_path / "support.npz")
    config = EvaluateConfig(protocol="kip-nn", checkpoints=True, seeds=1, **FAST | {"grid": "one"})
    with pytest.raises(UsageError, match="has none of the steps"):
        evaluate(tmp_path, config)
    (tmp_path / "checkpoints").mkdir()
    for step, scale in ((1, 0.1), (4, 1.0), (5, 1.0)):
        changed = dataclasses.replace(support, labels=support.labels * scale)
        changed.save(tmp_path / "checkpoints" / f"step_{step:06d}.npz")
    cell = evaluate(tmp_path, config)[0][0]
    assert cell.points == 3  # step 5 is not of the paper's grid
    assert cell.chosen["checkpoint"] in ("step 1", "step 4", "the set itself")
    kernel = EvaluateConfig(checkpoints=True, validation_examples=100, eval_examples=60)
    assert "checkpoint" in evaluate(tmp_path, kernel)[0][0].chosen
    assert (tmp_path / "support-evaluate.jsonl").exists()


def test_shipped_sets_go_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = EvaluateConfig(eval_examples=60)
    cell = evaluate("digits-convnet-10", config)[0][0]
    assert cell.accuracy > 0.8
    assert (tmp_path / "runs" / "digits-convnet-10-evaluate.jsonl").exists()
    with pytest.raises(FileError, match="no shipped set of that name"):
        evaluate("digits-convnet-11", config)


@pytest.mark.slow
def test_ten_learned_digits_train_networks_better_than_ten_real_ones(tmp_path):
    config = EvaluateConfig(
        protocol="kip-nn",
        baselines=True,
        width=32,
        steps=150,
        grid="one",
        losses="mse",
        seeds=1,
        validation_examples=287,  # the run's own 180 stop one network too early with some JAX
        out=str(tmp_path / "points.jsonl"),
    )
    learned, solved, real = (r.accuracy for r in evaluate("digits-convnet-10", config)[0])
    assert learned > solved > real
    assert learned > real + 0.1


def test_a_folder_at_home(support, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    support.save(tmp_path / "support.npz")
    assert find_support("~") == tmp_path / "support.npz"


def test_a_run_is_chosen_by_the_images_that_it_left_alone(support, digits):
    def session(held_out, **fields):
        facts = dict(support.metadata) | {"config": {"validation_examples": held_out}}
        own = dataclasses.replace(support, metadata=facts)
        config = EvaluateConfig(**({"protocol": "kip-nn"} | FAST | fields))
        return open_session(own, config, dataset=digits).session

    assert len(session(180).dataset.x_validation) == 180
    assert len(session(180, validation_examples=50).dataset.x_validation) == 50
    assert len(session(0).dataset.x_validation) == 1437 // 5
    assert len(session(10_000).dataset.x_validation) == 1437 // 5  # of a larger data set
