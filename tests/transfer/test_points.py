"""The trainings of a grid: kept, at once, divergent, beyond memory."""

import dataclasses

import jax
import numpy as np
import pytest

from kipax import architectures
from kipax.errors import FailedRunError, UsageError
from kipax.networks import load_network
from kipax.students import StudentSpec
from kipax.transfer import (
    EvaluateConfig,
    Point,
    Recipe,
    Session,
    caption,
    evaluate,
    points,
    train_together,
)
from kipax.transfer.protocols import GRIDS
from tests.transfer.cases import FAST, Listener


def test_finished_points_are_not_trained_again(support, tmp_path, monkeypatch):
    out = tmp_path / "points.jsonl"
    config = EvaluateConfig(protocol="kip-nn", seeds=1, out=str(out), **FAST)
    trainings = []

    def counting(*args, **kwargs):
        if len(trainings) == stop_after:
            raise KeyboardInterrupt
        trainings.extend(kwargs["settings"])
        return train_together(*args, **kwargs)

    monkeypatch.setattr(points, "train_together", counting)
    stop_after = 2
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        evaluate(support, config)
    out.write_text(out.read_text() + '{"key": "cut o')  # by a kill
    stop_after = None
    first = evaluate(support, config)[0]
    assert len(trainings) == 4
    assert len(set(trainings)) == 4
    text = out.read_text()
    assert len(text.splitlines()) == 5  # the cut one is left behind
    assert evaluate(support, config)[0] == first
    assert len(trainings) == 4
    # What would give other numbers is another point.
    other = dataclasses.replace(support, labels=support.labels * 2)
    evaluate(other, config)
    assert len(trainings) == 8
    evaluate(support, dataclasses.replace(config, steps=7))
    assert len(trainings) == 12


def test_networks_are_kept_beside_their_points(support, digits, tmp_path, monkeypatch):
    out, folder = str(tmp_path / "points.jsonl"), tmp_path / "networks"
    fields = FAST | {"eval_examples": None}
    config = EvaluateConfig(protocol="kip-nn", seeds=1, out=out, **fields)
    without = evaluate(support, config, dataset=digits)[0]
    kept = dataclasses.replace(config, save_networks=str(folder))
    assert evaluate(support, kept, dataset=digits)[0] == without  # trained again, to the same
    files = sorted(folder.iterdir())
    assert len(files) == 4
    monkeypatch.setattr(points, "train_together", None)  # nothing is trained any more
    evaluate(support, kept, dataset=digits)
    for file in files:
        network = load_network(file)
        found = np.mean(network.predict(digits.x_test) == digits.y_test)
        assert found == pytest.approx(network.metadata["test_accuracy"])
        assert "trained on" in str(network)
    with pytest.raises(UsageError, match="save_networks has no effect under krr"):
        EvaluateConfig(save_networks="networks")


def test_a_grid_at_once_is_the_grid_one_by_one(support):
    config = EvaluateConfig(protocol="kip-nn", seeds=2, **FAST)
    alone = evaluate(support, config)[0]
    at_once = evaluate(support, dataclasses.replace(config, together=3))[0]
    assert at_once[0].chosen == alone[0].chosen
    assert at_once[0].accuracy == pytest.approx(alone[0].accuracy, abs=0.02)


def test_fewer_at_once_where_memory_is_short(support, monkeypatch):
    """Twenty of the paper's networks do not fit on one device; the grid is the same."""
    sizes = []

    def short_of_memory(network, x, y, *, settings, **rest):
        sizes.append(len(settings))
        if len(settings) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train_together(network, x, y, settings=settings, **rest)

    monkeypatch.setattr(points, "train_together", short_of_memory)
    config = EvaluateConfig(protocol="kip-nn", seeds=1, together=4, **FAST)
    listener = Listener()
    fewer = evaluate(support, config, reporter=listener)[0]
    assert sizes == [4, 2, 2]
    assert "does not hold 4 networks at once: 2 from now on" in listener.said[-1]
    by_two = evaluate(support, dataclasses.replace(config, together=2))[0]
    assert fewer[0].chosen == by_two[0].chosen


def test_a_network_beyond_the_devices_memory(support, monkeypatch):
    def fail(*args, **kwargs):
        raise jax.errors.JaxRuntimeError(words)

    monkeypatch.setattr(points, "train_together", fail)
    config = EvaluateConfig(protocol="kip-nn", seeds=1, **FAST)
    words = "RESOURCE_EXHAUSTED: Out of memory"
    with pytest.raises(
        FailedRunError, match=r"not hold fc1, width 8.* 10 images of 8 x 8.*--width"
    ):
        evaluate(support, config)
    words = "INTERNAL: something else"
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        evaluate(support, config)


def test_a_network_whose_name_does_not_say_it(support):
    other = architectures.from_name("fc1", b_std=0.5).to_dict()
    unlike = dataclasses.replace(support, metadata=support.metadata | {"architecture": other})
    config = EvaluateConfig(protocol="kip-nn", seeds=1, **FAST)
    with pytest.raises(UsageError, match=r"fc1 is not this set's architecture.*--architectures"):
        evaluate(unlike, config)
    assert evaluate(unlike, dataclasses.replace(config, architectures="fc1"))[0][0].accuracy


def test_diverged_points_are_reported_and_the_rest_goes_on(support, monkeypatch):
    monkeypatch.setitem(GRIDS, "small", ((0.5, 1e9), (0.0,)))
    config = EvaluateConfig(protocol="kip-nn", seeds=1, **FAST)
    results, protocol, session = evaluate(support, config)
    assert (results[0].diverged, results[0].points) == (1, 2)
    facts = {"test": 60, "validation": 287, "recipes": [Recipe()]}
    assert "KIP: 1 of 2 trainings diverged" in caption(results, protocol, facts)
    assert results[0].accuracy is not None
    assert session.total == 12


def test_all_diverged_is_a_failure(support, monkeypatch):
    monkeypatch.setitem(GRIDS, "one", ((1e9,), (0.0,)))
    config = EvaluateConfig(protocol="kip-nn", seeds=1, **FAST | {"grid": "one"})
    with pytest.raises(FailedRunError, match="every one of the 1 trainings diverged"):
        evaluate(support, config)


def test_a_point_is_the_training_it_says(support, digits):
    held = digits.hold_out(100)
    session = Session(support, held, eval_examples=50)
    point = Point(
        student=StudentSpec(name="fc1", width=8),
        recipe=Recipe(steps=5),
        rate=0.1,
        relative=False,
        l2=0.0,
        seed=0,
    )
    record = session.train(support, point)
    assert record["learning_rate"] == 0.1
    assert 0 <= record["test_last"] <= 1
    assert record == session.train(support, point)
    relative = session.train(support, dataclasses.replace(point, relative=True))
    assert relative["learning_rate"] != 0.1
