"""Images chosen by the teacher's classes, and moved to its boundaries."""

import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy.special import softmax

import kipax
from kipax.errors import UsageError
from kipax.kd import FunctionTeacher, KDConfig, NetworkTeacher, diagnose_source, run_kd
from kipax.kd.boundary import BoundarySettings, boundary_pairs
from kipax.kd.selection import class_sizes, pseudo_balance
from kipax.kd.stored import StoredImages
from tests.kd.cases import DIGITS, SMALL, Listener, stops_before_the_same_bytes


@hypothesis.given(
    st.lists(st.integers(0, 40), min_size=2, max_size=12).filter(any),
    st.integers(1, 200),
    st.floats(1, 100),
)
def test_sizes_add_up_and_only_seen_classes_get_some(seen, count, imbalance):
    sizes = class_sizes(np.array(seen), count, imbalance=imbalance)
    assert sizes.sum() == count
    assert not sizes[np.array(seen) == 0].any()
    among = sizes[np.array(seen) > 0]
    if imbalance == 1:
        assert among.max() - among.min() <= 1
    assert (np.diff(among) <= 1).all()  # a long tail goes down, up to rounding


def test_a_long_tail_has_the_ratio_asked_for():
    sizes = class_sizes(np.full(10, 1000), 10_000, imbalance=50)
    assert sizes[0] / sizes[-1] == pytest.approx(50, rel=0.02)
    ratios = sizes[:-1] / sizes[1:]
    np.testing.assert_allclose(ratios, 50 ** (1 / 9), rtol=0.03)


def test_rare_classes_are_repeated_and_common_ones_thinned():
    classes = np.array([0] * 50 + [2] * 3 + [3] * 10)
    chosen = pseudo_balance(classes, 30, num_classes=4, seed=1)
    assert np.bincount(classes[chosen], minlength=4).tolist() == [10, 0, 10, 10]
    assert len(np.unique(chosen[classes[chosen] == 0])) == 10  # each once
    copies = np.unique(chosen[classes[chosen] == 2], return_counts=True)[1]
    assert sorted(copies) == [3, 3, 4]
    firsts = chosen[np.insert(np.diff(chosen) != 0, 0, True)]
    assert len(np.unique(firsts)) == len(firsts)  # copies stand together
    assert not np.array_equal(chosen, pseudo_balance(classes, 30, num_classes=4, seed=2))


def test_wrong_choices_are_refused():
    with pytest.raises(UsageError, match="it predicts none"):
        class_sizes(np.zeros(3, int), 5)
    for imbalance in (0.5, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="the largest class over the smallest"):
            class_sizes(np.ones(3, int), 5, imbalance=imbalance)
        with pytest.raises(UsageError, match="from 1 on"):
            KDConfig(imbalance=imbalance, pool=10)
    with pytest.raises(UsageError, match="chosen from a pool"):
        KDConfig(imbalance=2.0)


def test_pairs_lie_on_both_sides_of_a_boundary(taught):
    teacher, space = NetworkTeacher(taught.network), NetworkTeacher(taught.network).domain.space
    x = kipax.load_dataset("digits").x_test[:40].astype(np.float32)
    moved, found = boundary_pairs(teacher, x, seed=3)
    assert moved.shape == (40, 4, 8, 8, 1)
    assert found.mean() > 0.5
    change = np.abs(space.to_levels(moved[found]) - space.to_levels(x[found])[:, None])
    assert change.max() <= BoundarySettings().epsilon + 1e-3
    assert moved.min() >= 0
    assert moved.max() <= 16
    logits = taught.network.scores(moved[found].reshape(-1, 8, 8, 1)).reshape(-1, 4, 10)
    classes, confidence = logits.argmax(-1), softmax(logits, -1).max(-1)
    beyond, before, deeper_beyond, deeper_before = range(4)
    assert (classes[:, beyond] != classes[:, before]).all()
    assert (classes[:, beyond] != taught.network.predict(x[found])).all()
    assert (confidence[:, [beyond, before]] < BoundarySettings().threshold + 1e-3).all()
    for side, deeper in ((beyond, deeper_beyond), (before, deeper_before)):
        assert (classes[:, deeper] == classes[:, side]).mean() > 0.9
        assert (confidence[:, deeper] > confidence[:, side]).mean() > 0.7
    again, _ = boundary_pairs(teacher, x, seed=3)
    np.testing.assert_array_equal(moved, again)


def test_a_boundary_needs_gradients_and_says_so_before_anything_is_drawn(tmp_path):
    teacher = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("0123456789"))
    with pytest.raises(UsageError, match="needs the gradients of a trained network"):
        boundary_pairs(teacher, np.zeros((2, 8, 8, 1)), seed=0)
    config = dataclasses.replace(SMALL, boundary=True, dataset="none")
    with pytest.raises(UsageError, match="needs the gradients of a trained network"):
        run_kd(config, teacher=teacher, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diagnosis_is_of_the_source_alone(taught):
    teacher = NetworkTeacher(taught.network)
    for fields in ({"pool": 100}, {"boundary": True}):
        with pytest.raises(UsageError, match="looks at the source as it is"):
            diagnose_source(dataclasses.replace(SMALL, **fields), teacher=teacher)


def test_nothing_is_both_trained_on_and_held_out():
    rng = np.random.default_rng(0)
    # A rare class: one image that is chosen 300 times, at the end, where images are held out.
    origins = np.concatenate([rng.permutation(700), np.full(300, 900)])
    images = StoredImages(np.zeros((1000, 1, 1, 1)), origins=origins)
    trained, held = images.hold_out()
    assert len(held) == 100
    assert sorted([*trained, *held]) == list(range(1000))
    assert not set(origins[trained]) & set(origins[held])
    assert 900 not in origins[held]
    assert held.tolist() == list(range(600, 700))
    # Images that a balanced choice repeats a few times are held out as the others are.
    origins = np.repeat(rng.permutation(700), rng.permutation(np.repeat([1, 4], [600, 100])))
    trained, held = StoredImages(np.zeros((1000, 1, 1, 1)), origins=origins).hold_out()
    assert sorted([*trained, *held]) == list(range(1000))
    assert not set(origins[trained]) & set(origins[held])
    assert len(held) in range(97, 101)
    assert held.tolist() == list(range(1000 - len(held), 1000))
    copies = np.unique(origins[held], return_counts=True)[1]
    assert set(copies) == {1, 4}
    moved = StoredImages(np.zeros((400, 1, 1, 1)), origins=np.repeat(rng.permutation(100), 4))
    trained, held = moved.hold_out()
    assert held.tolist() == list(range(360, 400))  # whole fours
    plain = StoredImages(np.zeros((1000, 1, 1, 1))).hold_out()
    assert plain[1].tolist() == list(range(900, 1000))
    assert not len(StoredImages(np.zeros((99, 1, 1, 1))).hold_out()[1])


@pytest.mark.slow
def test_a_student_is_shown_what_was_chosen_and_moved(taught, tmp_path):
    config = dataclasses.replace(SMALL, images=60, pool=200, boundary=True, steps=4)
    teacher, listener = NetworkTeacher(taught.network), Listener()
    run_kd(config, teacher=teacher, workdir=tmp_path, reporter=listener)
    said = " ".join(listener.said)
    assert "60 images (" in said
    assert "chosen of 200" in said
    assert "of 60 images moved to the teacher's boundaries" in said
    student = kipax.load_network(tmp_path)
    assert student.metadata["source_images"] % 4 == 0
    assert student.metadata["config"]["pool"] == 200


@pytest.mark.slow
def test_chosen_and_moved_images_in_pieces_have_the_bytes_of_one_run(taught, tmp_path):
    config = dataclasses.replace(SMALL, images=60, pool=200, boundary=True, steps=6)
    run = functools.partial(run_kd, teacher=NetworkTeacher(taught.network))
    assert stops_before_the_same_bytes(run, config, tmp_path) >= 4
